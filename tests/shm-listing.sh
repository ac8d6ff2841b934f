#!/bin/sh
# Nothing that the tests made may stay in /dev/shm. usage: shm-listing.sh FILE record|compare
# Another test run on this machine has objects that come and go: only what stays counts.
set -eu
export LC_ALL=C
record=$1

listing() {
    # shellcheck disable=SC2012 # names are ours, or compared as a whole
    ls -A /dev/shm 2>/dev/null | sort
}

# Tests call what they make hft-...; a server of the user's own, alive, is none of theirs.
is_somebody_elses() {
    case $1 in
    *hft* | SharedMemory) return 1 ;;
    *) grep -qsE " $(stat -c %i "/dev/shm/$1") +/dev/shm/" /proc/[0-9]*/maps ;;
    esac
}

ours_and_new() {
    listing | comm -13 "$record" - | grep -e holdfast -e hft -e SharedMemory |
        while IFS= read -r name; do
            is_somebody_elses "$name" || printf '%s\n' "$name"
        done
}

case $2 in
record)
    listing >"$record"
    ;;
compare)
    ours_and_new >"$record.left"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -s "$record.left" ] || exit 0
        sleep 0.5
        ours_and_new | comm -12 "$record.left" - >"$record.still"
        mv "$record.still" "$record.left"
    done
    echo "left in /dev/shm:" >&2
    cat "$record.left" >&2
    exit 1
    ;;
esac
