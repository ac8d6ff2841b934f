#!/bin/sh
# fuzz.sh refuses what would be no limit to libFuzzer, and what is no regular expression, in one line
# and before it has done anything. usage: fuzz.sh REPOSITORY
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# refused REASON ARGUMENT...
refused() {
    reason=$1
    shift
    status=0
    sh "$repository/scripts/fuzz.sh" "$@" --output "$work/out" >"$work/said" 2>&1 || status=$?
    if [ "$status" -ne 2 ] || [ "$(cat "$work/said")" != "fuzz.sh: $reason" ] || [ -e "$work/out" ]; then
        echo "$*: $status: $(cat "$work/said")"
        exit 1
    fi
}

repository=$1
for seconds in abc 0 -5 1.5 '' '1 2' 00; do
    refused "not a number of seconds: $seconds" --seconds "$seconds"
done
refused "not a regular expression: (" --seconds 1 --only '('
