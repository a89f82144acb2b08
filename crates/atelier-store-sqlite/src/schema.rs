//! What happens to a database file before it is used: its schema is brought up to date, and the master key is proven
//! to be the one that its secrets were sealed with.

use atelier_store::StoreError;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::SqliteConnection;
use sqlx::migrate::{MigrateError, Migrator};

use crate::{Sealer, failed};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Applies the migrations that are missing. A schema of a newer version is refused: its rows may mean what this
/// version does not know.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| refused(&error))
}

/// Whether this program would change the schema of a database that is in use.
pub(crate) async fn is_older(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let known: i64 = sqlx::query_scalar("select count(*) from sqlite_schema where name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if known == 0 {
        return Ok(false);
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations").fetch_all(connection).await.map_err(failed)?;
    Ok(MIGRATIONS.iter().any(|migration| !applied.contains(&migration.version)))
}

/// The newest migration that was applied; refused when this program does not know it.
pub(crate) async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let found: i64 = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    if MIGRATIONS.iter().any(|migration| migration.version == found) {
        return Ok(found);
    }
    Err(refused(&MigrateError::VersionMissing(found)))
}

fn refused(error: &MigrateError) -> StoreError {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match *error {
        MigrateError::VersionMissing(version) if version > newest => StoreError::Unreadable(format!(
            "the database has schema version {version}, but this program knows versions up to {newest} only; \
             it was written by a newer version of the program, use that one or restore a backup"
        )),
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => StoreError::Unreadable(
            format!("the schema version {version} of the database is not the one that this program knows"),
        ),
        _ => StoreError::Engine(error.to_string()),
    }
}

const CHECK: &str = "master-key";
const CHECKED: &str = "the secrets in this file are sealed with this key";

/// Compares the key of `sealer` with the one that this database was made with. Without this a wrong key would be
/// noticed at the first secret only, and the rows written until then would be lost to the right key.
pub(crate) async fn prove_key(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<(), StoreError> {
    if compare_key(connection, sealer).await? { Ok(()) } else { keep_proof(connection, sealer).await }
}

/// As [`prove_key`], without writing: `false` where no key has ever been used.
pub(crate) async fn compare_key(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<bool, StoreError> {
    let kept = sqlx::query_scalar!("select value from meta where name = $1", CHECK)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let Some(ciphertext) = kept else { return Ok(false) };
    let opened = sealer.unseal("meta.value", CHECK, &ciphertext).map_err(|_| {
        StoreError::Unreadable(
            "the master key is not the one that the secrets in this database were sealed with; put back the \
             `master.key` (or `ATELIER_MASTER_KEY`) that belongs to it"
                .into(),
        )
    })?;
    if opened.expose_secret() == CHECKED {
        return Ok(true);
    }
    Err(StoreError::Unreadable("the proof of the master key is damaged".into()))
}

async fn keep_proof(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<(), StoreError> {
    let ciphertext = sealer.seal("meta.value", CHECK, &SecretString::from(CHECKED))?;
    sqlx::query!("insert into meta (name, value) values ($1, $2)", CHECK, ciphertext)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
