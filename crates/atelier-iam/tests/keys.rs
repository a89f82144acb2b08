//! Access keys: who makes them, what they open, and when they cease to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use atelier_core::Code;
use atelier_iam::{Identity, MOST_KEYS, MOST_TEMPORARY_KEYS, TemporaryKey};
use secrecy::ExposeSecret as _;
use serde_json::json;
use support::{DAY_MS, Draft, World, assert_bad_signature};

/// The administrator, by a token.
async fn admin(world: &World) -> Identity {
    (*world.admins_token(json!({"project": {"name": "local"}})).await.identity).clone()
}

fn signed(world: &World, access: &str, secret: &str) -> Draft {
    Draft::new("GET", "/v3/projects", "").signed(atelier_core::Clock::now(&*world.clock), access, secret)
}

fn signed_for_now(world: &World, key: &TemporaryKey) -> Draft {
    let draft = Draft::new("GET", "/v3/projects", "").header("x-security-token", key.security_token.expose_secret());
    draft.signed(atelier_core::Clock::now(&*world.clock), &key.access, key.secret.expose_secret())
}

fn by_key(world: &World) -> Identity {
    let secret = world.admin.secret_key.expose_secret();
    signed(world, &world.admin.access_key, secret).check(&world.iam).unwrap()
}

#[tokio::test]
async fn a_key_opens_from_its_making_to_its_end_and_sleeps_in_between() {
    let world = World::new().await;
    let by = admin(&world).await;
    let key = world.iam.create_key(&by, &by.user_id, "for a laptop").await.unwrap();
    let opens = || signed(&world, &key.access, key.secret.expose_secret()).check(&world.iam);
    assert_eq!(opens().unwrap().user_id, by.user_id);
    assert_eq!(world.iam.key(&by, &key.access).unwrap().description, "for a laptop");
    let asleep = world.iam.update_key(&by, &key.access, Some(false), Some("lost")).await.unwrap();
    assert!(!asleep.active && asleep.description == "lost");
    assert_bad_signature(opens());
    world.iam.update_key(&by, &key.access, Some(true), None).await.unwrap();
    assert_eq!(world.iam.key(&by, &key.access).unwrap().description, "lost", "what is not said stays");
    assert!(opens().is_ok());
    world.iam.delete_key(&by, &key.access).await.unwrap();
    assert_bad_signature(opens());
    assert_eq!(world.iam.key(&by, &key.access).unwrap_err().code(), Code::NotFound);
    assert_eq!(world.iam.delete_key(&by, &key.access).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn two_permanent_keys_and_no_third_also_when_asked_at_once() {
    let world = World::new().await;
    let by = admin(&world).await;
    let made = futures_util::future::join_all((0..8).map(|_| world.iam.create_key(&by, &by.user_id, ""))).await;
    let refused: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    assert_eq!(refused.len(), 8 - (MOST_KEYS - 1), "the first start made one");
    assert!(refused.iter().all(|refusal| refusal.code() == Code::QuotaExceeded));
    let keys = world.iam.keys(&by, &by.user_id).unwrap();
    assert_eq!(keys.len(), MOST_KEYS);
    // A temporary key is none of them.
    world.iam.create_temporary_key(&by, None, 900).await.unwrap();
    assert_eq!(world.iam.keys(&by, &by.user_id).unwrap().len(), MOST_KEYS);
}

#[tokio::test]
async fn keys_are_their_owners_and_the_administrators() {
    let world = World::new().await;
    let stranger = world.add_stranger(None).await;
    let user = json!({"id": stranger.user_id.as_str(), "password": world.admin.password.expose_secret()});
    let eve = (*world.log_in(user, json!(null)).await.unwrap().identity).clone();
    let by = admin(&world).await;
    let own = world.iam.create_key(&eve, &eve.user_id, "").await.unwrap();
    assert_eq!(world.iam.keys(&by, &eve.user_id).unwrap()[0].access, own.access, "an administrator sees it");
    assert!(world.iam.update_key(&by, &own.access, Some(false), None).await.is_ok());
    let code = |refusal: atelier_core::Refusal| refusal.code();
    assert_eq!(code(world.iam.create_key(&eve, &by.user_id, "").await.unwrap_err()), Code::NotPermitted);
    assert_eq!(code(world.iam.keys(&eve, &by.user_id).unwrap_err()), Code::NotPermitted);
    assert_eq!(code(world.iam.keys(&eve, &support::id("9")).unwrap_err()), Code::NotPermitted);
    assert_eq!(code(world.iam.keys(&by, &support::id("9")).unwrap_err()), Code::NotFound);
    let theirs = &world.admin.access_key;
    let missing = world.iam.key(&eve, "AKNOBODY").unwrap_err().message().replace("AKNOBODY", theirs);
    assert_eq!(world.iam.key(&eve, theirs).unwrap_err().message(), missing, "others' are not told of");
    assert_eq!(code(world.iam.delete_key(&eve, theirs).await.unwrap_err()), Code::NotFound);
    assert_eq!(code(world.iam.update_key(&eve, theirs, Some(false), None).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn a_temporary_key_needs_its_security_token_and_lives_to_its_moment() {
    let world = World::new().await;
    let by = admin(&world).await;
    let key = world.iam.create_temporary_key(&by, None, 900).await.unwrap();
    assert_eq!(signed_for_now(&world, &key).check(&world.iam).unwrap().user_id, by.user_id);
    assert_bad_signature(signed(&world, &key.access, key.secret.expose_secret()).check(&world.iam));
    let other = world.iam.create_temporary_key(&by, None, 900).await.unwrap();
    let mixed = TemporaryKey { security_token: other.security_token, ..key.clone() };
    assert_bad_signature(signed_for_now(&world, &mixed).check(&world.iam));
    world.clock.advance(900_000 - 1);
    assert!(signed_for_now(&world, &key).check(&world.iam).is_ok());
    world.clock.advance(1);
    assert_bad_signature(signed_for_now(&world, &key).check(&world.iam));
    for seconds in [0, 899, 86_401, -1] {
        let refusal = world.iam.create_temporary_key(&by, None, seconds).await.unwrap_err();
        assert_eq!(refusal.code(), Code::BadValue, "{seconds}");
    }
}

#[tokio::test]
async fn a_temporary_key_dies_with_the_token_that_earned_it_and_not_with_another() {
    let world = World::new().await;
    let (first, second) = (world.project_token().await, world.project_token().await);
    let by = admin(&world).await;
    let of_first = world.iam.create_temporary_key(&by, Some(&first), 86_400).await.unwrap();
    let of_second = world.iam.create_temporary_key(&by, Some(&second), 86_400).await.unwrap();
    assert!(world.iam.revoke(&first).await.unwrap());
    assert_bad_signature(signed_for_now(&world, &of_first).check(&world.iam));
    assert_bad_signature(signed_for_now(&world, &of_first).check(&world.reopened().await));
    assert!(signed_for_now(&world, &of_second).check(&world.iam).is_ok());
    world.iam.revoke_all_of(&by.user_id).await.unwrap();
    assert_bad_signature(signed_for_now(&world, &of_second).check(&world.iam));
    let refusal = world.iam.create_temporary_key(&by, Some(&first), 900).await.unwrap_err();
    assert_eq!(refusal.code(), Code::TokenInvalid);
    let refusal = world.iam.create_temporary_key(&by, None, 900).await.unwrap_err();
    assert_eq!(refusal.code(), Code::TokenInvalid, "revoked between the proof and the making");
}

#[tokio::test]
async fn a_temporary_key_does_not_outlive_its_token() {
    let world = World::new().await;
    let by = admin(&world).await;
    world.clock.advance(DAY_MS - 1_000_000);
    let key = world.iam.create_temporary_key(&by, None, 86_400).await.unwrap();
    assert_eq!(Some(key.expires_at), by.expires_at());
}

#[tokio::test]
async fn a_temporary_key_of_a_permanent_one_sleeps_and_goes_with_it() {
    let world = World::new().await;
    let (by, key) = (admin(&world).await, by_key(&world));
    let temporary = world.iam.create_temporary_key(&key, None, 900).await.unwrap();
    let opens = || signed_for_now(&world, &temporary).check(&world.iam);
    assert!(opens().is_ok());
    world.iam.update_key(&by, &world.admin.access_key, Some(false), None).await.unwrap();
    assert_bad_signature(opens());
    world.iam.update_key(&by, &world.admin.access_key, Some(true), None).await.unwrap();
    assert!(opens().is_ok());
    world.iam.delete_key(&by, &world.admin.access_key).await.unwrap();
    assert_bad_signature(opens());
}

#[tokio::test]
async fn a_temporary_key_neither_makes_nor_manages_keys() {
    let world = World::new().await;
    let key = world.iam.create_temporary_key(&admin(&world).await, None, 900).await.unwrap();
    let by = signed_for_now(&world, &key).check(&world.iam).unwrap();
    let codes = [
        world.iam.create_key(&by, &by.user_id, "").await.map(|_| ()).unwrap_err().code(),
        world.iam.create_temporary_key(&by, None, 900).await.map(|_| ()).unwrap_err().code(),
        world.iam.keys(&by, &by.user_id).map(|_| ()).unwrap_err().code(),
        world.iam.update_key(&by, &world.admin.access_key, Some(false), None).await.map(|_| ()).unwrap_err().code(),
        world.iam.delete_key(&by, &world.admin.access_key).await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::NotPermitted; 5]);
}

#[tokio::test]
async fn temporary_keys_are_bounded_and_the_expired_make_room() {
    let world = World::new().await;
    let by = admin(&world).await;
    for _ in 0..MOST_TEMPORARY_KEYS {
        world.iam.create_temporary_key(&by, None, 900).await.unwrap();
    }
    let refusal = world.iam.create_temporary_key(&by, None, 900).await.unwrap_err();
    assert_eq!(refusal.code(), Code::QuotaExceeded);
    world.clock.advance(900_000);
    world.iam.create_temporary_key(&by, None, 900).await.unwrap();
    let directory = atelier_store::people::PeopleStore::directory(&*world.store).await.unwrap();
    assert_eq!(directory.access_keys.iter().filter(|key| key.session.is_some()).count(), 1);
}
