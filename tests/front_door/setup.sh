#!/bin/sh
# Where there is no package manager of Debian's, setup.sh says in one line what to install.
# usage: setup.sh REPOSITORY
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in sh id dirname test env; do
    ln -s "$(command -v "$tool")" "$work/$tool"
done
if PATH=$work sh "$1/scripts/setup.sh" check >"$work/out" 2>"$work/err"; then
    echo "setup.sh succeeds without a compiler"
    exit 1
fi
if [ "$(wc -l <"$work/err")" -ne 1 ] || [ -s "$work/out" ]; then
    cat "$work/out" "$work/err"
    exit 1
fi
grep -q '^holdfast: please install .* gcc .*libxxhash-dev.* libcmocka-dev' "$work/err"
! sh "$1/scripts/setup.sh" nonsense 2>/dev/null
