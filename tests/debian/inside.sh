#!/bin/bash
# The first process of the virtual machine that `scripts/debian-12.sh` makes. The last word that counts is `everything
# holds`.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
# As the service manager does it.
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mountpoint -q /run || mount -t tmpfs -o nosuid,nodev,mode=755 run /run
mount -t tmpfs tmp /tmp
ip link set lo up
modprobe -a loop xfs overlay veth nf_tables
ulimit -n 65536

failed=0
# `holds WHAT COMMAND...`: says whether the command ends well.
holds() {
    local what="$1"
    shift
    if "$@" > /tmp/said 2>&1; then
        echo "holds: $what"
    else
        echo "DOES NOT HOLD: $what"
        cat /tmp/said
        failed=1
    fi
}
# `soon COMMAND...`: whether the command ends well within five minutes.
soon() {
    local turn
    for turn in $(seq 150); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 2
    done
    echo "not after $turn turns: $*"
    return 1
}
is() { atelier notebook list -o json | grep -q "\"status\": *\"$1\""; }
says() { grep -q -- "$1" <<< "$("${@:2}" 2>&1)"; }
nothing_runs() {
    [ -d /sys/fs/cgroup/atelier ] && [ -z "$(find /sys/fs/cgroup/atelier -mindepth 1 -type d)" ] && [ -z "$(losetup -a)" ] &&
        [ -z "$(ip -brief link | grep '^atl')" ]
}
nothing_is_left() { nothing_runs && [ -z "$(find /run/atelier -name '*-*-*-*-*')" ]; }

uname -r
ATELIER_EXPECT_CGROUPS=2 RUST_BACKTRACE=1 holds 'the tests of the control groups' \
    says 'test result: ok. [1-9]' tests cgroup:: --test-threads=1

cat > /tmp/takes_all.py <<'P'
import socket

with socket.socket(socket.AF_UNIX) as asking:
    asking.connect("/run/atelier/groups.sock")
    print(asking.recv(16), open("/proc/self/cgroup").read(), flush=True)
taken = [b"x" * (16 << 20) for _ in range(64)]
P

# What is forked has to be imported first, which takes a minute here.
ATELIER_LOCAL__ZYGOTE=false atelier serve > /root/server.log 2>&1 &
server=$!
holds 'the server is there' soon atelier notebook list
holds 'a notebook is asked for' atelier notebook create hello
holds 'it runs' soon is RUNNING
holds 'a file goes into it' atelier notebook cp /tmp/takes_all.py hello:takes_all.py
holds 'it has a group for what is no kernel' says '^0::/$' atelier notebook exec hello -- cat /proc/self/cgroup
holds 'whoever takes all memory as a kernel does, in a group, is killed' \
    says "taken in.*kernel-1" atelier notebook exec hello -- python takes_all.py
holds 'its history says so' soon says 'the memory of a kernel ran out' atelier notebook events hello
holds 'it still runs' is RUNNING
holds 'it is stopped' atelier notebook stop hello
holds 'it has stopped' soon is STOPPED
holds 'nothing of it runs' soon nothing_runs
holds 'it is started' atelier notebook start hello
holds 'it runs again' soon is RUNNING
holds 'the file is still there' says groups.sock atelier notebook exec hello -- cat takes_all.py
holds 'it is deleted' atelier notebook delete hello --yes
holds 'nothing is left' soon nothing_is_left
kill "$server" && wait "$server"

if [ "$failed" -eq 0 ]; then
    echo 'everything holds'
else
    cat /root/server.log
fi
sync
echo o > /proc/sysrq-trigger
sleep 60
