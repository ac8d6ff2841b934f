# Makes of the tables in docs/format.md a source that compiles only if they are true: each row's
# offset and size, each structure's size, alignment and lack of gaps, each constant's value.

function fail(what) {
    printf "format.md:%d: %s\n", NR, what > "/dev/stderr"
    failed = 1
}

function end_structure() {
    if (name != "" && at != bytes)
        fail(name ": its fields end at " at ", not at " bytes)
    name = ""
}

# The cell without its back quotes and blanks.
function cell(n) {
    gsub(/[` ]/, "", $n)
    return $n
}

BEGIN {
    FS = "|"
    print "#include \"holdfast/holdfast.h\""
    print "#include \"segment/barrier_layout.h\""
    print "#include \"segment/heap_layout.h\""
    print "#include \"segment/object_layout.h\""
    print "#include \"segment/semaphore_layout.h\""
    print "#include \"segment/segment_layout.h\""
    print "#include \"segment/slot_layout.h\""
    print "#include \"sync/condition_layout.h\""
    print "#include \"sync/named_layout.h\""
    print "#include \"sync/word_layout.h\""
    print "#ifdef __cplusplus"
    print "#define ALIGNMENT(type) alignof(type)"
    print "#else"
    print "#include \"os/os.h\""
    print "#define ALIGNMENT(type) _Alignof(type)"
    print "#endif"
}

/^#/ { end_structure() }

/^### `.*`: [0-9]+ bytes, aligned to [0-9]+$/ {
    split($0, quoted, "`")
    name = quoted[2]
    count = split(quoted[3], words, " ")
    bytes = words[2]
    alignment = words[count]
    at = 0
    structures++
    printf "HF_LAYOUT(sizeof(%s) == %d);\n", name, bytes
    printf "HF_LAYOUT(ALIGNMENT(%s) == %d);\n", name, alignment
    next
}

/^\| [0-9]+ \| [0-9]+ \| `[a-z0-9_]+` \|/ && name != "" {
    offset = cell(2) + 0
    size = cell(3) + 0
    field = cell(4)
    if (offset != at)
        fail(name "." field ": follows " at)
    at = offset + size
    fields++
    printf "HF_LAYOUT(offsetof(%s, %s) == %d);\n", name, field, offset
    printf "HF_LAYOUT(sizeof(((%s *)0)->%s) == %d);\n", name, field, size
    next
}

/^\| `[A-Z][A-Z0-9_]+` \|/ {
    constant = cell(2)
    value = cell(3)
    constants++
    if (value !~ /^(0x)?[0-9a-f]+$/)
        fail(constant ": no number: " value)
    if (constant ~ /^OS_/)
        print "#ifndef __cplusplus"
    printf "HF_LAYOUT((%s) == %su);\n", constant, value
    if (constant ~ /^OS_/)
        print "#endif"
}

END {
    end_structure()
    if (structures < 8 || fields < 50 || constants < 40)
        fail("too little was found: " structures ", " fields ", " constants)
    exit failed
}
