//! Files that are damaged, or not ours: named at the opening, and left as they are.

#![expect(clippy::unwrap_used, reason = "steps that several tests share are not tests themselves")]

mod sample;
mod support;

use std::fs;
use std::path::Path;

use atelier_store::{NotebookStore as _, StoreError};
use atelier_store_sqlite::SqliteStore;
use sample::fill;
use sqlx::{Connection as _, SqliteConnection};
use support::{empty_store, open, sealer};
use tempfile::TempDir;

/// Opening must fail, say `what` and the way back, and change no byte of the file.
async fn assert_refused(file: &Path, what: &str) {
    let before = fs::read(file).unwrap();
    let error = SqliteStore::open(file, sealer(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(what) && said.contains("`atelier restore`"), "{said}");
    assert!(fs::read(file).unwrap() == before, "the file was changed: {what}");
}

/// The database of a store that was closed, with some hundreds of notebooks.
async fn closed_database() -> TempDir {
    let (store, folder) = empty_store().await;
    fill(&store, 300).await;
    store.close().await;
    folder
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("atelier.db");
    fs::write(&file, "somebody's thesis ".repeat(1000)).unwrap();
    assert_refused(&file, "not a database").await;
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    for sql in ["create table thesis (page text)", "pragma application_id = 7; pragma user_version = 1"] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("atelier.db");
        let mut other = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("pragma journal_mode = wal; {sql}")))
            .execute(&mut other)
            .await
            .unwrap();
        other.close().await.unwrap();
        assert_refused(&file, "another program").await;
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_refused() {
    let folder = closed_database().await;
    let file = folder.path().join("atelier.db");
    let whole = fs::metadata(&file).unwrap().len();
    for left in [whole - 4096, whole / 2 / 4096 * 4096, whole / 2 + 100] {
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(left).unwrap();
        assert_refused(&file, "damaged").await;
    }
}

/// The pages of every table and index in turn: a few bytes of each, where its cells are listed.
#[tokio::test]
async fn a_damaged_page_is_refused_wherever_it_is() {
    let folder = closed_database().await;
    let file = folder.path().join("atelier.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let pages: Vec<(i64, String)> =
        sqlx::query_as("select min(pageno), name from dbstat where ncell > 0 and pageno > 1 group by name")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    connection.close().await.unwrap();
    let whole = fs::read(&file).unwrap();
    assert!(pages.len() > 8 && pages.iter().any(|(_, name)| name == "notebooks_by_name"), "{pages:?}");
    for (page, _) in pages {
        let mut damaged = whole.clone();
        let at = (usize::try_from(page).unwrap() - 1) * 4096;
        for byte in &mut damaged[at + 1..at + 40] {
            *byte ^= 0x5a;
        }
        let folder = TempDir::new().unwrap();
        let copy = folder.path().join("atelier.db");
        fs::write(&copy, damaged).unwrap();
        assert_refused(&copy, "damaged").await;
    }
}

/// The files of a store in use, with one byte of its log changed.
fn with_damaged_log(folder: &Path, place: impl FnOnce(usize) -> usize) -> TempDir {
    let copy = TempDir::new().unwrap();
    fs::copy(folder.join("atelier.db"), copy.path().join("atelier.db")).unwrap();
    let mut log = fs::read(folder.join("atelier.db-wal")).unwrap();
    let place = place(log.len());
    log[place] ^= 1;
    fs::write(copy.path().join("atelier.db-wal"), log).unwrap();
    copy
}

const HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// A bad byte in front of answered commits is damage; in the last one it is what a crash leaves, and that one is gone.
#[tokio::test]
async fn a_log_that_has_lost_what_was_answered_is_refused() {
    let (store, folder) = empty_store().await;
    let ids = fill(&store, 30).await;
    for frame in [0, 5, 20] {
        let damaged = with_damaged_log(folder.path(), |_| HEADER + frame * FRAME + 24 + 2000);
        let error = SqliteStore::open(&damaged.path().join("atelier.db"), sealer(1)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("damaged at frame {}", frame + 1)), "{error}");
        assert!(error.to_string().contains("`atelier restore`"), "{error}");
        // Refused again: the first opening has not thrown anything away.
        SqliteStore::open(&damaged.path().join("atelier.db"), sealer(1)).await.unwrap_err();
    }
    let torn = with_damaged_log(folder.path(), |length| length - 2000);
    let store = open(torn.path()).await;
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(store.notebook(*id).await.unwrap().is_some(), place + 1 < ids.len());
    }
}
