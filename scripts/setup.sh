#!/bin/sh
# Installs, from Debian's or Ubuntu's packages, what one make target lacks; says nothing and needs
# no network when nothing is missing. Elsewhere it says in one line what to install.
# usage: setup.sh build|check|fuzz|bench|format|lint|ci
set -eu

missing=""

# need PACKAGE TEST...: remembers the package unless the test succeeds
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

have() { command -v "$1"; }
library() { have pkg-config && pkg-config --exists "$1"; }
boost_is_new() { grep -Eq '^#define BOOST_VERSION 10(8[1-9]|9)' /usr/include/boost/version.hpp; }
cmake_is_new() { have cmake && cmake -P "$(dirname "$0")/cmake-version.cmake"; }

need_build() {
    need gcc have cc
    need libc6-dev test -e /usr/include/stdlib.h
    need cmake cmake_is_new
    need ninja-build have ninja
    need pkg-config have pkg-config
    need libxxhash-dev library libxxhash
    need libjansson-dev library jansson
}
need_check() {
    need_build
    need libcmocka-dev library cmocka
    need g++ have c++
    need binutils have readelf
    need spin have spin
}
# The runtime of libFuzzer and the sanitizers is a package of its own, named after clang's version.
clang_version() { clang -dumpversion 2>/dev/null | cut -d. -f1; }
fuzzer_runtime() {
    have clang && printf 'int LLVMFuzzerTestOneInput(void);\nint LLVMFuzzerTestOneInput(void) { return 0; }\n' |
        clang -x c -fsanitize=fuzzer,address -o /dev/null -
}
need_fuzz() {
    need_check
    need clang have clang
    version=$(clang_version)
    need "libclang-rt-${version:-14}-dev" fuzzer_runtime
}
need_bench() {
    need_build
    need g++ have c++
    need libboost1.81-dev boost_is_new
    need libpmemobj-dev library libpmemobj
    need libmimalloc-dev test -e /usr/include/mimalloc.h
}
need_format() { need clang-format have clang-format; }
need_lint() {
    need_check
    need_bench
    need clang-tidy have clang-tidy
    need shellcheck have shellcheck
    need mandoc have mandoc
}

need_ci() {
    need_lint
    need_format
    need clang have clang
    need git have git
    need gcc-i686-linux-gnu have i686-linux-gnu-gcc
    need libc6-dev-i386-cross test -e /usr/i686-linux-gnu/include/stdlib.h
    need gcc-aarch64-linux-gnu have aarch64-linux-gnu-gcc
    need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdlib.h
    need musl-tools have musl-gcc
    need qemu-user-static have qemu-aarch64-static
}

case ${1:-} in
build) need_build ;;
check) need_check ;;
fuzz) need_fuzz ;;
bench) need_bench ;;
format) need_format ;;
lint) need_lint ;;
ci) need_ci ;;
*)
    echo "usage: setup.sh build|check|fuzz|bench|format|lint|ci" >&2
    exit 2
    ;;
esac

[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root=$(command -v sudo || true)
fi
if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && [ -z "$as_root" ]; }; then
    echo "holdfast: please install (names of Debian packages; CMake 3.25 or later):$missing" >&2
    exit 1
fi
echo "holdfast: installing$missing"
install() {
    # shellcheck disable=SC2086 # both are lists
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be missing (a fresh machine) or old: fetch them before the second try only.
install || { $as_root apt-get update -qq >/dev/null && install; } || {
    cat "$log" >&2
    echo "holdfast: could not install$missing" >&2
    exit 1
}
