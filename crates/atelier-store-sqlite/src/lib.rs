//! The store on `SQLite`: one file, durable at every answer.
//!
//! # What holds
//!
//! * **An answer means it is on disk.** The file is in WAL mode with `synchronous = FULL`, so a commit returns after
//!   the log was forced out.
//! * **One writer.** All writes of the process go through one connection, owned by one task (`writer`); writes that
//!   wait together share one commit and so one wait for the disk. `readers` never wait for it, nor it for them.
//! * **Secrets are sealed** ([`Sealer`]) before they reach `SQLite`; the file, its log and any copy hold ciphertext. The
//!   master key is proven when the file is opened.
//! * **Only this version's schema.** Migrations are embedded and numbered; a file of a newer version is refused.
//!
//! * **A notebook is shown as it was last committed**, mostly without asking `SQLite` (`recent`). So no code but
//!   [`commit`](atelier_store::NotebookStore::commit) may write to `notebooks`.
//!
//! The file belongs to one process at a time. That is for whoever owns the data folder to ensure, by a lock on it; a
//! second process would do no harm to the file, but this one would not see its changes.
//!
//! The file is checked for damage when it is opened, as far as that takes no time that anybody would notice, and the rest
//! beside the running store (`soundness`). Every value that is read back is checked on its way.
//!
//! # Adding to it
//!
//! A kind of row gets a module of its own, with its statements and their conversion. Writing is
//! `SqliteStore::write` with a job, reading is `&mut *store.reader().await`:
//!
//! ```text
//! let name = name.to_owned();
//! self.write(move |connection| {
//!     Box::pin(async move {
//!         sqlx::query!("insert into things (name) values ($1)", name).execute(connection).await.map_err(failed)?;
//!         Ok(())
//!     })
//! })
//! .await
//! ```
//!
//! A job that errs is rolled back; a job that answers `Ok` is kept, whatever the value says, so a refusal has to come
//! before the first write.
//!
//! Statements that do not depend on the question are checked at compile time against `.sqlx`. After a change of a
//! statement or a migration, `./prepare.sh` writes that folder anew; it needs no server and no tool but python3. A
//! migration that was released is never changed; a new one gets the next number, the same for every engine.

mod audit;
mod columns;
mod commit;
mod copy;
mod directory;
mod events;
mod history;
mod key_pairs;
mod listing;
mod log_file;
mod master_key;
mod notebook_row;
mod notebooks;
mod operations;
mod pages;
mod people;
mod readers;
mod recent;
mod remembered;
mod reserve;
mod schema;
mod script;
mod sealer;
mod shared_volumes;
mod soundness;
mod standings;
mod store;
mod trash;
mod writer;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_core::observe::{StoreCall, Watcher};
use atelier_store::StoreError;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::MutexGuard;

pub use copy::{Copied, copy, examine, is_older, prove_key};
use listing::Listing;
pub use master_key::MasterKeyError;
use readers::Readers;
use recent::Recent;
use reserve::{Disk, Reserve, Spare};
pub use sealer::Sealer;
use soundness::Inspection;
pub use soundness::{Look, files_of, is_there, look};
use writer::{Work, Writer};

/// How long to wait for another process that holds the file, a backup for instance.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store, on one `SQLite` file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    recent: Recent,
    listing: Arc<Listing>,
    inspection: Inspection,
    room: Disk,
    sealer: Sealer,
    watcher: Watcher,
    /// How often a list is made from the listing, before it is made from the rows.
    list_tries: u32,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when it is not there, brings its schema up to date and proves the key.
    ///
    /// Needs a tokio runtime, and lives in it: the writer is one of its tasks.
    pub async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let options = writer_options(path);
        soundness::before_opening(path)?;
        let spare = Spare::of(path);
        spare.give();
        let mut connection = options.connect().await.map_err(failed)?;
        soundness::claim(&mut connection, path).await?;
        let unchecked = soundness::check_in_time(&mut connection).await?;
        schema::migrate(&mut connection).await?;
        schema::prove_key(&mut connection, &sealer).await?;
        let listing = Listing::default();
        standings::fill(&mut connection, &listing).await?;
        let unfinished = operations::select(&mut connection, operations::Which::Unfinished).await?;
        let readers = Readers::open(&reader_options(path)).await.map_err(failed)?;
        let mut reserve = Reserve::of(path);
        reserve.keep();
        spare.keep();
        Ok(Self {
            writer: Writer::start(connection, options, reserve),
            readers,
            recent: Recent::of(unfinished),
            listing: Arc::new(listing),
            inspection: Inspection::of(reader_options(path), unchecked),
            room: Disk::of(path),
            sealer,
            watcher: Watcher::default(),
            list_tries: store::LIST_TRIES,
        })
    }

    /// Lets somebody know how long reads and writes take.
    #[must_use]
    pub fn watched_by(self, watcher: Watcher) -> Self {
        Self { watcher, ..self }
    }

    /// Answers everything from the rows, lists too, as is done otherwise only where nothing is known or notebooks change
    /// faster than they are read: so that tests reach it.
    #[doc(hidden)]
    #[must_use]
    pub fn by_rows(self) -> Self {
        Self { list_tries: 0, recent: self.recent.blind(), ..self }
    }

    /// Runs `work` in a transaction of its own; it is on disk when this answers `Ok`, and undone when `work` errs.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.write_then(work, |_| {}).await
    }

    /// As `write`; `then` is shown the answer when it is on disk, before anybody else and in the order of the commits.
    pub(crate) async fn write_then<T, F, G>(&self, work: F, then: G) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
        G: FnOnce(&T) + Send + 'static,
    {
        let began = Instant::now();
        let written = self.writer.write_then(work, then).await;
        self.watcher.store(StoreCall::Commit, began, written.is_ok());
        written
    }

    /// A connection to read with, as `&mut *store.reader().await`. It sees everything that was answered.
    pub(crate) async fn reader(&self) -> Reading<'_> {
        let began = Instant::now();
        Reading { connection: self.readers.get().await, watcher: &self.watcher, began }
    }

    /// What secrets are sealed with. A job gets a clone.
    pub(crate) const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Checks what the opening had no time for, beside everything else. For when whatever is in a hurry has its answer:
    /// the server listens.
    pub fn inspect_the_rest(&self) {
        self.inspection.begin();
    }

    /// Lets the queued writes end and folds the log into the file. Later writes are refused; reads are still answered.
    ///
    /// A store that is dropped without this loses nothing either.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

/// A connection to read with. The time until it is let go is the time of the read: waiting for a connection, asking, and
/// taking over the rows.
pub(crate) struct Reading<'s> {
    connection: MutexGuard<'s, SqliteConnection>,
    watcher: &'s Watcher,
    began: Instant,
}

impl Deref for Reading<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.watcher.store(StoreCall::Read, self.began, true);
    }
}

/// The pages that the writer keeps, as `SQLite` counts: minus so many KiB. A group of commits must fit, or its pages are
/// written twice.
const WRITERS_CACHE: &str = "-8192";

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Every job has a savepoint, whose journal would be a file: of all that was written, nine tenths went there.
        .pragma("temp_store", "memory")
        .pragma("cache_size", WRITERS_CACHE)
        .busy_timeout(PATIENCE)
        .disable_statement_logging()
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(PATIENCE).disable_statement_logging()
}

/// The engine failed. sqlx's messages name tables and columns, never values.
#[expect(clippy::needless_pass_by_value, reason = "made to be given to `map_err`")]
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    let code = error.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| (code & 0xff, code)) {
        Some((FULL, _) | (_, SHARED_MEMORY_SIZE)) => StoreError::Full(text),
        Some((IO, _)) => StoreError::Disk(text),
        Some((CORRUPT | NOT_A_DATABASE, _)) => soundness::damaged(format!("the database is damaged: {text}")),
        _ => StoreError::Engine(text),
    }
}

const IO: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;
/// The index of the log could not be made larger: there is no room for it.
const SHARED_MEMORY_SIZE: u32 = 0x130a;
