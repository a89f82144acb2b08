//! Key pairs, by the paths and shapes of the vendor's key pair service.

use serde_json::{Value, json};

use crate::house::{House, Reply};

const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDC0RXO/Rnzc93ztd66oVJH3M0w84rxhm4IMgWQaoveU me@laptop";

struct Pairs {
    house: House,
    token: String,
    base: String,
}

impl Pairs {
    async fn open() -> Self {
        let house = House::open().await;
        let token = house.project_token().await;
        let base = format!("/v3/{}/keypairs", house.first.project_id);
        Self { house, token, base }
    }

    async fn call(&self, method: &str, rest: &str, body: Value) -> Reply {
        self.house.call(&self.token, method, &format!("{}{rest}", self.base), &body).await
    }

    async fn create(&self, keypair: Value) -> Reply {
        self.call("POST", "", json!({ "keypair": keypair })).await
    }
}

#[tokio::test]
async fn a_pair_is_made_shown_described_and_removed_and_its_private_half_is_shown_once() {
    let pairs = Pairs::open().await;
    let user = pairs.house.first.user_id.to_string();
    let made = pairs.create(json!({"name": "laptop", "type": "ssh", "scope": "user", "user_id": user})).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let keypair = &made.body["keypair"];
    let text = |name: &str| keypair[name].as_str().unwrap();
    assert!(text("private_key").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert!(text("public_key").starts_with("ssh-ed25519 AAAA") && text("fingerprint").starts_with("SHA256:"));
    assert_eq!((text("name"), text("type"), text("user_id")), ("laptop", "ssh", user.as_str()));

    let described = pairs.call("PUT", "/laptop", json!({"keypair": {"description": "my laptop"}})).await;
    assert_eq!((described.status.as_u16(), described.body), (200, json!({})));
    let shown = pairs.call("GET", "/laptop", Value::Null).await.body;
    let expected = json!({
        "id": shown["keypair"]["id"], "name": "laptop", "type": "ssh", "scope": "user",
        "public_key": text("public_key"), "fingerprint": text("fingerprint"), "algorithm": "ssh-ed25519",
        "is_key_protection": false, "deleted": false, "frozen_state": 0, "description": "my laptop",
        "user_id": user, "create_time": 1_768_465_800_000_i64, "update_time": 1_768_465_800_000_i64,
    });
    assert_eq!(shown["keypair"], expected);
    assert!(shown["keypair"]["id"].is_i64());
    let listed = pairs.call("GET", "", Value::Null).await.body;
    assert_eq!(listed["page_info"], json!({"current_count": 1}));
    assert!(!format!("{shown}{listed}").contains("private_key"));

    assert_eq!(pairs.call("DELETE", "/laptop", Value::Null).await.status, 204);
    for method in ["GET", "DELETE"] {
        let gone = pairs.call(method, "/laptop", Value::Null).await;
        assert_eq!((gone.status.as_u16(), gone.code()), (404, "ModelArts.6404"), "{}", gone.body);
    }
}

#[tokio::test]
async fn rsa_is_made_where_it_is_asked_for() {
    let pairs = Pairs::open().await;
    let made = pairs.create(json!({"name": "old", "algorithm": "rsa_2048"})).await;
    assert!(made.body["keypair"]["public_key"].as_str().unwrap().starts_with("ssh-rsa AAAAB3"), "{}", made.body);
    assert!(made.body["keypair"]["private_key"].is_string());
}

#[tokio::test]
async fn an_imported_key_comes_back_to_the_letter() {
    let pairs = Pairs::open().await;
    let text = format!("{PUBLIC}\n");
    let made = pairs.create(json!({"name": "mine", "public_key": text})).await;
    assert_eq!((&made.body["keypair"]["public_key"], made.body["keypair"].get("private_key")), (&json!(text), None));
    assert_eq!(pairs.call("GET", "/mine", Value::Null).await.body["keypair"]["public_key"], json!(text));
    let again = pairs.create(json!({"name": "mine"})).await;
    assert_eq!((again.status.as_u16(), again.code()), (400, "ModelArts.6301"));
}

#[tokio::test]
async fn pairs_of_another_project_are_apart() {
    let pairs = Pairs::open().await;
    pairs.create(json!({"name": "mine", "public_key": PUBLIC})).await;
    let token = pairs.house.token(&json!({"project": {"id": pairs.house.other_project.to_string()}})).await;
    let base = format!("/v3/{}/keypairs", pairs.house.other_project);
    let listed = pairs.house.call(&token, "GET", &base, &Value::Null).await;
    assert_eq!(listed.body["keypairs"], json!([]));
    let shown = pairs.house.call(&token, "GET", &format!("{base}/mine"), &Value::Null).await;
    assert_eq!(shown.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let pairs = Pairs::open().await;
    for name in ["c", "a", "b"] {
        assert_eq!(pairs.create(json!({"name": name, "public_key": PUBLIC})).await.status, 200);
    }
    let first = pairs.call("GET", "?limit=2", Value::Null).await.body;
    let names = |page: &Value| {
        page["keypairs"].as_array().unwrap().iter().map(|p| p["keypair"]["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["page_info"], json!({"next_marker": "b", "current_count": 2}));
    let second = pairs.call("GET", "?limit=2&marker=b", Value::Null).await.body;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second["page_info"], json!({"previous_marker": "", "current_count": 1}));
}

#[tokio::test]
async fn a_user_has_fifty_pairs_at_most() {
    let pairs = Pairs::open().await;
    for n in 0..50 {
        assert_eq!(pairs.create(json!({"name": format!("k{n}"), "public_key": PUBLIC})).await.status, 200);
    }
    let more = pairs.create(json!({"name": "one-more", "public_key": PUBLIC})).await;
    assert_eq!((more.status.as_u16(), more.code()), (400, "ModelArts.0118"));
}

#[tokio::test]
async fn mistakes_are_refused_by_name_and_make_nothing() {
    let pairs = Pairs::open().await;
    let long = "x".repeat(256);
    for (keypair, code, named) in [
        (json!({}), "ModelArts.6335", "`keypair.name`"),
        (json!({"name": 7}), "ModelArts.6332", "`keypair.name`"),
        (json!({"name": ""}), "ModelArts.6336", "`keypair.name`"),
        (json!({"name": long}), "ModelArts.6336", "`keypair.name`"),
        (json!({"name": "a b"}), "ModelArts.6334", "`keypair.name`"),
        (json!({"name": "a", "type": "pgp"}), "ModelArts.6336", "`keypair.type`"),
        (json!({"name": "a", "type": "x509"}), "ModelArts.6651", "`keypair.type`"),
        (json!({"name": "a", "scope": "domain"}), "ModelArts.6651", "`keypair.scope`"),
        (json!({"name": "a", "scope": "all"}), "ModelArts.6336", "`keypair.scope`"),
        (json!({"name": "a", "user_id": "somebody"}), "ModelArts.0112", "`keypair.user_id`"),
        (json!({"name": "a", "key_protection": {"encryption": {}}}), "ModelArts.6651", "`keypair.key_protection`"),
        (json!({"name": "a", "algorithm": "DSA"}), "ModelArts.6336", "`keypair.algorithm`"),
        (json!({"name": "a", "algorithm": "ED25519", "public_key": PUBLIC}), "ModelArts.6336", "`keypair.algorithm`"),
        (json!({"name": "a", "public_key": "ssh-rsa nonsense"}), "ModelArts.6336", "`keypair.public_key`"),
        (json!({"name": "a", "public_key": []}), "ModelArts.6332", "`keypair.public_key`"),
    ] {
        let reply = pairs.create(keypair).await;
        assert_eq!(reply.code(), code, "{}", reply.body);
        assert!(reply.message().contains(named), "{}", reply.message());
    }
    for (method, rest, body, code) in [
        ("POST", "", json!({}), "ModelArts.6335"),
        ("POST", "", json!([]), "ModelArts.6400"),
        ("PUT", "/a", json!({"keypair": {}}), "ModelArts.6335"),
        ("PUT", "/a", json!({"keypair": {"description": long}}), "ModelArts.6336"),
        ("PUT", "/a", json!({"keypair": {"description": "x"}}), "ModelArts.6404"),
        ("GET", "?limit=0", Value::Null, "ModelArts.0104"),
        ("GET", "?limit=1001", Value::Null, "ModelArts.0104"),
    ] {
        let reply = pairs.call(method, rest, body).await;
        assert_eq!(reply.code(), code, "{method} {rest}: {}", reply.body);
    }
    assert_eq!(pairs.call("GET", "", Value::Null).await.body["keypairs"], json!([]));
}
