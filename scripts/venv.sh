#!/usr/bin/env bash
# `venv.sh NAME REQUIREMENTS` makes the Python environment NAME from a file of pinned requirements and prints its
# folder. It is kept in the cache under a hash of the file and of the interpreter: the second run finds it, a changed
# line makes a new one.
set -euo pipefail

name="$1" requirements="$2"
here="$(dirname "$0")"
hash="$({ cat "$requirements"; python3 -VV; python3 -c 'import sys; print(sys.executable)'; } | sha256sum | cut -c1-12)"
folder="$("$here/cache.sh")/venv/$name-$hash"

if [ ! -e "$folder/complete" ]; then
    printf 'venv: making %s\n' "$folder" >&2
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps -r "$requirements" >&2
    "$folder/bin/python" -m pip --disable-pip-version-check check >&2
    touch "$folder/complete"
fi
printf '%s\n' "$folder"
