//! The first administrator, and what the files show of anybody's secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;

use atelier_core::Timestamp;
use atelier_core::clock::ManualClock;
use atelier_iam::{FirstStart, FirstStartError, Proof};
use atelier_store::people::PeopleStore as _;
use secrecy::ExposeSecret as _;
use serde_json::json;
use support::{Draft, VECTORS_AT, World, log_in, open, store_in};

#[tokio::test]
async fn everything_that_is_written_down_works() {
    let world = World::new().await;
    let first = &world.admin;
    assert_eq!((first.domain_name.as_str(), first.user_name.as_str()), ("atelier", "admin"));
    assert_eq!((first.region.as_str(), first.project_name.as_str()), ("local", "local"));
    assert_eq!((first.access_key.len(), first.secret_key.expose_secret().len()), (20, 40));
    assert!(first.access_key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    let user = json!({"id": first.user_id.as_str(), "password": first.password.expose_secret()});
    let scope = json!({"project": {"id": first.project_id.as_str()}});
    assert!(world.log_in(user, scope).await.is_ok());
    let signed = Draft::new("GET", &format!("/v1/{}/notebooks", first.project_id), "")
        .header("x-project-id", first.project_id.as_str())
        .signed(Timestamp::from_millis(VECTORS_AT), &first.access_key, first.secret_key.expose_secret());
    let identity = signed.check(&world.iam).unwrap();
    assert_eq!(identity.project_id(), Some(&first.project_id));
    assert_eq!(identity.proof, Proof::AccessKey { access: first.access_key.clone() });
}

#[tokio::test]
async fn there_is_one_first_start() {
    let world = World::new().await;
    let unasked = |_: &FirstStart| panic!("the store is not empty");
    assert!(world.iam.bootstrap(unasked).await.unwrap().is_none());
    assert!(world.reopened().await.bootstrap(unasked).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_kept_unless_it_was_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path()).await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(VECTORS_AT)));
    let iam = open(&store, &clock, 4).await;
    let mut lost = None;
    let refused = iam
        .bootstrap(|first| {
            lost = Some(first.clone());
            Err(io::Error::other("no room"))
        })
        .await;
    assert!(matches!(refused, Err(FirstStartError::Record(_))), "{refused:?}");
    assert!(store.directory().await.unwrap().domains.is_empty());
    let mut written = None;
    let first = iam
        .bootstrap(|first| {
            written = Some(first.clone());
            Ok(())
        })
        .await
        .unwrap()
        .expect("the store is still empty");
    let (lost, written) = (lost.unwrap(), written.unwrap());
    assert_eq!(first.password.expose_secret(), written.password.expose_secret());
    assert_ne!(first.password.expose_secret(), lost.password.expose_secret());
    let user = json!({"id": first.user_id.as_str(), "password": written.password.expose_secret()});
    assert!(log_in(&iam, user, json!(null)).await.is_ok());
}

#[tokio::test]
async fn two_that_start_at_once_make_one_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path()).await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(VECTORS_AT)));
    let (one, other) = (open(&store, &clock, 5).await, open(&store, &clock, 6).await);
    let (one, other) = tokio::join!(one.bootstrap(|_| Ok(())), other.bootstrap(|_| Ok(())));
    assert_eq!([one.unwrap(), other.unwrap()].iter().flatten().count(), 1);
    assert_eq!(store.directory().await.unwrap().users.len(), 1);
}

fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test]
async fn no_file_holds_a_password_a_token_or_a_secret_key() {
    let world = World::new().await;
    let token = world.project_token().await;
    let folder = world.folder.path();
    assert!(holds(folder, &world.admin.access_key), "the search finds what lies there in plain");
    for secret in [world.admin.password.expose_secret(), world.admin.secret_key.expose_secret(), &token] {
        assert!(!holds(folder, secret));
    }
}

#[tokio::test]
async fn secrets_never_show_in_debug_output() {
    let world = World::new().await;
    let issued = world.admins_token(json!(null)).await;
    let shown = format!("{:?} {issued:?} {:?}", world.admin, world.iam);
    assert!(shown.contains("atelier"));
    let password = world.admin.password.expose_secret();
    for secret in [password, world.admin.secret_key.expose_secret(), issued.text.expose_secret()] {
        assert!(!shown.contains(secret));
    }
}
