#!/bin/sh
# Builds the citizen of another world, or says why there is none here.
# usage: build.sh ROOT OUTPUT COMPILER [FLAG...] -- SOURCE...
# OUTPUT is the program. Where it cannot be built, no such file, and OUTPUT.skipped has the reason. That the
# library's sources do not compile is no reason but a failure.
set -eu
root=$1 output=$2 compiler=$3
shift 3
flags=""
while [ "$1" != -- ]; do
    flags="$flags $1"
    shift
done
shift
rm -f "$output" "$output.skipped"

skip() {
    echo "$1" >"$output.skipped"
    exit 0
}

# What the file system says of a header of the kernel's, for a libc that has none of its own.
kernel_headers() {
    mkdir -p "$output.kernel"
    for part in linux asm asm-generic; do
        for from in /usr/include "/usr/include/$(uname -m)-linux-gnu"; do
            [ ! -d "$from/$part" ] || ln -sfn "$from/$part" "$output.kernel/$part"
        done
    done
    echo "-isystem $output.kernel"
}

# Does the compiler make a program of this line?
makes() {
    # shellcheck disable=SC2086 # a list
    echo "$1" | "$compiler" $flags -x c -o "$output.trial" - >/dev/null 2>&1 || return 1
    rm -f "$output.trial"
}

command -v "$compiler" >/dev/null 2>&1 || skip "no compiler $compiler"
makes '#include <pthread.h>
int main(void) { return pthread_detach(pthread_self()); }' || skip "$compiler makes no programs here"
kernel='#include <linux/futex.h>
int main(void) { return FUTEX_WAIT; }'
if ! makes "$kernel"; then
    flags="$flags $(kernel_headers)"
    makes "$kernel" || skip "no headers of the kernel's for $compiler"
fi
cd "$root"
# shellcheck disable=SC2086 # a list
"$compiler" -O2 -std=c11 -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -Wall -Wno-psabi \
    -Iinclude -Isrc $flags -o "$output" "$@"
