#!/bin/sh
# Sends two real files through shared memory and verifies them. usage: demo.sh BUILD
set -eu
build=$(cd "$1" && pwd)
holdfast=$build/holdfast
name=demo-$$
work=$(mktemp -d)
server=""
finish() {
    if [ -n "$server" ] && kill "$server" 2>/dev/null; then
        wait "$server" || true
    fi
    "$holdfast" rm "$name" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir "$work/sent" "$work/received"
cp "$build/libholdfast.a" "$work/sent/"
head -c 300M /dev/urandom >"$work/sent/300-MiB"

echo "== a server, in $work/received"
(cd "$work/received" && exec "$holdfast" serve --name "$name") >"$work/log" &
server=$!
tries=0
until grep -q '^ready' "$work/log"; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || { echo "the server does not start" >&2; exit 1; }
    sleep 0.1
done
cat "$work/log"

echo "== a client sends it two files"
"$holdfast" send --name "$name" "$work/sent/libholdfast.a" "$work/sent/300-MiB"

echo "== what the server says"
tail -n +2 "$work/log"

echo "== sha256sum of what was sent, checked on what was received"
(cd "$work/sent" && sha256sum -- *) >"$work/sums"
(cd "$work/received" && sha256sum --check "$work/sums")
echo "Both files crossed shared memory whole."
