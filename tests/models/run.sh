#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks one model with spin, in all its states.
# usage: run.sh holds|found FILE.pml [-DNAME=value ...]
# holds: succeeds if there is no error. found: succeeds if there is one.
set -u
wanted=$1
model=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
shift 2

if ! command -v spin >/dev/null; then
    echo "SKIPPED: spin is not installed"
    exit 77
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1

fail() {
    echo "$1"
    shift
    [ $# -eq 0 ] || cat "$@"
    exit 1
}

# A model that is wrong in itself fails either way. With -O2 compiling takes longer than most searches.
spin -a "$@" "$model" >spin.out 2>&1 && [ -f pan.c ] || fail "spin refuses the model:" spin.out
${CC:-cc} -O1 -w -DSAFETY -DMEMLIM="${MODEL_MB:-2000}" -o pan pan.c >cc.out 2>&1 ||
    fail "pan does not compile:" cc.out
./pan -m20000 -n >pan.out 2>&1
grep -q 'errors: ' pan.out || fail "pan did not finish:" pan.out

whole() { ! grep -Eq 'max search depth too small|out of memory|Search not completed' pan.out; }
grep -E '^pan:[0-9]|errors: |states, stored' pan.out
case $wanted in
holds)
    if grep -q 'errors: 0' pan.out && whole; then exit 0; fi
    if [ -f "$(basename "$model").trail" ]; then
        spin -t -p -g "$@" "$model" | tail -n 300
    fi
    fail "it does not hold, or not all was searched" pan.out
    ;;
found)
    grep -Eq '^pan:1: (assertion violated|invalid end state)' pan.out && exit 0
    fail "the error was not found" pan.out
    ;;
*) fail "usage: run.sh holds|found FILE.pml [-DNAME=value ...]" ;;
esac
