#!/bin/sh
# A public header compiles alone, without a warning. usage: alone.sh HEADER INCLUDE LANGUAGE COMPILER
# HEADER as one includes it; LANGUAGE c11 or c++17. Exit status 77: there is no such compiler.
set -eu
header=$1 include=$2 standard=$3 compiler=$4
command -v "$compiler" >/dev/null 2>&1 || { echo "SKIPPED: no compiler $compiler"; exit 77; }
case $standard in
c++*) language=c++ ;;
*) language=c ;;
esac
# Twice, as happens in any large program.
printf '#include <%s>\n#include <%s>\nint main(void);\nint main(void) { return 0; }\n' \
    "$header" "$header" |
    "$compiler" -x "$language" -std="$standard" -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion \
        -Wshadow -Wundef -Werror -I"$include" -
