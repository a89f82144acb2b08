#!/usr/bin/env bash
# Installs what is missing on this machine, and nothing else: `setup.sh GROUP…` with the groups below.
#
# A need is a question ("is there a `mkfs.xfs`?") and the Debian package that answers it. Only the packages of
# unanswered questions are installed, so that the second run costs no more than asking. Rust is the one thing that
# must be there before.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
command_is_there() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

missing=()
need() { # need PACKAGE QUESTION…
    local package="$1"
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

static_libc() { test -n "$(find /usr/lib /lib -maxdepth 2 -name libc.a -print -quit 2>/dev/null)"; }
ca_certificates() { test -s /etc/ssl/certs/ca-certificates.crt; }
python_venv() { python3 -c 'import ensurepip, venv'; }
# A package of the OpenStack client's comes as source.
python_headers() { python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; }

for group in "$@"; do
    case "$group" in
        build)
            command_is_there cargo || {
                say 'cargo is missing: install Rust 1.95 or later (with rustfmt and clippy), then run this again'
                exit 1
            }
            need gcc command_is_there cc
            need libc6-dev static_libc
            need python3 command_is_there python3
            need ca-certificates ca_certificates
            ;;
        run)
            need xfsprogs command_is_there mkfs.xfs
            need mmdebstrap command_is_there mmdebstrap
            need nftables command_is_there nft
            ;;
        test)
            need iproute2 command_is_there ip
            need python3-venv python_venv
            need python3-dev python_headers
            need nginx-light command_is_there nginx
            need curl command_is_there curl
            need openssl command_is_there openssl
            need prometheus command_is_there promtool
            # Ubuntu has it as a snap only, which needs a system around it that not every machine is; the tests in a
            # browser are skipped there, and say so.
            grep -qs '^ID=ubuntu' /etc/os-release || need chromium command_is_there chromium
            need libnss3-tools command_is_there certutil
            need systemd command_is_there systemd-analyze
            ;;
        bench)
            need npm command_is_there npm
            ;;
        virtual-machine)
            need qemu-system-x86 command_is_there qemu-system-x86_64
            need e2fsprogs command_is_there mke2fs
            ;;
        *)
            say "\`$group\` is not a group; the groups are build, run, test, bench, virtual-machine"
            exit 2
            ;;
    esac
done

[ "${#missing[@]}" -eq 0 ] && exit 0

command_is_there apt-get || {
    say "missing here: ${missing[*]} (names of Debian packages); install what provides them, then run this again"
    exit 1
}
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command_is_there sudo || {
        say "missing here: ${missing[*]}; run this as root, or install sudo"
        exit 1
    }
    as_root=(sudo)
fi
say "installing ${missing[*]}"
# The tests start what they need by themselves: no package of theirs may start a service on this machine, or take its
# ports. This is Debian's own way to say so; a policy that is there already stays.
policy=/usr/sbin/policy-rc.d
if [ -d "${policy%/*}" ] && [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2; }
# A fresh machine has no package lists; an old one has lists whose packages are gone. Fetch them once in both cases.
apt install -y --no-install-recommends "${missing[@]}" || {
    say 'fetching the package lists, then trying again'
    apt update
    apt install -y --no-install-recommends "${missing[@]}"
}
