#!/usr/bin/env bash
# `make run`: builds the release and brings up the notebook `hello`. The server stays in the foreground: Ctrl-C ends
# it, the notebook runs on.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
printf 'building atelier (some minutes the first time)\n' >&2
cargo build --release --locked -p atelier
case "$target" in /*) ;; *) target="$PWD/$target" ;; esac

# Containers, loop devices and network namespaces are root's to make.
if [ "$(id -u)" -ne 0 ]; then
    printf 'starting the server with sudo: the local runtime makes containers, which only root can\n' >&2
    exec sudo --preserve-env "$target/release/atelier" up
fi
exec "$target/release/atelier" up
