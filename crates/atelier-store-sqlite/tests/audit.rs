//! The audit on `SQLite`: the chain, what breaks it, and that nothing but pruning shortens it.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::path::Path;

use atelier_core::Timestamp;
use atelier_core::audit::{AuditRecord, FieldChange};
use atelier_core::caller::{Credential, Source};
use atelier_core::id::NotebookId;
use atelier_store::Commit;
use atelier_store::NotebookStore as _;
use atelier_store::audit::{AuditQuery, AuditStore as _, PRUNED};
use atelier_store_sqlite::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use support::{Random, empty_store, open};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn record(n: i64) -> AuditRecord {
    AuditRecord {
        at: at(n * 1000),
        project_id: Some("1".repeat(32).parse().unwrap()),
        user_id: Some("2".repeat(32).parse().unwrap()),
        user_name: Some("zoë".into()),
        source: Source {
            credential: Credential::AccessKey("AK".into()),
            address: Some("2001:db8::1".parse().unwrap()),
        },
        operation: "StopNotebook".into(),
        notebook_id: Some(NotebookId::generate(at(n), &Random)),
        target: Some("/v1/p".into()),
        request_id: format!("request-{n}"),
        status: 409,
        code: Some("ModelArts.6357".into()),
        changes: vec![FieldChange { field: "status".into(), before: Some("RUNNING".into()), after: None }],
    }
}

async fn filled(folder: &Path, count: i64) -> SqliteStore {
    let store = open(folder).await;
    for n in 1..=count {
        store.append_audit(record(n)).await.unwrap();
    }
    store
}

fn all() -> AuditQuery {
    AuditQuery { limit: 1000, ..AuditQuery::default() }
}

/// Does to the file what the server would never do.
async fn tamper(folder: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(folder.join("atelier.db"));
    let mut file = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut file).await.map(drop)
}

#[tokio::test]
async fn a_record_reads_back_as_it_was_written() {
    let (store, _folder) = empty_store().await;
    store.append_audit(record(1)).await.unwrap();
    let bare = AuditRecord {
        project_id: None,
        user_id: None,
        user_name: None,
        source: Source::default(),
        notebook_id: None,
        target: None,
        code: None,
        changes: Vec::new(),
        ..record(2)
    };
    store.append_audit(bare.clone()).await.unwrap();
    let read = store.audit(&all()).await.unwrap();
    assert_eq!(read.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(read[0].record, bare);
    let wrote = record(1);
    assert_eq!(AuditRecord { notebook_id: wrote.notebook_id, ..read[1].record.clone() }, wrote);
}

#[tokio::test]
async fn a_request_has_one_record_also_when_its_change_brought_one() {
    let (store, _folder) = empty_store().await;
    store.commit(Commit { audit: vec![record(1)], ..Commit::default() }).await.unwrap();
    let again = AuditRecord { status: 200, ..record(1) };
    store.append_audit(again).await.unwrap();
    let read = store.audit(&all()).await.unwrap();
    assert_eq!((read.len(), read[0].record.status), (1, 409));
}

#[tokio::test]
async fn records_are_found_by_each_filter_and_page_by_page() {
    let (store, _folder) = empty_store().await;
    let mine = AuditRecord { user_name: Some("ada".into()), user_id: None, operation: "A".into(), ..record(3) };
    let elsewhere = AuditRecord { project_id: Some("9".repeat(32).parse().unwrap()), ..record(4) };
    for record in [record(1), record(2), mine.clone(), elsewhere] {
        store.append_audit(record).await.unwrap();
    }
    let found = async |query: AuditQuery| -> Vec<u64> {
        store.audit(&query).await.unwrap().into_iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(found(AuditQuery { project_id: mine.project_id.clone(), ..all() }).await, [3, 2, 1]);
    assert_eq!(found(AuditQuery { user_name: Some("ada".into()), ..all() }).await, [3]);
    assert_eq!(found(AuditQuery { user_id: record(1).user_id, ..all() }).await, [4, 2, 1]);
    assert_eq!(found(AuditQuery { operation: Some("A".into()), ..all() }).await, [3]);
    assert_eq!(found(AuditQuery { notebook_id: mine.notebook_id, ..all() }).await, [3]);
    assert_eq!(found(AuditQuery { from: Some(at(2000)), until: Some(at(4000)), ..all() }).await, [3, 2]);
    assert_eq!(found(AuditQuery { limit: 2, ..all() }).await, [4, 3]);
    assert_eq!(found(AuditQuery { limit: 2, before: Some(3), ..all() }).await, [2, 1]);
}

#[tokio::test]
async fn an_untouched_chain_is_whole_and_names_its_head() {
    let (store, _folder) = empty_store().await;
    let empty = store.verify_audit().await.unwrap();
    assert_eq!((empty.records, empty.first, empty.head, empty.broken), (0, None, None, None));
    for n in 1..=3 {
        store.append_audit(record(n)).await.unwrap();
    }
    let verdict = store.verify_audit().await.unwrap();
    let newest = &store.audit(&all()).await.unwrap()[0];
    assert_eq!((verdict.records, verdict.first, verdict.broken), (3, Some(1), None));
    assert_eq!(verdict.head, Some((3, newest.hash)));
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_replace_or_remove_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), 2).await;
    for sql in [
        "update audit set status = 200 where seq = 1",
        "delete from audit where seq = 1",
        "delete from audit",
        "insert or replace into audit select seq, recorded_at, project_id, user_id, user_name, credential, access_key, \
            address, operation, notebook_id, target, request_id, 200, code, changes, previous, hash from audit",
    ] {
        let refused = tamper(folder.path(), sql).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{sql}: {refused}");
    }
    assert_eq!(store.verify_audit().await.unwrap().broken, None);
}

#[tokio::test]
async fn what_gets_past_the_database_breaks_the_chain_where_it_happened() {
    let no_triggers = "drop trigger audit_is_never_changed; drop trigger audit_is_only_pruned;";
    for (sql, place, how) in [
        ("update audit set user_name = 'eve' where seq = 2", 2, "is not what it was"),
        ("update audit set changes = '[]' where seq = 3", 3, "is not what it was"),
        ("update audit set hash = zeroblob(32) where seq = 2", 2, "is not what it was"),
        ("delete from audit where seq = 2", 2, "is missing"),
        ("delete from audit where seq = 1", 2, "before it were removed"),
        ("delete from audit where seq = 4", 4, "newest records were removed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path(), 4).await;
        tamper(folder.path(), &format!("{no_triggers} {sql}")).await.unwrap();
        let (broken_at, why) = store.verify_audit().await.unwrap().broken.unwrap();
        assert_eq!(broken_at, place, "{sql}: {why}");
        assert!(why.contains(how), "{sql}: {why}");
    }
}

#[tokio::test]
async fn pruning_removes_the_oldest_leaves_a_record_and_a_whole_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), 5).await;
    assert_eq!(store.prune_audit(at(1000), at(9000)).await.unwrap(), 0);
    assert_eq!(store.prune_audit(at(3000), at(9000)).await.unwrap(), 2);
    let read = store.audit(&all()).await.unwrap();
    assert_eq!(read.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6, 5, 4, 3]);
    assert_eq!((read[0].record.operation.as_str(), read[0].record.at), (PRUNED, at(9000)));
    assert_eq!(store.verify_audit().await.unwrap().broken, None);
    // Everything, the first pruning's record included.
    assert_eq!(store.prune_audit(at(10_000), at(11_000)).await.unwrap(), 4);
    let verdict = store.verify_audit().await.unwrap();
    assert_eq!((verdict.records, verdict.first, verdict.broken), (1, Some(7), None));
    store.append_audit(record(12)).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().broken, None);
    tamper(folder.path(), "delete from audit where seq = 8").await.unwrap_err();
}
