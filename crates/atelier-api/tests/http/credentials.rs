//! Every endpoint with every kind of credential. An endpoint without a row here fails.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use atelier_core::Timestamp;
use atelier_core::id::NotebookId;
use axum::body::Body;
use http::{HeaderValue, Request};
use serde_json::{Value, json};

use crate::answers::wish;
use crate::contract;
use crate::document::served;
use crate::house::{House, NOON, Reply};

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Everybody; the status without any credential.
    Open(u16),
    /// Whoever proved who they are.
    Known,
    /// The same, refused with codes.
    KnownByCode,
    /// Whoever acts in the project of the path.
    Project,
}

const SERVED: [(&str, &str, Guard); 54] = [
    ("GET", "/", Guard::Open(200)),
    ("GET", "/v3", Guard::Open(200)),
    ("POST", "/v3/auth/tokens", Guard::Open(400)),
    ("GET", "/healthz", Guard::Open(200)),
    ("GET", "/readyz", Guard::Open(200)),
    ("GET", "/openapi.json", Guard::Open(200)),
    ("GET", "/v3/auth/tokens", Guard::Known),
    ("GET", "/v3/auth/catalog", Guard::Known),
    ("DELETE", "/v3/auth/tokens", Guard::Known),
    ("POST", "/v3/users/{user_id}/password", Guard::Known),
    ("POST", "/v3.0/OS-AUTH/id-token/tokens", Guard::Open(400)),
    ("POST", "/v3.0/OS-CREDENTIAL/credentials", Guard::KnownByCode),
    ("GET", "/v3.0/OS-CREDENTIAL/credentials", Guard::KnownByCode),
    ("GET", "/v3.0/OS-CREDENTIAL/credentials/{access_key}", Guard::KnownByCode),
    ("PUT", "/v3.0/OS-CREDENTIAL/credentials/{access_key}", Guard::KnownByCode),
    ("DELETE", "/v3.0/OS-CREDENTIAL/credentials/{access_key}", Guard::KnownByCode),
    ("POST", "/v3.0/OS-CREDENTIAL/securitytokens", Guard::KnownByCode),
    ("GET", "/v5/caller-identity", Guard::KnownByCode),
    ("GET", "/v3/auth/projects", Guard::Known),
    ("GET", "/v3/auth/domains", Guard::Known),
    ("GET", "/v3/projects", Guard::Known),
    ("POST", "/v1/{project_id}/notebooks", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/{id}", Guard::Project),
    ("PUT", "/v1/{project_id}/notebooks/{id}", Guard::Project),
    ("DELETE", "/v1/{project_id}/notebooks/{id}", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/{id}/flavors", Guard::Project),
    ("POST", "/v1/{project_id}/notebooks/{id}/start", Guard::Project),
    ("POST", "/v1/{project_id}/notebooks/{id}/stop", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/{id}/lease", Guard::Project),
    ("PATCH", "/v1/{project_id}/notebooks/{id}/lease", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/flavors", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/all", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/tags", Guard::Project),
    ("POST", "/v1/{project_id}/notebooks/open", Guard::Project),
    ("POST", "/v1/{project_id}/notebooks/{resource_id}/tags/create", Guard::Project),
    ("DELETE", "/v1/{project_id}/notebooks/{resource_id}/tags/delete", Guard::Project),
    ("GET", "/v1/{project_id}/images", Guard::Project),
    ("GET", "/v1/{project_id}/authoring/clusters", Guard::Project),
    ("GET", "/v1/{project_id}/authoring/clusters/{cluster_id}", Guard::Project),
    ("GET", "/v1/{project_id}/authoring/features/{feature}", Guard::Project),
    ("GET", "/v1/{project_id}/notebooks/", Guard::Project),
    ("POST", "/v1/{project_id}/demanager/instances", Guard::Project),
    ("GET", "/v1/{project_id}/demanager/instances", Guard::Project),
    ("GET", "/v1/{project_id}/demanager/instances/{instance_id}", Guard::Project),
    ("PUT", "/v1/{project_id}/demanager/instances/{instance_id}", Guard::Project),
    ("DELETE", "/v1/{project_id}/demanager/instances/{instance_id}", Guard::Project),
    ("POST", "/v1/{project_id}/demanager/instances/{instance_id}/action", Guard::Project),
    ("GET", "/v1/{project_id}/demanager/instances/{instance_id}/token", Guard::Project),
    ("POST", "/v3/{project_id}/keypairs", Guard::Project),
    ("GET", "/v3/{project_id}/keypairs", Guard::Project),
    ("GET", "/v3/{project_id}/keypairs/{keypair_name}", Guard::Project),
    ("PUT", "/v3/{project_id}/keypairs/{keypair_name}", Guard::Project),
    ("DELETE", "/v3/{project_id}/keypairs/{keypair_name}", Guard::Project),
];

/// Every row: what is served, and what of the contract is refused by name, which is behind the same door.
fn rows() -> Vec<(String, String, Guard)> {
    let mut rows: Vec<_> = SERVED.map(|(method, path, guard)| (method.to_owned(), path.to_owned(), guard)).into();
    for operation in contract::operations() {
        if !rows.iter().any(|(method, path, _)| *method == operation.method && *path == operation.path) {
            rows.push((operation.method, operation.path, Guard::Project));
        }
    }
    rows
}

#[test]
fn every_endpoint_has_a_row() {
    let rows: BTreeSet<_> = rows().into_iter().map(|(method, path, _)| (method, path)).collect();
    for (method, path, id) in served() {
        assert!(rows.contains(&(method.clone(), path.clone())), "{method} {path} ({id}) has no row");
    }
}

struct Credentials {
    valid: String,
    expired: String,
    other_project: String,
    domain: String,
}

impl Credentials {
    async fn of(house: &House) -> Self {
        let expired = house.project_token().await;
        house.time.advance(24 * 3_600_000);
        Self {
            expired,
            valid: house.project_token().await,
            other_project: house.token(&json!({"project": {"id": house.other_project.to_string()}})).await,
            domain: house.token(&json!({"domain": {"id": house.first.domain_id.to_string()}})).await,
        }
    }
}

/// The number and the code that a refusal carries; the identity API has no codes.
fn refusal(guard: Guard, reply: &Reply) -> (u16, String) {
    match guard {
        Guard::Project | Guard::KnownByCode => (reply.status.as_u16(), reply.code().to_owned()),
        _ => (reply.status.as_u16(), reply.body["error"]["title"].as_str().unwrap_or_default().to_owned()),
    }
}

fn expected(guard: Guard, status: u16, code: &str) -> (u16, String) {
    match guard {
        Guard::Project | Guard::KnownByCode => (status, code.to_owned()),
        _ => (status, "Unauthorized".to_owned()),
    }
}

#[tokio::test]
async fn a_token_opens_exactly_what_it_is_for() {
    let house = House::open().await;
    let tokens = Credentials::of(&house).await;
    let forged = "0".repeat(tokens.valid.len());
    for (method, target, guard) in targets(&house) {
        let at = format!("{method} {target}");
        let send = async |token: &str| house.call(token, &method, &target, &Value::Null).await;
        if let Guard::Open(status) = guard {
            for token in ["", &forged, &tokens.expired, &tokens.valid] {
                assert_eq!(send(token).await.status.as_u16(), status, "{at}");
            }
            continue;
        }
        for (token, code) in [("", "ModelArts.0201"), (&forged, "ModelArts.0203"), (&tokens.expired, "ModelArts.0202")]
        {
            assert_eq!(refusal(guard, &send(token).await), expected(guard, 401, code), "{at} {code}");
        }
        let (other, domain) = (send(&tokens.other_project).await, send(&tokens.domain).await);
        if guard == Guard::Project {
            assert_eq!(refusal(guard, &other), (403, "ModelArts.0210".into()), "{at}");
            assert_eq!(refusal(guard, &domain), (401, "ModelArts.0212".into()), "{at}");
        } else {
            assert!(!matches!(other.status.as_u16(), 401 | 403), "{at}");
            assert!(!matches!(domain.status.as_u16(), 401 | 403), "{at}");
        }
        assert!(!matches!(send(&tokens.valid).await.status.as_u16(), 401 | 403 | 500..), "{at}");
    }
}

#[tokio::test]
async fn a_signature_opens_only_the_request_that_it_is_over() {
    let house = House::open().await;
    for (n, (method, target, guard)) in targets(&house).into_iter().enumerate() {
        if matches!(guard, Guard::Open(_)) {
            continue;
        }
        let at = format!("{method} {target}");
        let source = SocketAddr::from(([10, 0, 1, u8::try_from(n).unwrap()], 1));
        let signed = |body: &str| house.signed(&method, &target, body, source);
        assert!(!matches!(house.send(signed("")).await.status.as_u16(), 401 | 403 | 500..), "{at}");
        for request in
            [altered_signature(signed("")), other_key(signed("")), other_query(signed("")), other_body(signed(""))]
        {
            let reply = house.send(request).await;
            assert_eq!(refusal(guard, &reply), expected(guard, 401, "APIG.0301"), "{at}");
        }
    }
}

/// What a refused call asked for did not happen.
#[tokio::test]
async fn nothing_is_made_for_whoever_is_refused() {
    let house = House::open().await;
    let body = wish(json!({}));
    let target = format!("{}/notebooks", house.base());
    let other = house.token(&json!({"project": {"id": house.other_project.to_string()}})).await;
    for token in ["", "forged", &other] {
        assert!(house.call(token, "POST", &target, &body).await.status.is_client_error());
    }
    let source = SocketAddr::from(([10, 0, 0, 1], 1));
    let request = altered_signature(house.signed("POST", &target, &body.to_string(), source));
    assert!(house.send(request).await.status.is_client_error());
    let token = house.project_token().await;
    assert_eq!(house.call(&token, "GET", &target, &Value::Null).await.body["total"], 0);
    // The control: with the right credential the same body makes a notebook.
    assert_eq!(house.send(house.signed("POST", &target, &body.to_string(), source)).await.status, 200);
    assert_eq!(house.call(&token, "GET", &target, &Value::Null).await.body["total"], 1);
}

/// Every row with real ids; the notebook is one that does not exist.
fn targets(house: &House) -> Vec<(String, String, Guard)> {
    let nobody = NotebookId::generate(Timestamp::from_millis(NOON.as_millis()), &Zeros).to_string();
    let fill = |path: &str| {
        let part = |part: &str| match part {
            "{project_id}" => house.first.project_id.to_string(),
            part if part.starts_with('{') => nobody.clone(),
            part => part.to_owned(),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    };
    rows().into_iter().map(|(method, path, guard)| (method, fill(&path), guard)).collect()
}

struct Zeros;

impl atelier_core::Entropy for Zeros {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn altered_signature(mut request: Request<Body>) -> Request<Body> {
    let value = request.headers()["authorization"].to_str().unwrap();
    let last = if value.ends_with('0') { "1" } else { "0" };
    let altered = format!("{}{last}", &value[..value.len() - 1]);
    request.headers_mut().insert("authorization", HeaderValue::from_str(&altered).unwrap());
    request
}

fn other_key(mut request: Request<Body>) -> Request<Body> {
    let value = request.headers()["authorization"].to_str().unwrap();
    let altered = value.replacen("Access=", "Access=X", 1);
    request.headers_mut().insert("authorization", HeaderValue::from_str(&altered).unwrap());
    request
}

fn other_query(mut request: Request<Body>) -> Request<Body> {
    *request.uri_mut() = format!("{}?x=1", request.uri()).parse().unwrap();
    request
}

fn other_body(mut request: Request<Body>) -> Request<Body> {
    *request.body_mut() = Body::from("{}");
    request
}
