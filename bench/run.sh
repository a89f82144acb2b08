#!/usr/bin/env bash
# `make bench`: builds the release, gets the peers, and measures all of them in one run. Extra arguments go to
# `bench.py`.
set -euo pipefail
cd "$(dirname "$0")/.."

proxy_version=5.3.0
cache="$(scripts/cache.sh)"
proxy="$cache/configurable-http-proxy-$proxy_version"
if [ ! -x "$proxy/node_modules/.bin/configurable-http-proxy" ]; then
    printf 'bench: installing configurable-http-proxy %s\n' "$proxy_version" >&2
    npm install --silent --no-fund --no-audit --prefix "$proxy" "configurable-http-proxy@$proxy_version" >&2
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --locked -p atelier -p atelier-bench
export ATELIER_BINARY="$CARGO_TARGET_DIR/release/atelier"
export BENCH_LOAD="$CARGO_TARGET_DIR/release/atelier-bench"
export BENCH_LAB="$(scripts/venv.sh lab bench/requirements-lab.txt)"
export BENCH_HUB="$(scripts/venv.sh hub bench/requirements-hub.txt)"
export BENCH_PROXY="$proxy/node_modules/.bin/configurable-http-proxy"
export PYTHONDONTWRITEBYTECODE=1
python="$(scripts/venv.sh tests tests/requirements.txt)/bin/python"
status=0
"$python" bench/bench.py "$@" || status=1
"$python" bench/starts.py || status=1
"$python" bench/scale.py || status=1
exit "$status"
