#!/usr/bin/env bash
# Checks licences, bans and sources of the dependencies against `deny.toml`. A cargo-deny of the machine is used when
# there is one; `--install` builds one into the cache otherwise (once, about a minute). Without either the check says
# that it was left out, with exit status 77.
#
# Advisories are not asked: their database is not in a package registry.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
home="$(scripts/cache.sh)/cargo-deny-$version"
if command -v cargo-deny >/dev/null 2>&1; then
    deny=cargo-deny
else
    deny="$home/bin/cargo-deny"
    if [ ! -x "$deny" ]; then
        [ "${1:-}" = --install ] || { printf 'deny: cargo-deny is not here; `make deny` installs it\n' >&2; exit 77; }
        printf 'deny: building cargo-deny %s into %s\n' "$version" "$home" >&2
        # Unoptimised: built in a third of the time, and the check itself takes a second either way.
        cargo install cargo-deny --version "$version" --locked --debug --no-default-features --quiet \
            --root "$home" --target-dir "$home/target"
        rm -rf "$home/target"
    fi
fi
# Second versions of small crates are no error; `deny.toml` names the crates of which there may be one only.
exec "$deny" --locked --log-level error check --hide-inclusion-graph licenses bans sources
