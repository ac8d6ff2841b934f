#!/bin/sh
# make bench ONLY=REGEX hands the regular expression on as it was typed. usage: only.sh REPOSITORY
set -eu
command -v make >/dev/null || { echo "SKIPPED: no make here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/stub" <<'STUB'
#!/bin/sh
printf '%s|' "$@" >"$(dirname "$0")/got"
STUB
chmod +x "$work/stub"
# shellcheck disable=SC2016 # none of these is to be expanded, by anyone
for regex in 'a|b' '^transfer\.(time|rate)$' '$x $(y) `z` "q" \t' "it's" 'a b;c&d<e>f*g?h[i]j{k}l~m#n' ''; do
    (cd "$1" && make -s bench SETUP=true CMAKE=true BENCH_PROGRAM="$work/stub" ONLY="$regex")
    expected="--only|$regex|--output|build/bench/results.json|"
    [ "$(cat "$work/got")" = "$expected" ] || {
        echo "for $regex the program got $(cat "$work/got")"
        exit 1
    }
done
