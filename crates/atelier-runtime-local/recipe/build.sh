#!/bin/sh
# Builds the root file system of the built-in image in STAGE/layers/0.
#
#   build.sh STAGE SUITE
#
# STAGE/recipe holds this folder, STAGE/host what comes from the host: sources.list, apt.conf, ca-certificates.crt.
# Runs as root in a mount and a pid namespace of its own. A line that begins with "atelier:" is news for people; all
# other output is read for its counts and kept for the case of a failure.
set -eu
stage=$1 suite=$2
recipe=$stage/recipe host=$stage/host root=$stage/layers/0

say() { echo "atelier: $*"; }

packages=$(sed '/^#/d' "$recipe/packages.txt" | paste -sd, -)

# /usr is one tree in every release since Debian 12; without the hook the conversion is made by a package that needs
# perl before anything else is there.
hooks=/usr/share/mmdebstrap/hooks
merge=$hooks/merged-usr
[ -d "$hooks/maybe-merged-usr" ] && merge=$hooks/maybe-merged-usr

say "reading the package lists"
# Flushing every file of a root that is thrown away after a crash takes longer than unpacking it; dpkg's excludes are
# installed after the first extraction, because mmdebstrap itself filters five times slower than dpkg.
mmdebstrap --mode=root --variant=apt --verbose --format=directory --include="$packages" \
    --hook-dir="$merge" --aptopt="$host/apt.conf" \
    --extract-hook='cp "'"$recipe"'/files/dpkg-excludes" "$1/etc/dpkg/dpkg.cfg.d/atelier"
        echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/build"' \
    "$suite" "$root" - < "$host/sources.list"

rm -f "$root/etc/dpkg/dpkg.cfg.d/build" "$root/etc/apt/apt.conf.d/99mmdebstrap"
cp "$host/sources.public" "$root/etc/apt/sources.list"
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/lintian "$root"/var/cache/debconf/*-old \
    "$root"/var/log/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +

say "making the user"
chroot "$root" /usr/sbin/useradd --uid 1000 --gid 100 --no-log-init --no-user-group --create-home \
    --home-dir /home/ma-user --shell /bin/bash --comment 'notebook user' ma-user
install -d -o 1000 -g 100 -m 0755 "$root/home/ma-user/work"
chmod 0755 "$root/home/ma-user"

# What the second part sees of the outside. These mounts live in this namespace only.
rm -rf "$root/dev" && mkdir "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mkdir -m 1777 "$root/dev/shm"
for node in null zero full random urandom; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/build"
mount --bind "$stage" "$root/run/build"
rm -f "$root/etc/resolv.conf" && install -m 0644 /etc/resolv.conf "$root/etc/resolv.conf"

# Root without any capability: enough to write root's own files, and nothing else.
chroot "$root" /usr/bin/setpriv --inh-caps=-all --bounding-set=-all --no-new-privs \
    /bin/sh /run/build/recipe/environments.sh

umount "$root/run/build" "$root/run" "$root/tmp" "$root/proc"
umount -R "$root/dev"

say "setting owners"
mkdir -p "$root/home/ma-user/.config"
mv "$stage/matplotlib" "$root/home/ma-user/.config/matplotlib"
chown -R 1000:100 "$root/opt/atelier/user" "$root/home/ma-user"
cp -R "$recipe/files/etc/." "$root/etc/"
: > "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname"
echo "$ATELIER_RECIPE" > "$root/etc/atelier-image"
find "$root/etc" -name '*-' -type f -delete
