//! The store on SQLite: one file, durable at every answer.

mod readers;
mod sealer;
mod writer;

use std::path::Path;
use std::time::Duration;

use atelier_store::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::MutexGuard;

use readers::Readers;
pub use sealer::Sealer;
use writer::{Work, Writer};

/// The store, on one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    sealer: Sealer,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when it is not there, and brings its schema up to date.
    pub async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let options = writer_options(path);
        let mut connection = options.connect().await.map_err(failed)?;
        sqlx::migrate!().run_direct(None, &mut connection, false).await.map_err(|e| StoreError::Engine(e.to_string()))?;
        let readers = Readers::open(&reader_options(path)).await.map_err(failed)?;
        Ok(Self { writer: Writer::start(connection, options), readers, sealer })
    }

    /// Runs `work` in a transaction of its own; it is on disk when this answers `Ok`, and undone when `work` errs.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// A connection to read with, as `&mut *store.reader().await`. It sees everything that was answered.
    pub(crate) async fn reader(&self) -> MutexGuard<'_, SqliteConnection> {
        self.readers.get().await
    }

    /// What secrets are sealed with. A job gets a clone.
    pub(crate) const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Lets the writes under way end and closes the file.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

/// The engine failed. sqlx's messages name tables and columns, never values.
#[expect(clippy::needless_pass_by_value, reason = "made to be given to `map_err`")]
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Engine(error.to_string())
}
