#!/bin/sh
# What README.md and docs/heap.md show compiles, runs, runs again, and does what is said of it.
# usage: snippets.sh REPOSITORY COMPILER LIBRARY
set -eu
repository=$1 compiler=$2 library=$3
work=$(mktemp -d)
objects="MyObjects jobs"
finish() {
    for object in $objects; do
        rm -f "/dev/shm/$object"
    done
    rm -rf "$work"
}
for object in $objects; do
    [ ! -e "/dev/shm/$object" ] || { echo "SKIPPED: somebody has /dev/shm/$object"; exit 77; }
done
trap finish EXIT
trap 'exit 1' INT TERM

# block FILE N: the Nth block of C in it
block() {
    awk -v wanted="$2" '/^```c$/ { n++; inside = n == wanted; next } /^```$/ { inside = 0 } inside' "$1"
}

# build NAME, from what comes
build() {
    cat >"$work/$1.c"
    "$compiler" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I "$repository/include" \
        -o "$work/$1" "$work/$1.c" "$library" -pthread
}

programs=0
for n in 1 2 3 4 5; do
    block "$repository/README.md" $n >"$work/block"
    if grep -q '^int main' "$work/block"; then
        programs=$((programs + 1))
        build readme <"$work/block"
        for run in first second; do
            "$work/readme" >"$work/out" || { echo "block $n of README.md fails, the $run time"; exit 1; }
            [ -s "$work/out" ]
        done
    fi
done
[ "$programs" -eq 2 ] || { echo "README.md shows $programs whole programs"; exit 1; }

heap=$repository/docs/heap.md
{
    printf '#include <%s>\n' errno.h stdio.h string.h holdfast/holdfast.h
    for n in 1 3 4 5; do
        block "$heap" $n
    done
    echo 'int main(void) {'
    block "$heap" 2
    cat <<'END'
    static const char *const texts[] = {"one", "two", "three"};
    hf_check_report report;
    char text[120];
    for (int i = 0; i < 3; i++) {
        if (add(segment, jobs, texts[i]) != 0) {
            return 2;
        }
    }
    if (hf_check(segment, &report) != 0 || report.blocks != 3 + 2) {
        return 3;
    }
    for (int i = 2; i >= 0; i--) {
        if (take(segment, jobs, text) != 0 || strcmp(text, texts[i]) != 0) {
            return 4;
        }
    }
    if (take(segment, jobs, text) != 0 || text[0] != 0) {
        return 5;
    }
    if (hf_mutex_lock(&jobs->mutex) != 0) {
        return 6;
    }
    return 0; /* dead with the lock: the next run gets it all the same */
}
END
} | build heap
"$work/heap" && "$work/heap" || { echo "docs/heap.md: $?"; exit 1; }
: >/dev/shm/jobs # somebody else's: told, and no crash
status=0
"$work/heap" 2>"$work/err" || status=$?
[ "$status" -eq 1 ] && grep -q '^jobs: ' "$work/err" || { echo "docs/heap.md, of a foreign object: $status"; exit 1; }
