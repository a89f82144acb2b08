#!/usr/bin/env bash
# Prints the folder in which set-up and tests keep what a second run finds again: build results of `.ci/run`, Python
# environments, tools. `--remove` empties it instead. Images of notebooks are not here; the server keeps those.
set -euo pipefail

folder="${ATELIER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/atelier-build}"
case "${1:-}" in
    "") mkdir -p "$folder" && printf '%s\n' "$folder" ;;
    --remove) rm -rf -- "$folder" && printf 'removed %s\n' "$folder" ;;
    *) printf 'cache.sh: `%s` is not known; only `--remove` is\n' "$1" >&2; exit 2 ;;
esac
