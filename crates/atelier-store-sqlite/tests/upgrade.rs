//! A database that the first release wrote, with the schema of its two migrations and rows in every table, is brought up to
//! date and read back whole. So is what rests in the trash: a text of its time, which no migration changes.

#![expect(clippy::unwrap_used, reason = "these are tests")]
// For a text of as many columns as a notebook has.
#![recursion_limit = "256"]

mod support;

use std::borrow::Cow;
use std::path::Path;

use atelier_core::Timestamp;
use atelier_core::caller::Actor;
use atelier_core::feature::Feature;
use atelier_core::hook::Hooks;
use atelier_core::lease::{Grant, LeaseKind};
use atelier_core::operation::{OperationState, StepName, StepState};
use atelier_core::pool::Part;
use atelier_core::status::{Event, Status};
use atelier_core::volume::{Size, VolumeKind};
use atelier_store::audit::AuditStore as _;
use atelier_store::people::{GrantTarget, Method, PeopleStore as _, Role, TokenHash};
use atelier_store::{Commit, Committed, NotebookStore as _, NotebookWrite, TrashQuery};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use support::{open, sealer};

static ALL: Migrator = sqlx::migrate!();
/// The notebook's id, as text and as the bytes of a statement.
const NOTEBOOK: &str = "01890000-0000-7000-8000-000000000001";
const ID: &str = "x'01890000000070008000000000000001'";
const OPERATION: &str = "x'01890000000070008000000000000002'";

/// The rows of that time. A creation that was asked for by a user, one step of which is done and one begun.
fn rows() -> String {
    let (user, domain, project) = ("2".repeat(32), "1".repeat(32), "3".repeat(32));
    let hash = "ab".repeat(32);
    format!(
        "insert into domains values ('{domain}', 'atelier', '');
        insert into users values ('{user}', '{domain}', 'zoë', '$argon2id$kept', 1, 1000);
        insert into projects values ('{project}', '{domain}', 'local', 'the first');
        insert into project_grants values ('{user}', '{project}', 'admin');
        insert into domain_grants values ('{user}', '{domain}', 'member');
        insert into tokens values (x'{hash}', '{user}', '{project}', null, 'password token', 1000, 9000);
        insert into operations values (7, {OPERATION}, {ID}, 'create', 'user', '{user}', 'zoë', 'r-1', 'asked for',
            'running', 2000, null, null);
        insert into operation_steps values ({OPERATION}, 0, 'prepare-storage', 'done', 1, 2000, 2001, null);
        insert into operation_steps values ({OPERATION}, 1, 'prepare-compute', 'began', 2, 2002, null, 'a note');
        insert into events values (5, x'01890000000070008000000000000003', {ID}, '{project}', 2000, 'create.asked',
            'user', '{user}', 'zoë', 'r-1', 'for a first try');"
    )
}

fn notebook_row() -> String {
    let (user, domain, project) = ("2".repeat(32), "1".repeat(32), "3".repeat(32));
    format!(
        "insert into notebooks values ({ID}, '{project}', '{user}', 'zoë', '{domain}', 'atelier', 'nb', 'mine',
            'modelarts.vm.cpu.2u', 'two', 2000, 4096, 1, x'01890000000070008000000000000004', 'image', 'v1', 'atelier',
            '', 'atelier/image:v1', 1234, x'01890000000070008000000000000005', 5, '0', 'CREATING', null, 2000, 2000,
            'IDLE', 2000, 3600000, 3602000, $1, $2, 0, '[]', 4)"
    )
}

/// Makes an empty database in `folder` with the schema of this version; answers how many migrations that were, too.
async fn schema_of(folder: &Path, version: i64) -> (SqliteConnection, usize) {
    let options = SqliteConnectOptions::new().filename(folder.join("atelier.db")).create_if_missing(true);
    let mut file = options.connect().await.unwrap();
    let migrations: Vec<_> = ALL.migrations.iter().filter(|migration| migration.version <= version).cloned().collect();
    let count = migrations.len();
    let then = Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT };
    then.run_direct(None, &mut file, false).await.unwrap();
    (file, count)
}

/// A notebook in the trash as version 13 wrote it: its columns of then.
fn trashed() -> serde_json::Value {
    let (user, domain, project) = ("2".repeat(32), "1".repeat(32), "3".repeat(32));
    let sealed = |column, secret: &str| sealer(1).seal(column, NOTEBOOK, &SecretString::from(secret)).unwrap();
    let id = |last: u8| [&hex::decode(&ID[2..32]).unwrap()[..], &[last]].concat();
    serde_json::json!({
        "id": id(1), "project_id": project, "user_id": user, "user_name": "zoë", "domain_id": domain,
        "domain_name": "atelier", "name": "nb", "description": "mine", "flavor_id": "modelarts.vm.cpu.2u",
        "flavor_description": "two", "flavor_cpu_millis": 2000, "flavor_memory_mib": 4096, "flavor_free": 1,
        "image_id": id(4), "image_name": "image", "image_tag": "v1", "image_namespace": "atelier", "image_description": "",
        "image_swr_path": "atelier/image:v1", "image_size_bytes": 1234, "volume_id": id(5), "volume_capacity_gib": 5,
        "workspace_id": "0", "status": "DELETED", "fail_reason": null, "create_at": 2000, "update_at": 3000,
        "lease_kind": "IDLE", "lease_update_at": 2000, "lease_grant_ms": 3_600_000, "lease_end_at": 3_602_000,
        "token_sealed": sealed("notebooks.token_sealed", "the token"),
        "upstream_secret_sealed": sealed("notebooks.upstream_secret_sealed", "the upstream secret"), "ever_ran": 1,
        "progress": "[]", "generation": 4, "feature": "NOTEBOOK", "tags": "{}", "next_lease_kind": null,
        "next_lease_grant_ms": null, "legacy_profile_id": null, "legacy_prompt": 1, "volume_growing_to_gib": null,
        "pool_id": null, "pool_name": null,
    })
}

/// Makes the database of this version in `folder`, with one notebook in its trash.
async fn with_trash(folder: &Path, version: i64, notebook: &serde_json::Value) {
    let (mut file, _) = schema_of(folder, version).await;
    let row = format!("insert into trash values ({ID}, $1, $2, 3000, 0, $3)");
    let row = sqlx::query(AssertSqlSafe(row)).bind("3".repeat(32)).bind("2".repeat(32)).bind(notebook.to_string());
    row.execute(&mut file).await.unwrap();
    file.close().await.unwrap();
}

/// Makes the database of the first release in `folder`.
async fn first_release(folder: &Path) {
    let (mut file, migrations) = schema_of(folder, 2).await;
    assert_eq!(migrations, 2);
    sqlx::raw_sql(AssertSqlSafe(rows())).execute(&mut file).await.unwrap();
    sealed_rows(&mut file).await;
    file.close().await.unwrap();
}

async fn sealed_rows(file: &mut SqliteConnection) {
    let sealed = |column, row, secret: &str| sealer(1).seal(column, row, &SecretString::from(secret)).unwrap();
    sqlx::query(AssertSqlSafe(notebook_row()))
        .bind(sealed("notebooks.token_sealed", NOTEBOOK, "the token"))
        .bind(sealed("notebooks.upstream_secret_sealed", NOTEBOOK, "the upstream secret"))
        .execute(&mut *file)
        .await
        .unwrap();
    sqlx::query("insert into access_keys values ('AK', $1, $2, 1, 'a key', 1000, null, null)")
        .bind(sealed("access_keys.sealed_secret", "AK", "the secret half"))
        .bind("2".repeat(32))
        .execute(file)
        .await
        .unwrap();
}

#[tokio::test]
async fn notebooks_operations_and_events_of_the_first_release_are_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    first_release(folder.path()).await;
    assert!(atelier_store_sqlite::is_older(&folder.path().join("atelier.db")).await.unwrap());
    let store = open(folder.path()).await;
    let id = NOTEBOOK.parse().unwrap();
    let notebook = store.notebook(id).await.unwrap().unwrap();
    assert_eq!((notebook.name.as_str(), notebook.status(), notebook.generation), ("nb", Status::Creating, 4));
    assert_eq!(notebook.token.expose_secret(), "the token");
    assert_eq!(notebook.upstream_secret.expose_secret(), "the upstream secret");
    assert_eq!((notebook.lease.kind(), notebook.lease.grant()), (LeaseKind::Idle, Grant::Millis(3_600_000)));
    let own = VolumeKind::Own(Size { capacity_gib: 5, growing_to_gib: None });
    assert_eq!((&notebook.volume.kind, notebook.flavor.cpu_millis), (&own, 2000));
    // What came later has its value for what was there.
    assert_eq!((notebook.feature, notebook.tags.is_empty()), (Feature::Notebook, true));

    let [operation] = &store.unfinished_operations().await.unwrap()[..] else { panic!("one operation") };
    assert_eq!((operation.state, operation.notebook_id), (OperationState::Running, id));
    let steps: Vec<_> = operation.steps.iter().map(|step| (step.name, step.state, step.attempts)).collect();
    let wanted = [(StepName::PrepareStorage, StepState::Done, 1), (StepName::PrepareCompute, StepState::Began, 2)];
    assert_eq!(steps, wanted);
    let events = store.events(id, None, 10).await.unwrap();
    assert_eq!((events.len(), events[0].what.as_str()), (1, "create.asked"));
    assert!(matches!(&events[0].origin.actor, Actor::User(_, name) if name == "zoë"));
    // The totals were counted from what was there.
    assert_eq!(store.held(&Part::Besides([].into())).await.unwrap().cpu_millis, 2000);
    assert!(store.verify_audit().await.unwrap().broken.is_none());
    store.close().await;
    assert!(!atelier_store_sqlite::is_older(&folder.path().join("atelier.db")).await.unwrap());
}

#[tokio::test]
async fn what_rests_in_the_trash_of_an_earlier_release_is_restored() {
    let mut with_hooks = trashed();
    with_hooks["hooks"] = serde_json::json!(null);
    for (version, written) in [(13, trashed()), (14, with_hooks)] {
        let folder = tempfile::tempdir().unwrap();
        with_trash(folder.path(), version, &written).await;
        let store = open(folder.path()).await;
        let everything = TrashQuery { limit: 10, ..TrashQuery::default() };
        let [resting]: [_; 1] = store.trash(&everything).await.unwrap().try_into().unwrap();
        assert_eq!((resting.since, resting.leaves), (Timestamp::from_millis(3000), false));
        let mut notebook = resting.notebook;
        assert_eq!((notebook.name.as_str(), notebook.id.to_string().as_str()), ("nb", NOTEBOOK), "{version}");
        assert_eq!((notebook.flavor.gpus.clone(), notebook.hooks.clone()), (None, Hooks::default()));
        assert_eq!(notebook.volume.kind, VolumeKind::Own(Size { capacity_gib: 5, growing_to_gib: None }));
        assert_eq!(notebook.token.expose_secret(), "the token");
        assert_eq!(store.shared_volumes().await.unwrap(), []);

        notebook.apply(Event::Restored, Timestamp::from_millis(4000)).unwrap();
        let restored = NotebookWrite::Restore(Box::new(notebook));
        let answer = store.commit(Commit { notebook: Some(restored), ..Commit::default() }).await.unwrap();
        assert!(matches!(answer, Committed::Written(_)), "{answer:?}");
        let back = store.notebook(NOTEBOOK.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((back.status(), back.image.tag.as_str()), (Status::Stopped, "v1"));
        store.close().await;
    }
}

#[tokio::test]
async fn people_keys_and_tokens_of_the_first_release_are_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    first_release(folder.path()).await;
    let store = open(folder.path()).await;
    let directory = store.directory().await.unwrap();
    let user = &directory.users[0];
    assert_eq!((user.name.as_str(), user.enabled, user.created_at), ("zoë", true, Timestamp::from_millis(1000)));
    assert_eq!(user.password_hash.as_ref().unwrap().expose_secret(), "$argon2id$kept");
    assert_eq!((directory.domains.len(), directory.projects[0].description.as_str()), (1, "the first"));
    let roles: Vec<_> = directory.grants.iter().map(|grant| grant.role).collect();
    assert!(roles.len() == 2 && roles.contains(&Role::Admin) && roles.contains(&Role::Member));
    let key = &directory.access_keys[0];
    assert_eq!((key.secret.expose_secret(), key.session.is_none()), ("the secret half", true));
    let token = store.token(TokenHash([0xab; 32])).await.unwrap().unwrap();
    assert_eq!(token.methods, [Method::Password, Method::Token]);
    assert_eq!(
        (token.scope, token.expires_at),
        (GrantTarget::Project("3".repeat(32).parse().unwrap()), Timestamp::from_millis(9000))
    );
}
