#!/bin/sh
# make install takes a PREFIX that is an absolute path, and no other: an empty one would be the root
# file system. Only where the system looks for libraries it tells it of one. usage: install.sh REPOSITORY
set -eu
command -v make >/dev/null || { echo "SKIPPED: no make here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for stub in cmake ldconfig; do
    printf '#!/bin/sh\nprintf "%%s|" %s "$@" >>"$(dirname "$0")/got"\n' "$stub" >"$work/$stub"
done
printf '#!/bin/sh\necho 0\n' >"$work/id"
chmod +x "$work/cmake" "$work/ldconfig" "$work/id"

# install ARGUMENT...: what it did is in $work/got
install() {
    : >"$work/got"
    (cd "$1" && shift && PATH=$work:$PATH make -s install SETUP=true CMAKE="$work/cmake" "$@") 2>"$work/err"
}

for prefix in '' relative ./here -x; do
    if install "$1" PREFIX="$prefix"; then
        echo "make install takes PREFIX='$prefix'"
        exit 1
    fi
    if [ -s "$work/got" ] || ! grep -qF "not an absolute path: '$prefix'" "$work/err"; then
        cat "$work/got" "$work/err"
        exit 1
    fi
done
for prefix in /usr/local /usr/ '/home/ann/hold fast'; do
    install "$1" PREFIX="$prefix"
    grep -qF "|-DCMAKE_INSTALL_PREFIX=$prefix|" "$work/got"
    case $prefix in /usr*) told=0 ;; *) told=1 ;; esac
    status=0
    grep -q 'ldconfig|' "$work/got" || status=1
    [ "$status" -eq "$told" ] || { echo "PREFIX=$prefix: $(cat "$work/got")"; exit 1; }
done
install "$1" PREFIX=/usr DESTDIR=/tmp/package
if grep -q 'ldconfig|' "$work/got"; then
    echo "ldconfig runs for a package that is being made"
    exit 1
fi
