#!/bin/sh
# A wrong row in docs/format.md is found. usage: planted.sh ROOT COMPILER SED-EXPRESSION
set -eu
root=$1 compiler=$2 change=$3
command -v "$compiler" >/dev/null 2>&1 || { echo "SKIPPED: no compiler $compiler"; exit 77; }
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/docs"
for entry in include src tests; do ln -s "$root/$entry" "$copy/$entry"; done
sed "$change" "$root/docs/format.md" >"$copy/docs/format.md"
cmp -s "$root/docs/format.md" "$copy/docs/format.md" && { echo "nothing was changed: $change"; exit 1; }
if sh "$copy/tests/abi/abi.sh" "$copy" c11 "$compiler" >"$copy/log" 2>&1; then
    echo "not found: $change"
    exit 1
fi
