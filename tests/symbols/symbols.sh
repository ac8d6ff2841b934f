#!/bin/sh
# What the libraries show to the linker. usage: symbols.sh exports|static|needs INCLUDE LIBRARY
#     exports  the shared library exports exactly the functions that the public headers declare
#     static   every name that the static library defines for others begins with hf_
#     needs    the shared library needs no library but libc
set -eu
export LC_ALL=C
what=$1 include=$2 library=$3
for tool in nm readelf; do
    command -v "$tool" >/dev/null 2>&1 || { echo "SKIPPED: no $tool"; exit 77; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case $what in
exports)
    nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort \
        >"$scratch/exported"
    cat "$include"/holdfast/*.h | grep -v '^#' | tr '\n' ' ' | grep -o 'HF_API [^;(]*(' |
        sed 's/($//; s/.*[ *]//' | sort >"$scratch/declared"
    [ -s "$scratch/declared" ]
    if grep -v '^hf_' "$scratch/exported"; then
        echo "exported, and not hf_" >&2
        exit 1
    fi
    diff "$scratch/declared" "$scratch/exported" # < declared only, > exported only
    ;;
static)
    nm -g --defined-only "$library" | awk 'NF == 3 { print $3 }' | sort -u >"$scratch/defined"
    [ -s "$scratch/defined" ]
    if grep -v -e '^hf_' -e '^__odr_asan\.hf_' "$scratch/defined"; then
        echo "names of the static library that are not hf_" >&2
        exit 1
    fi
    ;;
needs)
    readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$scratch/needed"
    if grep -v -e '^libc\.' -e '^ld-linux' "$scratch/needed"; then
        echo "needed, and not libc" >&2
        exit 1
    fi
    ;;
esac
