#!/bin/sh
# The typed macros of objects need no cast, and a wrong pointer is noticed.
# usage: typed.sh INCLUDE COMPILER…
set -eu
include=$1
shift
try() {
    source=$1
    shift
    { echo '#include <holdfast/object.h>'
      echo 'struct point { int x; int y; };'
      echo 'int main(void) {'
      echo "$source (void)p;"
      echo 'return hf_destroy(0, "n", int); }'; } |
        "$@" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$include" -fsyntax-only -x c - 2>/dev/null
}
for right in 'int *p = hf_find(0, "n", int);' \
    'struct point *p = hf_construct(0, "n", struct point, 1, .y = 2);' \
    'const struct point *p = hf_find_or_construct(0, HF_UNIQUE, struct point, 0);'; do
    try "$right" "$@" || { echo "does not compile: $right"; exit 1; }
done
for wrong in 'long *p = hf_find(0, "n", int);' \
    'int *p = hf_construct(0, "n", struct point, 1, 2);' \
    'struct point *p = hf_find_or_construct(0, "n", int, 1);'; do
    if try "$wrong" "$@"; then
        echo "compiles: $wrong"
        exit 1
    fi
done
