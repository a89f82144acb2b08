#!/usr/bin/env bash
# Runs the tests of the control groups where version 2 is all there is: in a virtual machine with a distribution's
# kernel, on any machine, without hardware support. The machine is the kernel, a tiny root in memory, and the test
# program; it ends with the program.
#
# The tests must find version 2 (ATELIER_EXPECT_CGROUPS=2), else they would prove nothing here.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(uname -m)" = x86_64 ] || { printf 'cgroup-v2: only for x86_64\n' >&2; exit 77; }
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cache="$(scripts/cache.sh)/virtual-machine-with-disks"
mkdir -p "$cache"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The newest kernel of the distribution that is made for virtual machines: all that is needed is built in, but for the
# loop devices where those are a module.
kernel_package() {
    local name
    for name in linux-image-cloud-amd64 linux-image-virtual; do
        apt-cache depends "$name" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1 || true
    done | head -n 1 || true
}
kernel="$(find "$cache" -maxdepth 1 -name 'vmlinuz-*' | sort | tail -n 1)"
if [ -z "$kernel" ]; then
    package="$(kernel_package)"
    [ -n "$package" ] || { printf 'cgroup-v2: the package sources have no kernel for virtual machines\n' >&2; exit 1; }
    printf 'cgroup-v2: fetching %s\n' "$package" >&2
    # apt's own user must be able to write there, or it warns.
    (cd "$work" && apt-get -q download "$package" >&2 && dpkg-deb --fsys-tarfile ./*.deb > package.tar &&
        tar -t -f package.tar | grep -E '^./boot/vmlinuz-|/kernel/drivers/block/loop\.ko$' | tar -x -f package.tar -T -)
    find "$work/lib" -name loop.ko -exec cp -t "$cache" {} + 2>/dev/null || true
    cp "$work"/boot/vmlinuz-* "$cache/"
    kernel="$(find "$cache" -maxdepth 1 -name 'vmlinuz-*' | sort | tail -n 1)"
fi

program="$(cargo test --locked -p atelier-runtime-local --lib --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4)"

root="$work/root"
mkdir -p "$root"/{bin,proc,sys,dev,tmp,etc}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$program" "$root/bin/tests"
if [ -e "$cache/loop.ko" ]; then cp "$cache/loop.ko" "$root/"; fi
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp TMPDIR=/tmp RUST_BACKTRACE=1 ATELIER_EXPECT_CGROUPS=2
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
if [ -e /loop.ko ]; then insmod /loop.ko; fi
/bin/tests cgroup:: --test-threads=1
echo "exit status: $?"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initrd.gz"

timeout 300 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -smp 2 -nographic -no-reboot -net none \
    -kernel "$kernel" -initrd "$work/initrd.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null |
    tr -d '\r' | tee "$work/console"
grep -q '^exit status: 0$' "$work/console" && ! grep -q ' 0 passed;' "$work/console"
