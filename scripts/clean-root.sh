#!/bin/sh
# Proves that a fresh machine is enough: makes a minimal Debian 12 in DIR (debootstrap, minbase, no
# sudo, no git, no make), and in it runs the README's own command lines on a clone of this
# repository's HEAD. Takes its package source from this machine's apt. Needs root and debootstrap.
# usage: clean-root.sh DIR [TARGET]...      (default targets: demo check; DIR must not exist)
set -eu

if [ $# -lt 1 ] || [ -e "$1" ]; then
    echo "usage: clean-root.sh DIR [TARGET]... (a new DIR)" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
root=$1
shift
[ $# -gt 0 ] || set -- demo check
targets=$*

# shellcheck disable=SC2016 # apt expands it
site=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' | sort -u | head -n 1)
debootstrap --variant=minbase bookworm "$root" "$site"
cp -r /etc/apt/apt.conf.d /etc/apt/sources.list.d "$root/etc/apt/"
[ ! -e /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/"
[ ! -e /etc/hosts ] || cp -L /etc/hosts "$root/etc/"
rm -rf "$root"/var/lib/apt/lists/*
git clone -q --bare "$repository" "$root/holdfast.git"

cat >"$root/try" <<'TRY'
#!/bin/sh
set -eux
cd /root
as_root=$(command -v sudo || true)
$as_root apt-get update && $as_root apt-get install -y git make
git clone /holdfast.git holdfast
cd holdfast
TRY
for target in $targets; do
    echo "date; make $target; date" >>"$root/try"
done
echo 'ls -lA /dev/shm' >>"$root/try"

# A root of its own, not a chroot: in a chroot no test could mount anything.
# shellcheck disable=SC2016 # the inner shell expands it
unshare --mount --pid --fork sh -euc '
    mount --bind "$1" "$1"
    cd "$1"
    mount -t proc proc proc
    mount --rbind /dev dev
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mkdir outside
    pivot_root . outside
    umount -l /outside
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb sh /try
' clean-root "$root"
