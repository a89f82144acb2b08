//! Access keys, temporary keys, revocation and passwords by the paths and shapes that clients know.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderValue, Request};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::house::{HOST, House, Reply, SIGNED_AT};
use crate::signer;

const KEYS: &str = "/v3.0/OS-CREDENTIAL/credentials";
const TEMPORARY: &str = "/v3.0/OS-CREDENTIAL/securitytokens";

fn by_token(seconds: Option<i64>) -> Value {
    json!({"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": seconds}}}})
}

/// A request signed with a temporary key.
async fn with_temporary(house: &House, key: &Value, target: &str) -> Reply {
    let text = |name: &str| key[name].as_str().unwrap();
    let headers = [("host", HOST), ("x-sdk-date", SIGNED_AT), ("x-security-token", text("securitytoken"))];
    let signed = signer::authorization((text("access"), text("secret")), "GET", (target, ""), &headers, b"");
    let request =
        headers.iter().fold(Request::get(target).header("authorization", signed), |request, (name, value)| {
            request.header(*name, *value)
        });
    house.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_key_is_made_listed_switched_and_removed() {
    let house = House::open().await;
    let token = house.project_token().await;
    let user = house.first.user_id.to_string();
    let wanted = json!({"credential": {"user_id": user, "description": "a laptop"}});
    let made = house.call(&token, "POST", KEYS, &wanted).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = &made.body["credential"];
    assert_eq!((&key["status"], &key["user_id"]), (&"active".into(), &user.as_str().into()));
    assert_eq!(key["create_time"], "2026-01-15T08:30:00.000000Z");
    assert_eq!(key["secret"].as_str().map(str::len), Some(40));
    let one = format!("{KEYS}/{}", key["access"].as_str().unwrap());
    let shown = house.call(&token, "GET", &one, &Value::Null).await.body;
    assert_eq!((&shown["credential"]["description"], shown["credential"].get("secret")), (&"a laptop".into(), None));
    let listed = house.call(&token, "GET", &format!("{KEYS}?user_id={user}"), &Value::Null).await.body;
    assert_eq!(listed["credentials"].as_array().map(Vec::len), Some(2));
    assert!(!listed.to_string().contains("secret"), "{listed}");
    let third = house.call(&token, "POST", KEYS, &wanted).await;
    assert_eq!((third.status.as_u16(), third.code()), (400, "ModelArts.0118"));
    let off = house.call(&token, "PUT", &one, &json!({"credential": {"status": "inactive"}})).await;
    assert_eq!((off.status.as_u16(), &off.body["credential"]["status"]), (200, &"inactive".into()));
    let gone = house.call(&token, "DELETE", &one, &Value::Null).await;
    assert_eq!((gone.status.as_u16(), gone.body), (204, Value::Null));
    let missing = house.call(&token, "GET", &one, &Value::Null).await;
    assert_eq!((missing.status.as_u16(), missing.code()), (404, "ModelArts.6404"));
}

#[tokio::test]
async fn refusals_name_the_field() {
    let house = House::open().await;
    let token = house.project_token().await;
    let identity = |identity: Value| json!({"auth": {"identity": identity}});
    let rows = [
        ("POST", KEYS, json!({}), "ModelArts.6335", "`credential` is required"),
        ("POST", KEYS, json!({"credential": {}}), "ModelArts.6335", "`credential.user_id` is required"),
        ("POST", KEYS, json!({"credential": {"user_id": "x"}}), "ModelArts.6336", "`credential.user_id` must be"),
        ("GET", "/v3.0/OS-CREDENTIAL/credentials?user_id=x", Value::Null, "ModelArts.0104", "`user_id` must be"),
        ("POST", TEMPORARY, json!({}), "ModelArts.6335", "`auth` is required"),
        ("POST", TEMPORARY, identity(json!({})), "ModelArts.6335", "`auth.identity.methods` is required"),
        ("POST", TEMPORARY, identity(json!({"methods": [1]})), "ModelArts.6332", "must be a list of strings"),
        ("POST", TEMPORARY, identity(json!({"methods": ["password"]})), "ModelArts.6336", "must be [\"token\"]"),
        ("POST", TEMPORARY, identity(json!({"methods": ["assume_role"]})), "ModelArts.6651", "is not supported"),
        ("POST", TEMPORARY, by_token(Some(899)), "ModelArts.6336", "duration_seconds` must be 900 to 86400"),
        ("POST", "/v3.0/OS-AUTH/id-token/tokens", json!({}), "ModelArts.6651", "identity provider is not supported"),
    ];
    for (method, target, body, code, message) in rows {
        let reply = house.call(&token, method, target, &body).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code), "{body}: {}", reply.body);
        assert!(reply.message().contains(message), "{}", reply.message());
    }
}

#[tokio::test]
async fn a_temporary_key_opens_until_its_token_is_revoked() {
    let house = House::open().await;
    let token = house.project_token().await;
    let made = house.call(&token, "POST", TEMPORARY, &by_token(None)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = &made.body["credential"];
    assert_eq!(key["expires_at"], "2026-01-15T08:45:00.000000Z", "a quarter of an hour, when nothing is said");
    let target = "/v5/caller-identity";
    let who = with_temporary(&house, key, target).await;
    assert_eq!(who.status, 200, "{}", who.body);
    let (domain, user) = (house.first.domain_id.as_str(), house.first.user_id.as_str());
    let urn = format!("iam::{domain}:user:admin");
    assert_eq!(who.body, json!({"account_id": domain, "principal_id": user, "principal_urn": urn}));
    let other = house.project_token().await;
    assert_eq!(revoke(&house, &other, &token).await, 204);
    let dead = with_temporary(&house, key, target).await;
    assert_eq!((dead.status.as_u16(), dead.code()), (401, "APIG.0301"));
    assert_eq!(house.call(&token, "GET", target, &Value::Null).await.code(), "ModelArts.0203");
    assert_eq!(revoke(&house, &other, &token).await, 404, "it is not there any more");
    assert_eq!(revoke(&house, &other, &other).await, 204, "whoever logs out");
    assert_eq!(house.call(&other, "GET", target, &Value::Null).await.code(), "ModelArts.0203");
}

async fn revoke(house: &House, token: &str, subject: &str) -> u16 {
    let request = Request::delete("/v3/auth/tokens").header("x-auth-token", token).header("x-subject-token", subject);
    house.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
}

fn login(house: &House, password: &str, from: SocketAddr) -> Request<Body> {
    let user = json!({"id": house.first.user_id.as_str(), "password": password});
    let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}});
    Request::post("/v3/auth/tokens").extension(ConnectInfo(from)).body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_changed_password_ends_the_token_that_changed_it() {
    let house = House::open().await;
    let token = house.project_token().await;
    let target = format!("/v3/users/{}/password", house.first.user_id);
    let change = |old: &str, new: &str| json!({"user": {"original_password": old, "password": new}});
    let wrong = house.call(&token, "POST", &target, &change("wrong", "a new password")).await;
    assert_eq!((wrong.status.as_u16(), &wrong.body["error"]["title"]), (401, &"Unauthorized".into()));
    let old = house.first.password.expose_secret();
    assert_eq!(house.call(&token, "POST", &target, &change(old, "a new password")).await.status, 204);
    assert_eq!(house.call(&token, "GET", "/v3/auth/projects", &Value::Null).await.status, 401);
    let from = SocketAddr::from(([10, 0, 0, 9], 1));
    assert_eq!(house.send(login(&house, old, from)).await.status, 401);
    assert_eq!(house.send(login(&house, "a new password", from)).await.status, 201);
}

#[tokio::test]
async fn the_sixth_wrong_password_is_answered_with_the_time_to_wait() {
    let house = House::open().await;
    let from = SocketAddr::from(([10, 0, 0, 8], 1));
    for _ in 0..5 {
        assert_eq!(house.send(login(&house, "wrong", from)).await.status, 401);
    }
    let right = house.first.password.expose_secret();
    let locked = house.send(login(&house, right, from)).await;
    assert_eq!((locked.status.as_u16(), &locked.body["error"]["title"]), (403, &"Forbidden".into()));
    assert_eq!(locked.headers["retry-after"], HeaderValue::from_static("300"));
    let elsewhere = SocketAddr::from(([10, 0, 0, 7], 1));
    assert_eq!(house.send(login(&house, right, elsewhere)).await.status, 201);
}
