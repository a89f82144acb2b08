//! What is recorded of calls that change people: every field before and after, and never a secret.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use atelier_core::audit::AuditRecord;
use atelier_core::caller::Source;
use atelier_core::{Caller, Timestamp};
use atelier_iam::{Iam, Identity, NewAccount};
use atelier_store::audit::{AuditQuery, AuditStore as _};
use atelier_store::people::Role;
use secrecy::ExposeSecret as _;
use serde_json::json;
use support::World;

async fn admin(world: &World) -> (Identity, Caller) {
    let identity = (*world.admins_token(json!({"project": {"name": "local"}})).await.identity).clone();
    let caller = world.iam.caller(&identity, world.admin.project_id.as_str()).unwrap();
    (identity, caller)
}

/// The service for a call of this name.
fn on(world: &World, operation: &str) -> Iam {
    world.iam.for_call(Some(AuditRecord {
        at: Timestamp::from_millis(0),
        project_id: None,
        user_id: Some(world.admin.user_id.clone()),
        user_name: Some("admin".into()),
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

/// What the newest record says, line by line.
async fn newest(world: &World, operation: &str) -> Vec<String> {
    let query = AuditQuery { limit: 1, ..AuditQuery::default() };
    let entry = world.store.store.audit(&query).await.unwrap().pop().unwrap();
    assert_eq!(entry.record.operation, operation);
    assert_eq!(entry.record.at, atelier_core::Clock::now(&*world.clock));
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let changes = entry.record.changes.into_iter();
    changes.map(|change| format!("{}: {} > {}", change.field, shown(change.before), shown(change.after))).collect()
}

#[tokio::test]
async fn users_passwords_and_what_ends_with_them_are_recorded() {
    let world = World::new().await;
    let (_, by) = admin(&world).await;
    let new = NewAccount { name: "ada".into(), password: Some("first secret".to_owned().into()), role: Role::Member };
    let (ada, _) = on(&world, "PostUsers").add_account(&by, new).await.unwrap();
    let said = newest(&world, "PostUsers").await;
    let wanted = [
        format!("user.id: - > {}", ada.id),
        "user.name: - > ada".into(),
        "user.enabled: - > true".into(),
        "user.password: - > set".into(),
        format!("user.role: - > member in project {}", by.project_id),
    ];
    assert_eq!(said, wanted);

    on(&world, "PatchUsers").enable_account(&by, &ada.id, false).await.unwrap();
    assert_eq!(newest(&world, "PatchUsers").await, ["user.enabled: true > false", "tokens: all of ada > -"]);

    let (_, password) = on(&world, "PostUsersPassword").reset_password(&by, &ada.id, None).await.unwrap();
    let said = newest(&world, "PostUsersPassword").await;
    assert_eq!(said, ["user.password: set > replaced", "tokens: all of ada > -"]);
    assert!(!said.concat().contains(password.expose_secret()));
}

#[tokio::test]
async fn keys_and_revoked_tokens_are_recorded_without_their_secrets() {
    let world = World::new().await;
    let (identity, _) = admin(&world).await;
    let made = on(&world, "Create").create_key(&identity, &identity.user_id, "mine").await.unwrap();
    let said = newest(&world, "Create").await;
    assert_eq!(said[0], format!("access_key: - > {}", made.access));
    assert!(said.contains(&"access_key.description: - > mine".to_owned()), "{said:?}");
    assert!(!said.concat().contains(made.secret.expose_secret()));

    on(&world, "Update").update_key(&identity, &made.access, Some(false), None).await.unwrap();
    assert_eq!(newest(&world, "Update").await, ["access_key.status: active > inactive"]);
    on(&world, "Delete").delete_key(&identity, &made.access).await.unwrap();
    assert_eq!(newest(&world, "Delete").await[0], format!("access_key: {} > -", made.access));

    let token = world.project_token().await;
    on(&world, "DeleteToken").revoke_for(&identity, &token).await.unwrap();
    assert_eq!(newest(&world, "DeleteToken").await, ["token: valid > revoked"]);
    assert!(world.iam.authenticate_token(&token).await.is_err());
}

/// Where the audit cannot be written, nothing is changed either.
#[tokio::test]
async fn a_change_that_cannot_be_recorded_is_not_made() {
    let world = World::new().await;
    let (identity, _) = admin(&world).await;
    let token = world.project_token().await;
    world.store.records_fail.store(true, std::sync::atomic::Ordering::SeqCst);
    on(&world, "DeleteToken").revoke_for(&identity, &token).await.unwrap_err();
    let (fresh, made) = (world.reopened().await, on(&world, "Create"));
    assert!(fresh.authenticate_token(&token).await.is_ok());
    made.create_key(&identity, &identity.user_id, "").await.unwrap_err();
    assert_eq!(world.iam.keys(&identity, &identity.user_id).unwrap().len(), 1);
}
