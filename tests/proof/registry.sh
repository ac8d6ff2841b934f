#!/bin/sh
# Fails when an exported function stands in no line of registry.def, when one that needs a scenario has
# none, or when the list names what does not exist.
# usage: registry.sh REGISTRY LIBRARY PROOF TESTS     (TESTS: a file with every ctest test's name)
set -eu
registry=$1
library=$2
proof=$3
tests=$4
bad=0
complain() {
    echo "registry: $*" >&2
    bad=1
}

exported=$(nm -D --defined-only "$library" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort)
proven=$("$proof" --list | awk '{ print $2 }' | sort -u)
has() { printf '%s\n' "$1" | grep -qx -- "$2"; }

listed=$(awk '!/^#/ && NF { print $1 }' "$registry" | sort)
for function in $exported; do
    has "$listed" "$function" || complain "$function is exported and not in registry.def"
done
while read -r function kind test; do
    has "$exported" "$function" || complain "$function is in registry.def and not exported"
    case $kind in
    proof) has "$proven" "$function" || complain "$function changes shared memory and has no scenario" ;;
    system) grep -qx -- "$test" "$tests" || complain "$function is to be proven by $test, which is no test" ;;
    same) has "$listed" "$test" || complain "$function is to be the same as $test, which is not here" ;;
    local) ;;
    *) complain "$function: $kind is no kind" ;;
    esac
done <<LIST
$(awk '!/^#/ && NF' "$registry")
LIST
exit "$bad"
