#!/bin/sh
# clang-tidy over what the given build compiles, shellcheck over the scripts, mandoc over the
# manual. usage: lint.sh BUILD
set -eu
cd "$(dirname "$0")/.."
build=$1

# Generated sources first, and an answer at once when it does not build.
built=$(cmake --build "$build") || { echo "$built"; exit 1; }
# The analyzer may look at so many states of a function: a few of ours have millions.
states="--extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=30000"
# shellcheck disable=SC2086 # words, all of them
sed -n 's/^ *"file": "\(.*\)".*/\1/p' "$build/compile_commands.json" | sort -u |
    xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet $states 2>/dev/null
find scripts tests .ci -type f \( -name '*.sh' -o -path '.ci/*' \) -print0 | xargs -0 shellcheck --severity=warning
mandoc -T lint -W warning docs/man/*
