#!/bin/sh
# Runs each fuzzer for a while. Its corpus grows in OUTPUT/corpus/NAME; what it finds is kept in
# tests/fuzz/crashes/NAME, where `make check` replays it from then on.
# usage: fuzz.sh --only REGEX --seconds N --output DIR
set -eu
cd "$(dirname "$0")/.."
only="" seconds=60 output=build/fuzz
while [ $# -gt 1 ]; do
    case $1 in
    --only) only=$2 ;;
    --seconds) seconds=$2 ;;
    --output) output=$2 ;;
    *)
        echo "usage: fuzz.sh --only REGEX --seconds N --output DIR" >&2
        exit 2
        ;;
    esac
    shift 2
done
case $seconds in
'' | 0* | *[!0-9]*) # 0 is no limit, to libFuzzer
    echo "fuzz.sh: not a number of seconds: $seconds" >&2
    exit 2
    ;;
esac
status=0
echo | grep -Eq -e "$only" 2>/dev/null || status=$?
[ "$status" -lt 2 ] || { echo "fuzz.sh: not a regular expression: $only" >&2; exit 2; }

ran=0
failed=0
for name in image calls; do
    printf '%s\n' "$name" | grep -Eq -e "$only" || continue
    ran=1
    here=tests/fuzz
    corpus=$output/corpus/$name
    log=$output/$name.log
    mkdir -p "$corpus" "$here/crashes/$name"
    echo "== $name: $seconds seconds, log in $log"
    if ! "$output/$here/$name-fuzz" -max_total_time="$seconds" -timeout=20 -max_len=400 \
        -artifact_prefix="$here/crashes/$name/" -print_final_stats=1 \
        "$corpus" "$here/corpus/$name" "$here/crashes/$name" >"$log" 2>&1; then
        failed=1
        grep -E '^fuzz:|ERROR:|runtime error:|Test unit written' "$log" >&2 || tail -n 20 "$log" >&2
    fi
    sed -n 's/^stat::number_of_executed_units: */   inputs run: /p' "$log"
done
[ "$ran" -eq 1 ] || { echo "no fuzzer is called that" >&2; exit 2; }
exit "$failed"
