#!/bin/sh
# make help lists every target, each with its time budget. usage: help.sh REPOSITORY
set -eu
command -v make >/dev/null || { echo "SKIPPED: no make here"; exit 77; }
cd "$1"
list=$(make -s help)
targets=$(sed -n 's/^\.PHONY: *//p' Makefile)
for target in $targets; do
    echo "$list" | grep -Eq "^  make $target .*\(.*(second|minute)s?.*\)" || {
        echo "make help does not tell of $target and its budget"
        exit 1
    }
done
