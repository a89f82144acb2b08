//! People on `SQLite`: the contract, and what the file may not show.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use atelier_core::audit::AuditRecord;
use atelier_core::caller::Source;
use atelier_core::id::{DomainId, UserId};
use atelier_core::{Entropy, Timestamp};
use atelier_store::audit::{AuditQuery, AuditStore as _};
use atelier_store::people::{
    AccessKey, Domain, GrantTarget, Method, PeopleChange, PeopleStore as _, PeopleWritten, Token, TokenHash, User,
};
use atelier_store::{StoreError, contract_people};
use atelier_store_sqlite::{Sealer, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

struct Count(AtomicU8);

impl Entropy for Count {
    fn fill(&self, out: &mut [u8]) {
        out.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

async fn store_in(folder: &Path, name: &str) -> SqliteStore {
    let sealer = Sealer::new(&[7; 32], Arc::new(Count(AtomicU8::new(0))));
    SqliteStore::open(&folder.join(name), sealer).await.unwrap()
}

#[tokio::test]
async fn the_contract_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut nth = 0;
    contract_people::all(|| {
        nth += 1;
        let name = format!("{nth}.db");
        let folder = folder.path();
        async move { store_in(folder, &name).await }
    })
    .await;
}

/// One user with a key, and a token.
async fn fill(store: &SqliteStore) {
    let (domain_id, user_id): (DomainId, UserId) = ("1".repeat(32).parse().unwrap(), "2".repeat(32).parse().unwrap());
    let at = Timestamp::from_millis(1);
    let domain = Domain { id: domain_id.clone(), name: "a domain".into(), description: String::new() };
    let user = User {
        id: user_id.clone(),
        domain_id: domain_id.clone(),
        name: "a user".into(),
        password_hash: None,
        enabled: true,
        created_at: at,
    };
    let key = AccessKey {
        access: "ACCESSKEY".into(),
        secret: "the secret half".into(),
        user_id: user_id.clone(),
        active: true,
        description: String::new(),
        created_at: at,
        session: None,
    };
    let changes = vec![PeopleChange::PutDomain(domain), PeopleChange::PutUser(user), PeopleChange::PutAccessKey(key)];
    assert_eq!(store.change_people(changes, true).await.unwrap(), PeopleWritten::Written);
    let scope = GrantTarget::Domain(domain_id);
    let hash = TokenHash([3; 32]);
    let token = Token { hash, user_id, scope, methods: vec![Method::Password], issued_at: at, expires_at: at };
    store.put_token(&token).await.unwrap();
}

fn bytes_of(folder: &Path) -> Vec<u8> {
    std::fs::read_dir(folder).unwrap().flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_file_holds_the_secret_of_a_key_in_plain() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path(), "people.db").await;
    fill(&store).await;
    let while_open = bytes_of(folder.path());
    assert!(holds(&while_open, "ACCESSKEY"), "the search finds what lies there in plain");
    assert!(!holds(&while_open, "the secret half"));
    store.close().await;
    assert!(!holds(&bytes_of(folder.path()), "the secret half"));
}

#[tokio::test]
async fn people_are_there_after_the_file_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path(), "people.db").await;
    fill(&store).await;
    store.close().await;
    let store = store_in(folder.path(), "people.db").await;
    assert_eq!(store.directory().await.unwrap().access_keys[0].access, "ACCESSKEY");
    assert!(store.token(TokenHash([3; 32])).await.unwrap().is_some());
}

#[tokio::test]
async fn a_sealed_secret_does_not_open_as_that_of_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path(), "people.db").await;
    fill(&store).await;
    store.close().await;
    let options = SqliteConnectOptions::new().filename(folder.path().join("people.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query("update access_keys set access = 'ANOTHER'").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let store = store_in(folder.path(), "people.db").await;
    assert!(matches!(store.directory().await, Err(StoreError::Unreadable(_))));
}

fn record(operation: &str) -> PeopleChange {
    PeopleChange::Record(Box::new(AuditRecord {
        at: Timestamp::from_millis(2),
        project_id: None,
        user_id: None,
        user_name: None,
        source: Source::default(),
        operation: operation.into(),
        notebook_id: None,
        target: None,
        request_id: operation.into(),
        status: 200,
        code: None,
        changes: Vec::new(),
    }))
}

async fn recorded(store: &SqliteStore) -> Vec<String> {
    let query = AuditQuery { limit: 10, ..AuditQuery::default() };
    store.audit(&query).await.unwrap().into_iter().map(|entry| entry.record.operation).collect()
}

/// Neither a change without its record nor a record without its change is ever kept.
#[tokio::test]
async fn a_change_and_its_record_are_kept_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path(), "people.db").await;
    fill(&store).await;
    let token = || PeopleChange::RemoveToken(TokenHash([3; 32]));
    let rival = Domain { id: "9".repeat(32).parse().unwrap(), name: "a domain".into(), description: String::new() };
    let refused = vec![token(), record("refused"), PeopleChange::PutDomain(rival)];
    assert_eq!(store.change_people(refused, false).await.unwrap(), PeopleWritten::Conflict);
    assert!(recorded(&store).await.is_empty() && store.token(TokenHash([3; 32])).await.unwrap().is_some());

    let mut file = SqliteConnectOptions::new().filename(folder.path().join("people.db")).connect().await.unwrap();
    let refusing = "create trigger refusing before insert on audit begin select raise(abort, 'no'); end";
    sqlx::query(refusing).execute(&mut file).await.unwrap();
    store.change_people(vec![token(), record("broken")], false).await.unwrap_err();
    assert!(store.token(TokenHash([3; 32])).await.unwrap().is_some());
    sqlx::query("drop trigger refusing").execute(&mut file).await.unwrap();
    file.close().await.unwrap();

    store.change_people(vec![token(), record("kept")], false).await.unwrap();
    assert_eq!(recorded(&store).await, ["kept"]);
    assert!(store.token(TokenHash([3; 32])).await.unwrap().is_none());
}
