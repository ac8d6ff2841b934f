#!/bin/sh
# make bench ONLY=REGEX, and make proof, hand the regular expression on as it was typed. usage: only.sh REPOSITORY
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
    for target in bench proof; do
        (cd "$1" && make -s $target SETUP=true CMAKE=true ONLY="$regex" \
            BENCH_PROGRAM="$work/stub" PROOF_PROGRAM="$work/stub" MUTANTS_PROGRAM=:)
        case $target in
        proof) expected="--only|$regex|--levels||--state||--output|build/proof/results.json|" ;;
        *) expected="--only|$regex|--output|build/$target/results.json|" ;;
        esac
        [ "$(cat "$work/got")" = "$expected" ] || {
            echo "make $target: for $regex the program got $(cat "$work/got")"
            exit 1
        }
    done
done
