#!/bin/sh
# Fails when a source includes a layer above its own, when anything outside src/os names a system's
# header, or when anything outside src/base names a memory order. usage: check-layers.sh ROOT
set -eu
cd "$1"
layers="base os region segment sync container channel" # lowest first
bad=0

complain() { # what, then the lines found
    [ -z "$2" ] || { printf '%s\n%s\n' "$1" "$2" >&2; bad=1; }
}

above=" $layers "
for layer in $layers; do
    above=${above#* "$layer" }
    above=" $above"
    [ -d "src/$layer" ] || continue
    for higher in $above; do
        complain "src/$layer must not include src/$higher, a layer above it:" \
            "$(grep -rn "#include \"$higher/" "src/$layer" || true)"
    done
    complain "src/$layer must not include a tool:" "$(grep -rn '#include "\(tools\|transfer\)/' "src/$layer" || true)"
done

systems='#include <\(sys/\|linux/\|unistd\|fcntl\|pthread\|signal\|sched\|poll\|dirent\|windows\|mach/\)'
complain "only src/os may name a system:" \
    "$(grep -rn --include='*.[ch]' "$systems" src | grep -v '^src/os/' | grep -v '_test\.c:' || true)"
complain "only src/base may name a memory order:" \
    "$(grep -rn --include='*.[ch]' 'memory_order_\|#include <stdatomic' src tools | grep -v '^src/base/' || true)"
exit "$bad"
