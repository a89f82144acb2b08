//! A copy of the database, whole and from one moment, while others write to it.
//!
//! `VACUUM INTO` writes what one read transaction sees into a new file. Writers go on beside it; only the folding of
//! their log into the file waits. It needs no server and disturbs none, so a backup is made by a process of its own. The
//! database is opened for reading only.

use std::path::Path;

use atelier_store::StoreError;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::{Sealer, failed, reader_options, schema, soundness};

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The version of its schema.
    pub schema: i64,
    /// How many notebooks it knows.
    pub notebooks: u64,
}

/// Copies the database at `from` to the file `to`, which must not exist, and checks the copy.
pub async fn copy(from: &Path, to: &Path) -> Result<Copied, StoreError> {
    soundness::before_opening(from)?;
    let mut connection = reader_options(from).connect().await.map_err(failed)?;
    let written = sqlx::query("vacuum into $1").bind(to.display().to_string()).execute(&mut connection).await;
    let _ = connection.close().await;
    written.map_err(failed)?;
    on_disk(to).map_err(|error| StoreError::Disk(format!("`{}`: {error}", to.display())))?;
    examine(to).await
}

/// `VACUUM INTO` does not wait for the disk.
fn on_disk(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Checks the database at `path` from end to end, and that this program knows its schema. Nothing may be writing to it.
pub async fn examine(path: &Path) -> Result<Copied, StoreError> {
    let mut connection = reader_options(path).immutable(true).connect().await.map_err(failed)?;
    let examined = look_at(&mut connection).await;
    let _ = connection.close().await;
    examined
}

async fn look_at(connection: &mut SqliteConnection) -> Result<Copied, StoreError> {
    soundness::check_all(connection).await?;
    let schema = schema::version(connection).await?;
    let notebooks: i64 =
        sqlx::query_scalar("select count(*) from notebooks").fetch_one(connection).await.map_err(failed)?;
    Ok(Copied { schema, notebooks: notebooks.unsigned_abs() })
}

/// Refuses when the secrets in the database at `path` were sealed with another key. Nothing may be writing to it.
pub async fn prove_key(path: &Path, sealer: &Sealer) -> Result<(), StoreError> {
    let mut connection = reader_options(path).immutable(true).connect().await.map_err(failed)?;
    let compared = schema::compare_key(&mut connection, sealer).await;
    let _ = connection.close().await;
    compared.map(drop)
}

/// Whether opening the database at `path` would bring its schema up to date: the moment for a backup.
pub async fn is_older(path: &Path) -> Result<bool, StoreError> {
    soundness::before_opening(path)?;
    let mut connection = reader_options(path).connect().await.map_err(failed)?;
    let older = schema::is_older(&mut connection).await;
    let _ = connection.close().await;
    older
}
