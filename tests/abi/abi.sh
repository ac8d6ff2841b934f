#!/bin/sh
# The layout headers say what docs/format.md says. usage: abi.sh ROOT STANDARD COMPILER [FLAG...]
# STANDARD is c11 or c++17. Exit status 77: there is no such compiler.
set -eu
root=$1 standard=$2 compiler=$3
shift 3
command -v "$compiler" >/dev/null 2>&1 || { echo "SKIPPED: no compiler $compiler"; exit 77; }
case $standard in
c++*) language=c++ ;;
*) language=c ;;
esac
source=$(mktemp)
trap 'rm -f "$source"' EXIT
awk -f "$root/tests/abi/asserts.awk" "$root/docs/format.md" >"$source"
"$compiler" "$@" -x "$language" -std="$standard" -fsyntax-only -Wall -Wextra -Wpedantic -Werror \
    -Wno-psabi -I"$root/include" -I"$root/src" "$source"
