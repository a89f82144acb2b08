#!/usr/bin/env bash
# Runs the tests of the control groups, and a notebook, on Debian 12 as it is installed: its own kernel, control groups of
# version 2 alone, and a /run that shifts no ids. In a virtual machine without hardware support, on any x86-64 machine, so
# some twenty times slower than outside: nothing is measured. What runs inside is `tests/debian/inside.sh`.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'debian-12: %s\n' "$*" >&2; }

[ "$(uname -m)" = x86_64 ] || { say 'only for x86_64'; exit 77; }
[ "$(id -u)" -eq 0 ] || { say 'only for root, who can make the root file system'; exit 77; }
images=/var/cache/atelier/images
# Images are known by their recipe, the system that they were made on, and its package sources.
(. /etc/os-release && [ "$ID-$VERSION_ID" = debian-12 ]) || { say 'only on Debian 12, whose image it is'; exit 77; }
compgen -G "$images/*/image.json" >/dev/null || { say "the built-in image is not in $images: any notebook of the local runtime has it made"; exit 77; }
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cache="$(scripts/cache.sh)/debian-12"
mkdir -p "$cache"
work="$(mktemp -d -p /var/tmp)"
trap 'rm -rf "$work"' EXIT

base="$cache/base.tar"
if [ ! -s "$base" ]; then
    say 'making the root file system'
    mmdebstrap --quiet --variant=minbase \
        --include=linux-image-cloud-amd64,nftables,iproute2,xfsprogs,kmod,procps,ca-certificates,mmdebstrap \
        bookworm "$work/base.tar" >&2
    mv "$work/base.tar" "$base.$$"
    mv "$base.$$" "$base"
fi

cargo build --locked -p atelier >&2
tests="$(cargo test --locked -p atelier-runtime-local --lib --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4)"

root="$work/root"
mkdir "$root"
tar -C "$root" -x -f "$base" --exclude='./dev/*'
cp "$CARGO_TARGET_DIR/debug/atelier" "$tests" "$root/usr/local/bin/"
mv "$root/usr/local/bin/$(basename "$tests")" "$root/usr/local/bin/tests"
cp tests/debian/inside.sh "$root/inside.sh"
rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
cp -a /etc/apt/sources.list* "$root/etc/apt/"
mkdir -p "$root$images"
for image in "$images"/*/image.json; do
    cp -a "$(dirname "$image")" "$root$images/"
done
truncate -s 30G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"

timeout --foreground 800 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 4096 -smp 2 -nographic -no-reboot -nic none \
    -kernel "$root"/boot/vmlinuz-* -initrd "$root"/boot/initrd.img-* \
    -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
    -append 'console=ttyS0 root=/dev/vda rw init=/inside.sh quiet panic=-1 net.ifnames=0' </dev/null |
    sed -u 's|\r||g' | tee "$work/console"
grep -q '^everything holds$' "$work/console"
