#!/bin/sh
# Writes `.sqlx` anew: what the checked queries of this crate were checked against. Run it after every change of a
# query or a migration, and commit the result; builds read it and need no database.
#
# Needs python3 (for its sqlite3 module) and cargo.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

python3 - "$scratch/schema.db" migrations/*.sql <<'PYTHON'
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for migration in sys.argv[2:]:
    with open(migration, encoding="utf-8") as text:
        database.executescript(text.read())
PYTHON

# The macros write a file per query while they are expanded, so the crate has to be compiled anew, tests included.
mkdir "$scratch/sqlx"
touch src/lib.rs
DATABASE_URL="sqlite:$scratch/schema.db" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$scratch/sqlx" \
    cargo check --package atelier-store-sqlite --all-targets

mkdir -p .sqlx
rm -f .sqlx/query-*.json
find "$scratch/sqlx" -name 'query-*.json' -exec cp {} .sqlx/ \;
touch src/lib.rs
