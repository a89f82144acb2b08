//! What the contract cannot ask about: the file, its key, its versions and its many callers.

#![expect(clippy::unwrap_used, reason = "steps that several tests share are not tests themselves")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atelier_core::clock::Timestamp;
use atelier_core::feature::Feature;
use atelier_core::flavor::Flavor;
use atelier_core::hook::Hooks;
use atelier_core::id::{DomainId, ImageId, NotebookId, ProjectId, UserId, VolumeId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, Lease, LeaseKind};
use atelier_core::notebook::{LegacyWords, NewNotebook, Notebook, Owner};
use atelier_core::tags::Tags;
use atelier_core::volume::Volume;
use atelier_store::{Commit, Committed, Condition, NotebookQuery, NotebookStore, NotebookWrite, SortKey, StoreError};
use atelier_store_sqlite::SqliteStore;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, SqliteConnection};
use support::{Random, empty_store, open, sealer};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const TOKEN: &str = "a-token-that-nobody-may-read";
const UPSTREAM: &str = "an-upstream-secret-that-nobody-may-read";

fn owner() -> Owner {
    Owner {
        user_id: UserId::generate(&Random),
        user_name: "admin".into(),
        domain_id: DomainId::generate(&Random),
        domain_name: "account".into(),
    }
}

fn notebook(project_id: &ProjectId, owner: &Owner, name: &str) -> Notebook {
    let image = Image {
        id: ImageId::generate(NOW, &Random),
        name: "image".into(),
        tag: "1".into(),
        namespace: "atelier".into(),
        description: String::new(),
        swr_path: "local/atelier/image:1".into(),
        size_bytes: Some(1),
    };
    Notebook::from(NewNotebook {
        id: NotebookId::generate(NOW, &Random),
        project_id: project_id.clone(),
        owner: owner.clone(),
        name: name.into(),
        description: String::new(),
        feature: Feature::Notebook,
        tags: Tags::none(),
        flavor: Flavor::defaults().remove(3),
        image,
        volume: Volume::new(VolumeId::generate(NOW, &Random), 5),
        workspace_id: "0".into(),
        lease: Lease::written(NOW, NOW, Grant::Millis(1), LeaseKind::Timing),
        pool: None,
        legacy: LegacyWords::default(),
        hooks: Hooks::default(),
        token: SecretString::from(TOKEN),
        upstream_secret: SecretString::from(UPSTREAM),
        progress: Vec::new(),
        create_at: NOW,
    })
}

fn insertion(notebook: Notebook) -> Commit {
    Commit { notebook: Some(NotebookWrite::Insert(Box::new(notebook))), ..Commit::default() }
}

/// Inserts notebooks of these names, by one person.
async fn fill(store: &SqliteStore, names: &[&str]) -> Vec<NotebookId> {
    let (project_id, owner) = (ProjectId::generate(&Random), owner());
    let mut ids = Vec::new();
    for name in names {
        let notebook = notebook(&project_id, &owner, name);
        ids.push(notebook.id);
        assert_eq!(store.commit(insertion(notebook)).await.unwrap(), Committed::Written(0));
    }
    ids
}

async fn name_of(store: &SqliteStore, id: NotebookId) -> Option<String> {
    store.notebook(id).await.unwrap().map(|notebook| notebook.name)
}

async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", folder.join("atelier.db").display())).await.unwrap()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Every byte in the folder: the database, its log and its index.
fn bytes_in(folder: &Path) -> Vec<u8> {
    fs::read_dir(folder).unwrap().flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn no_secret_is_in_the_file_or_its_log() {
    let (store, folder) = empty_store().await;
    let ids = fill(&store, &["a-name-that-everybody-may-read"]).await;
    for closed in [false, true] {
        if closed {
            store.close().await;
        }
        let bytes = bytes_in(folder.path());
        assert!(contains(&bytes, "a-name-that-everybody-may-read"), "the search finds what is there");
        assert!(!contains(&bytes, TOKEN) && !contains(&bytes, UPSTREAM), "closed: {closed}");
    }
    let kept = store.notebook(ids[0]).await.unwrap().unwrap();
    assert_eq!((kept.token.expose_secret(), kept.upstream_secret.expose_secret()), (TOKEN, UPSTREAM));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_close() {
    let (store, folder) = empty_store().await;
    let ids = fill(&store, &["one", "two"]).await;
    store.close().await;
    drop(store);
    let alone = TempDir::new().unwrap();
    fs::copy(folder.path().join("atelier.db"), alone.path().join("atelier.db")).unwrap();
    for folder in [folder.path(), alone.path()] {
        let store = open(folder).await;
        assert_eq!(name_of(&store, ids[0]).await.unwrap(), "one");
        assert_eq!(name_of(&store, ids[1]).await.unwrap(), "two");
    }
}

/// The files of a store in use, as a killed process leaves them.
#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let (store, folder) = empty_store().await;
    let mut ids = Vec::new();
    for round in 0..10 {
        ids.extend(fill(&store, &[&format!("round {round}")]).await);
        let killed = TempDir::new().unwrap();
        for file in ["atelier.db", "atelier.db-wal"] {
            fs::copy(folder.path().join(file), killed.path().join(file)).unwrap();
        }
        let reopened = open(killed.path()).await;
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(name_of(&reopened, *id).await.unwrap(), format!("round {i}"));
        }
    }
}

#[tokio::test]
async fn another_master_key_is_refused_and_the_right_one_still_opens() {
    let (store, folder) = empty_store().await;
    let ids = fill(&store, &["nb"]).await;
    store.close().await;
    let error = SqliteStore::open(&folder.path().join("atelier.db"), sealer(2)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable(text) if text.contains("`master.key`")), "{error}");
    assert_eq!(name_of(&open(folder.path()).await, ids[0]).await.unwrap(), "nb");
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_its_version() {
    let (store, folder) = empty_store().await;
    store.close().await;
    drop(store);
    let mut connection = raw(folder.path()).await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9001, 'from the future', true, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = SqliteStore::open(&folder.path().join("atelier.db"), sealer(1)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable(text) if text.contains("schema version 9001")), "{error}");
    assert!(error.to_string().contains("newer version of the program"), "{error}");
}

/// Whoever can write to the file cannot make one notebook's token open another, nor one secret stand for the other.
#[tokio::test]
async fn a_secret_moved_to_another_row_or_column_does_not_open() {
    let (store, folder) = empty_store().await;
    let ids = fill(&store, &["victim", "confused", "thief"]).await;
    // What is in memory needs no opening.
    let store = store.by_rows();
    let mut connection = raw(folder.path()).await;
    let row = "update notebooks set token_sealed = (select token_sealed from notebooks where name = 'thief')
        where name = 'victim'";
    let column = "update notebooks set upstream_secret_sealed = token_sealed where name = 'confused'";
    for moved in [row, column] {
        assert_eq!(sqlx::query(moved).execute(&mut connection).await.unwrap().rows_affected(), 1);
    }
    for (id, named) in [(ids[0], "notebooks.token_sealed"), (ids[1], "notebooks.upstream_secret_sealed")] {
        let error = store.notebook(id).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unreadable(text) if text.contains(named)), "{error}");
        assert!(!error.to_string().contains(TOKEN));
    }
    assert_eq!(name_of(&store, ids[2]).await.unwrap(), "thief");
}

#[tokio::test]
async fn a_closed_store_refuses_writes_and_answers_reads() {
    let (store, _folder) = empty_store().await;
    let ids = fill(&store, &["nb"]).await;
    store.close().await;
    store.close().await;
    let late = notebook(&ProjectId::generate(&Random), &owner(), "late");
    assert!(matches!(store.commit(insertion(late)).await, Err(StoreError::Engine(text)) if text.contains("closed")));
    assert!(store.check().await.is_err());
    assert_eq!(name_of(&store, ids[0]).await.unwrap(), "nb");
}

/// A quota under many threads, and readers beside the writer: no reader ever sees more than the quota allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_end_exactly_at_the_quota() {
    let (store, _folder) = empty_store().await;
    let store = Arc::new(store);
    let (project_id, owner) = (ProjectId::generate(&Random), owner());
    let creates: Vec<_> = (0..40)
        .map(|i| {
            let (store, notebook) = (store.clone(), notebook(&project_id, &owner, &format!("nb-{i}")));
            let commit = Commit { conditions: vec![Condition::FewerNotebooksThan(5)], ..insertion(notebook) };
            tokio::spawn(async move {
                let committed = store.commit(commit).await.unwrap();
                assert!(store.notebook_ids().await.unwrap().len() <= 5);
                committed
            })
        })
        .collect();
    let mut written = 0;
    for create in creates {
        match create.await.unwrap() {
            Committed::Written(0) => written += 1,
            other => assert_eq!(other, Committed::QuotaExhausted),
        }
    }
    assert_eq!((written, store.notebook_ids().await.unwrap().len()), (5, 5));
}

/// While one task changes a notebook again and again, no reader is shown less than what was answered before it asked,
/// nor less than what it saw itself, in a list or alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_shown_an_older_notebook() {
    const CHANGES: u64 = 200;
    let (store, _folder) = empty_store().await;
    let (store, answered) = (Arc::new(store), Arc::new(AtomicU64::new(0)));
    let mut notebook = notebook(&ProjectId::generate(&Random), &owner(), "nb");
    store.commit(insertion(notebook.clone())).await.unwrap();
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(follow(store.clone(), answered.clone(), notebook.clone(), CHANGES))).collect();
    while notebook.generation < CHANGES {
        let commit = Commit { notebook: Some(NotebookWrite::Update(Box::new(notebook.clone()))), ..Commit::default() };
        notebook.generation += 1;
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Written(notebook.generation));
        answered.store(notebook.generation, Ordering::SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn follow(store: Arc<SqliteStore>, answered: Arc<AtomicU64>, notebook: Notebook, last: u64) {
    let query = NotebookQuery { sort_key: SortKey::Name, limit: 1, ..NotebookQuery::all_of(notebook.project_id) };
    let mut seen = 0;
    while seen < last {
        seen = seen.max(answered.load(Ordering::SeqCst));
        for _ in 0..3 {
            let shown = store.notebook(notebook.id).await.unwrap().unwrap().generation;
            assert!(shown >= seen, "shown {shown} after {seen}");
            seen = shown;
        }
        let listed = store.notebooks(&query).await.unwrap().items[0].generation;
        assert!(listed >= seen, "listed {listed} after {seen}");
        seen = listed;
    }
}

/// A caller who goes away does not stop the write, nor leave an old notebook to be shown.
#[tokio::test]
async fn a_write_whose_caller_went_away_is_shown() {
    let (store, _folder) = empty_store().await;
    let mut notebook = notebook(&ProjectId::generate(&Random), &owner(), "before");
    store.commit(insertion(notebook.clone())).await.unwrap();
    assert_eq!(name_of(&store, notebook.id).await.unwrap(), "before");
    notebook.name = "after".into();
    let commit = Commit { notebook: Some(NotebookWrite::Update(Box::new(notebook.clone()))), ..Commit::default() };
    tokio::select! {
        biased;
        _ = store.commit(commit) => panic!("the writer has not run yet"),
        () = async {} => {}
    }
    // Before or after: what counts is that this read is not what is shown from then on.
    let _ = name_of(&store, notebook.id).await;
    // The next write is queued behind it, so both are done when it answers.
    store.check().await.unwrap();
    assert_eq!(name_of(&store, notebook.id).await.unwrap(), "after");
}
