#!/bin/sh
# Of what nothing is called, and of what is no regular expression, the programs of the proof say so
# in one line, and do nothing. usage: names.sh proof|mutants PROGRAM
set -eu
equivalents=
case $1 in
proof) what=scenario ;;
mutants)
    what=mutant
    equivalents="--equivalents $(dirname "$0")/equivalent_mutants.def"
    ;;
esac

# refused REGEX REASON
refused() {
    status=0
    # shellcheck disable=SC2086 # words, both of them
    said=$("$program" $equivalents --only "$1" 2>&1) || status=$?
    if [ "$status" -ne 2 ] || [ "$said" != "$name: $2" ]; then
        echo "--only $1: $status: $said"
        exit 1
    fi
}

name=$1
program=$2
refused nosuch "no $what of that name"
refused '(' "not a regular expression: ("
