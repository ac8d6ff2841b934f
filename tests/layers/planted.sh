#!/bin/sh
# scripts/check-layers.sh finds what is planted. usage: planted.sh ROOT [FILE LINE]
# Without FILE and LINE: it passes the tree as it is. With them: LINE, added to a copy's FILE, fails it.
set -eu
root=$1
check=$root/scripts/check-layers.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -R "$root/src" "$scratch/src"
mkdir "$scratch/tools"
sh "$check" "$scratch" # as it is
[ $# -gt 1 ] || exec sh "$check" "$root"
printf '%s\n' "$3" >>"$scratch/$2"
if sh "$check" "$scratch" 2>"$scratch/complaint"; then
    echo "not found in $2: $3" >&2
    exit 1
fi
grep -F "$2" "$scratch/complaint" # and it says where
