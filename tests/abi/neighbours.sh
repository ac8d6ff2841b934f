#!/bin/sh
# Processes of 32 and of 64 bits share a segment, and recover each other.
# usage: neighbours.sh ROOT NEIGHBOUR SOURCE...
# NEIGHBOUR is this build's; the 32-bit one is made of the library's sources. Exit status 77: there is no
# compiler for 32 bits, or the machine does not run what it makes.
set -eu
root=$1 here=$2
shift 2
compiler=i686-linux-gnu-gcc
command -v $compiler >/dev/null 2>&1 || { echo "SKIPPED: no compiler $compiler"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
there=$work/neighbour
(cd "$root" && $compiler -O1 -std=c11 -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -Wno-psabi \
    -Iinclude -Isrc -static -pthread -o "$there" tests/abi/neighbour.c "$@")
status=0
"$there" >/dev/null 2>&1 || status=$?
[ "$status" -eq 2 ] || { echo "SKIPPED: no programs of 32 bits here"; exit 77; }

# Dies as it is meant to: the shell tells of a signal's death by 128 + its number.
dies() {
    status=0
    "$@" 2>/dev/null || status=$?
    [ "$status" -eq 137 ] || { echo "$*: ended with $status"; exit 1; }
}

both() { # one creates, the other joins
    file=$work/segment
    rm -f "$file"
    "$1" create "$file"
    "$2" add "$file"
    "$1" add "$file"
    "$2" check "$file" 3
    dies "$2" die "$file"
    "$1" check "$file" 3
    dies "$1" die "$file"
    "$2" check "$file" 3
    dies "$2" die-in "$file"
    "$1" mend "$file" 3
    dies "$1" die-in "$file"
    "$2" mend "$file" 3
    "$2" add "$file"
    "$1" check "$file" 4
}
both "$here" "$there"
both "$there" "$here"
