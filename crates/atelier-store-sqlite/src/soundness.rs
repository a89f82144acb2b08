//! Whether a database file is one of ours and whole: asked before anything is done with it, and answered by name.
//!
//! `SQLite` is forgiving: an empty file is a new database to it, the log of another file is left aside, and a damaged page
//! is noticed by whoever reads it first. So before the store is used:
//!
//! * the log must not have lost what was answered ([`crate::log_file`]);
//! * the file must be a database, and carry our mark ([`APPLICATION`]);
//! * its structure is checked, table by table, smallest first, for as long as [`PATIENCE`]. What a large database leaves
//!   unchecked by then is checked beside the running server, once that serves ([`Inspection`]), and damage makes `check` fail from then on.
//!
//! What is checked is the structure (pages, cells, types, the rules that a row must keep), not every value: a changed
//! letter in a name cannot be seen. Sealed columns are authenticated and refuse to open.
//!
//! Nothing is repaired and nothing is made anew over what is there. Every message says what is damaged, and that
//! `atelier restore` is the way back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use atelier_store::StoreError;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::reserve::with_suffix;
use crate::{failed, log_file};

/// `ATLR`: the mark of our databases, in the header of the file.
const APPLICATION: i32 = 0x4154_4c52;
/// How long the start may take for checking.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two looks at the time: this many steps of `SQLite`'s machine, well below a millisecond.
const BETWEEN_LOOKS: i32 = 10_000;
/// The result code of a statement that was interrupted.
const INTERRUPTED: &str = "9";

/// What is damaged, and the way back.
pub(crate) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable(format!(
        "{what}; nothing was changed: stop the server and restore a backup with `atelier restore`"
    ))
}

/// Looks at the files before `SQLite` opens them.
pub(crate) fn before_opening(path: &Path) -> Result<(), StoreError> {
    let log = with_suffix(path, "-wal");
    match log_file::lost_frame(&log) {
        Ok(None) => Ok(()),
        Ok(Some(frame)) => Err(damaged(format!(
            "`{}` is damaged at frame {frame}: changes that were answered would be lost",
            log.display()
        ))),
        Err(error) => Err(StoreError::Disk(format!("`{}` cannot be read: {error}", log.display()))),
    }
}

/// Refuses a database that is not ours, and marks one that is.
pub(crate) async fn claim(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let mark: i32 = sqlx::query_scalar("pragma application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    if mark == APPLICATION {
        return Ok(());
    }
    let tables: Vec<String> = sqlx::query_scalar("select name from sqlite_schema where type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    // The first databases had no mark yet.
    let ours = ["_sqlx_migrations", "meta", "notebooks"].iter().all(|name| tables.iter().any(|table| table == name));
    if mark != 0 || !(ours || tables.is_empty()) {
        return Err(damaged(format!("`{}` is a database of another program", path.display())));
    }
    let sql = sqlx::AssertSqlSafe(format!("pragma application_id = {APPLICATION}"));
    sqlx::query(sql).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// What a look at a database has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The version of its schema.
    pub schema: i64,
    /// The tables that there was no time for.
    pub unchecked: Vec<String>,
}

/// Looks at the database at `path` for so long, for reading only, and beside a server as well. `resting` says that
/// nothing uses it: then not even a file is made beside it.
pub async fn look(path: &Path, patience: Duration, resting: bool) -> Result<Look, StoreError> {
    before_opening(path)?;
    let log = std::fs::metadata(with_suffix(path, "-wal")).map_or(0, |log| log.len());
    let options = crate::reader_options(path).immutable(resting && log == 0);
    let mut connection = options.connect().await.map_err(failed)?;
    let looked = async {
        let unchecked = check_for(&mut connection, patience).await?;
        Ok(Look { schema: crate::schema::version(&mut connection).await?, unchecked })
    }
    .await;
    let _ = connection.close().await;
    looked
}

/// Checks what can be checked in the time that a start has; answers the tables that are left.
pub(crate) async fn check_in_time(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    check_for(connection, PATIENCE).await
}

async fn check_for(connection: &mut SqliteConnection, patience: Duration) -> Result<Vec<String>, StoreError> {
    let deadline = Instant::now() + patience;
    watch(connection, move || Instant::now() < deadline).await?;
    let tables = tables(connection).await?;
    let left = check_until_interrupted(connection, tables).await;
    connection.lock_handle().await.map_err(failed)?.remove_progress_handler();
    left
}

/// Lets `goes_on` interrupt the statements of a connection.
async fn watch(
    connection: &mut SqliteConnection,
    goes_on: impl FnMut() -> bool + Send + 'static,
) -> Result<(), StoreError> {
    connection.lock_handle().await.map_err(failed)?.set_progress_handler(BETWEEN_LOOKS, goes_on);
    Ok(())
}

/// The tables, those that everything else hangs on first.
async fn tables(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let sql = "select name from sqlite_schema where type = 'table' and name not like 'sqlite!_%' escape '!'
        order by name in ('notebooks'), name in ('operations', 'operation_steps', 'events'), name";
    sqlx::query_scalar(sql).fetch_all(connection).await.map_err(failed)
}

async fn check_until_interrupted(
    connection: &mut SqliteConnection,
    tables: Vec<String>,
) -> Result<Vec<String>, StoreError> {
    for (at, table) in tables.iter().enumerate() {
        if !check(connection, table).await? {
            return Ok(tables[at..].to_vec());
        }
    }
    Ok(Vec::new())
}

/// Checks one table with its indexes; `false` when it was interrupted.
async fn check(connection: &mut SqliteConnection, table: &str) -> Result<bool, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("pragma quick_check('{}')", table.replace('\'', "''")));
    match sqlx::query_scalar::<_, String>(sql).fetch_one(connection).await {
        Ok(said) if said == "ok" => Ok(true),
        Ok(said) => Err(damaged(format!("the database is damaged in the table `{table}`: {}", one_line(&said)))),
        Err(error)
            if error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == INTERRUPTED) =>
        {
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Everything, however long it takes. For copies.
pub(crate) async fn check_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let said: String = sqlx::query_scalar("pragma integrity_check(1)").fetch_one(connection).await.map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(damaged(format!("the database is damaged: {}", one_line(&said)))) }
}

/// The check of what a start has left unchecked. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Inspection {
    options: SqliteConnectOptions,
    /// What is still to be checked, until somebody says that there is time for it.
    left: Mutex<Vec<String>>,
    stopped: Arc<AtomicBool>,
    found: Arc<OnceLock<StoreError>>,
}

impl Inspection {
    /// Of these tables, when it begins.
    pub(crate) fn of(options: SqliteConnectOptions, tables: Vec<String>) -> Self {
        Self { options, left: Mutex::new(tables), stopped: Arc::default(), found: Arc::default() }
    }

    /// Checks beside everything else, once.
    pub(crate) fn begin(&self) {
        let tables = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        if tables.is_empty() {
            return;
        }
        let (options, stopped, found) = (self.options.clone(), self.stopped.clone(), self.found.clone());
        tokio::spawn(async move {
            tracing::info!(?tables, "the database is large: the rest of it is checked while the server runs");
            match inspect(&options, tables, stopped).await {
                Ok(()) => tracing::info!("the database is sound"),
                Err(error) => {
                    tracing::error!("{error}");
                    let _ = found.set(error);
                }
            }
        });
    }

    /// What it has found so far.
    pub(crate) fn verdict(&self) -> Result<(), StoreError> {
        self.found.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

async fn inspect(
    options: &SqliteConnectOptions,
    tables: Vec<String>,
    stopped: Arc<AtomicBool>,
) -> Result<(), StoreError> {
    let mut connection = options.connect().await.map_err(failed)?;
    watch(&mut connection, move || !stopped.load(Ordering::Relaxed)).await?;
    let checked = check_until_interrupted(&mut connection, tables).await;
    let _ = connection.close().await;
    checked.map(drop)
}

/// Whether there is a database at `path`, or only the name of one: `SQLite` takes an empty file for a new database.
pub fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|seen| seen.len() > 0)
}

/// The files that belong to the database at `path`, itself included; some may not be there.
pub fn files_of(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), with_suffix(path, "-wal"), with_suffix(path, "-shm")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reader_options, schema, writer_options};

    async fn database() -> (SqliteConnection, PathBuf, tempfile::TempDir) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("atelier.db");
        let mut connection = writer_options(&path).connect().await.unwrap();
        schema::migrate(&mut connection).await.unwrap();
        (connection, path, folder)
    }

    /// What there was no time for is handed on, in order and whole; with time, nothing is left.
    #[tokio::test]
    async fn a_check_that_runs_out_of_time_names_what_is_left() {
        let (mut connection, _path, _folder) = database().await;
        let all = tables(&mut connection).await.unwrap();
        assert!(all.len() > 10 && all.last().unwrap() == "notebooks", "{all:?}");
        connection.lock_handle().await.unwrap().set_progress_handler(1, || false);
        assert_eq!(check_until_interrupted(&mut connection, all.clone()).await.unwrap(), all);
        assert_eq!(check_in_time(&mut connection).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_look_at_a_database_changes_no_file_and_names_damage() {
        let (connection, path, folder) = database().await;
        connection.close().await.unwrap();
        let seen = look(&path, Duration::from_secs(30), true).await.unwrap();
        assert!(seen.schema > 0 && seen.unchecked.is_empty(), "{seen:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 4096;
        bytes[at..].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let said = look(&path, Duration::from_secs(30), true).await.unwrap_err().to_string();
        assert!(said.contains("`atelier restore`"), "{said}");
    }

    #[tokio::test]
    async fn a_look_goes_on_beside_a_writer() {
        let (mut connection, path, _folder) = database().await;
        sqlx::query("begin immediate").execute(&mut connection).await.unwrap();
        sqlx::query("insert into meta values ('held', x'00')").execute(&mut connection).await.unwrap();
        look(&path, Duration::from_secs(30), false).await.unwrap();
        sqlx::query("commit").execute(&mut connection).await.unwrap();
    }

    #[tokio::test]
    async fn damage_that_is_found_later_is_told_from_then_on() {
        let (mut connection, path, _folder) = database().await;
        sqlx::query("insert into meta values ('large', zeroblob(100000))").execute(&mut connection).await.unwrap();
        let page: i64 = sqlx::query_scalar("select max(pageno) from dbstat where name = 'meta'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = usize::try_from(page - 1).unwrap() * 4096;
        bytes[at..at + 4].fill(0xff);
        std::fs::write(&path, bytes).unwrap();

        let inspection = Inspection::of(reader_options(&path), vec!["meta".into()]);
        inspection.begin();
        let nothing_left = Inspection::of(reader_options(&path), Vec::new());
        nothing_left.begin();
        assert!(nothing_left.verdict().is_ok());
        let found = async {
            while inspection.verdict().is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
        let said = inspection.verdict().unwrap_err().to_string();
        assert!(said.contains("table `meta`") && said.contains("`atelier restore`"), "{said}");
    }
}
