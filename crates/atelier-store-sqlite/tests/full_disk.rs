//! A disk that is really full: a file system of some megabytes, in a mount namespace that ends with the test.

#![expect(clippy::unwrap_used, reason = "steps that a test is made of are not tests themselves")]

mod sample;
mod support;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use atelier_core::notebook::Notebook;
use atelier_store::{Commit, Committed, NotebookStore as _, NotebookWrite, StoreError};
use atelier_store_sqlite::SqliteStore;
use sample::{insertion, sample};
use support::open;

const DISK: &str = "ATELIER_TEST_SMALL_DISK";

/// Runs a test of this program again where it may mount: in a namespace of its own, as root there.
fn run_on_a_small_disk(test: &str) -> bool {
    if std::env::var_os(DISK).is_some() {
        return true;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let done = Command::new("unshare")
        .args(user)
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=24m,mode=0700 none \"$1\"; shift; exec \"$@\"")
        .arg("sh")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DISK, folder.path())
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    false
}

/// Takes all the room that is left.
fn fill_up(folder: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("filler")).unwrap();
    for block in [1 << 20, 4096, 1] {
        let block = vec![1; block];
        while file.write_all(&block).is_ok() {}
    }
}

async fn answered_until_full(store: &SqliteStore) -> Vec<Notebook> {
    let mut answered = Vec::new();
    loop {
        let notebook = sample(&format!("nb-{}", answered.len()));
        match store.commit(insertion(notebook.clone())).await {
            Ok(committed) => assert_eq!(committed, Committed::Written(0)),
            Err(error) => {
                assert!(matches!(error, StoreError::Full(_)), "{error:?}");
                return answered;
            }
        }
        answered.push(notebook);
    }
}

async fn assert_there(store: &SqliteStore, notebooks: &[Notebook]) {
    for notebook in notebooks {
        assert_eq!(store.notebook(notebook.id).await.unwrap().unwrap().name, notebook.name);
    }
    assert_eq!(store.notebook_ids().await.unwrap().len(), notebooks.len());
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_passes() {
    if !run_on_a_small_disk("a_full_disk_loses_nothing_and_passes") {
        return;
    }
    let folder = Path::new(&std::env::var_os(DISK).unwrap()).to_owned();
    let store = open(&folder).await;
    let mut there = Vec::new();
    for i in 0..200 {
        there.push(sample(&format!("before-{i}")));
        store.commit(insertion(there[i].clone())).await.unwrap();
    }

    // Others fill the disk: what frees it can still be committed, out of the log's own reserve.
    fill_up(&folder);
    assert_eq!(store.room().await.unwrap().unwrap().free_bytes, 0);
    assert!(File::create(folder.join("one-more")).and_then(|mut file| file.write_all(&[1; 4096])).is_err());
    for notebook in there.drain(..100) {
        let removal = NotebookWrite::Remove(notebook.id, 0);
        let committed = store.commit(Commit { notebook: Some(removal), ..Commit::default() }).await.unwrap();
        assert_eq!(committed, Committed::Written(0));
    }

    // The store itself uses up the rest: refused by name, and nothing of the refused is there.
    let more = answered_until_full(&store).await;
    there.extend(more);
    assert_there(&store, &there).await;

    // As after a crash right now.
    let crashed = tempfile::TempDir::new_in("/dev/shm").unwrap();
    for file in ["atelier.db", "atelier.db-wal"] {
        std::fs::copy(folder.join(file), crashed.path().join(file)).unwrap();
    }
    assert_there(&open(crashed.path()).await, &there).await;

    // There is room again: no restart is needed.
    std::fs::remove_file(folder.join("filler")).unwrap();
    store.check().await.unwrap();
    there.push(sample("after"));
    store.commit(insertion(there.last().unwrap().clone())).await.unwrap();
    assert_there(&store, &there).await;
    store.close().await;
    assert_there(&open(&folder).await, &there).await;
}
