//! Requests in all the forms that clients send them.

use std::net::SocketAddr;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, Reply};

async fn list(house: &House, target: &str) -> Reply {
    let token = house.project_token().await;
    house.call(&token, "GET", target, &Value::Null).await
}

#[tokio::test]
async fn other_spellings_of_a_path_are_answered_directly() {
    let house = House::open().await;
    let base = house.base();
    let source = SocketAddr::from(([10, 0, 0, 2], 1));
    for target in [
        format!("{base}/notebooks/"),
        format!("{base}/note%62ooks"),
        format!("{base}/notebooks/?limit=5"),
        "/v3/".into(),
    ] {
        assert_eq!(list(&house, &target).await.status, StatusCode::OK, "{target}");
    }
    let signed = house.signed("GET", &format!("{base}/notebooks/"), "", source);
    assert_eq!(house.send(signed).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_no_api() {
    let house = House::open().await;
    let base = house.base();
    for (method, target) in [
        ("GET", "/nothing".to_owned()),
        ("GET", "/v3/nothing".to_owned()),
        ("GET", format!("{base}/notebooks//")),
        ("GET", format!("{base}%2Fnotebooks")),
        ("PUT", format!("{base}/notebooks")),
        ("OPTIONS", format!("{base}/notebooks")),
        ("DELETE", "/healthz".to_owned()),
    ] {
        let reply = house.call("", method, &target, &Value::Null).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, "APIG.0101"), "{method} {target}");
        assert_eq!(reply.body["request_id"], reply.headers["x-request-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn a_placeholder_instead_of_a_project_is_told_as_such() {
    let house = House::open().await;
    let reply = list(&house, "/v1/%7Bproject_id%7D/notebooks").await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, "ModelArts.0210"));
}

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_too_large_however_it_is_authenticated() {
    let house = House::open().await;
    let token = house.project_token().await;
    let target = format!("{}/notebooks", house.base());
    let large = json!({"name": "x".repeat(64 * 1024)});
    let reply = house.call(&token, "POST", &target, &large).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (413, "APIG.0201"));
    // Who does not prove who they are learns nothing about bodies.
    let reply = house.call("forged", "POST", &target, &large).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (401, "ModelArts.0203"));
    // A signature over it cannot be checked, and does not count as a bad one: ten of them lock nobody out.
    let source = SocketAddr::from(([10, 0, 0, 3], 1));
    for _ in 0..10 {
        let reply = house.send(house.signed("POST", &target, &large.to_string(), source)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (413, "APIG.0201"));
    }
    assert_eq!(house.send(house.signed("GET", &target, "", source)).await.status, StatusCode::OK);
    // One byte less than too large is read, and found to be what it is.
    let mut exact = json!({"name": "x"}).to_string();
    exact.push_str(&" ".repeat(64 * 1024 - exact.len()));
    let request = Request::post(&target).header("x-auth-token", &token).body(Body::from(exact)).unwrap();
    assert_eq!(house.send(request).await.code(), "ModelArts.6335");
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let house = House::open().await;
    let token = house.project_token().await;
    for body in ["", "nonsense", "[]", "null", "{\"name\": \"nb\"", "\u{0}"] {
        let request = Request::post(format!("{}/notebooks", house.base())).header("x-auth-token", &token);
        let reply = house.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, "ModelArts.6400"), "{body}");
    }
}

/// A page that was led here by its name server (DNS rebinding) is not served.
#[tokio::test]
async fn a_foreign_name_in_host_is_misdirected() {
    let house = House::open().await;
    for (host, status) in [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("\u{ff}", 421),
        ("", 421),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("LOCALHOST:8080", 200),
        ("x.localhost", 200),
    ] {
        let request = Request::get("/healthz").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(house.send(request).await.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_our_own() {
    let house = House::open().await;
    for target in ["/healthz", "/nothing", "/v1/x/notebooks", "/v3/projects"] {
        let request = Request::get(target).header("x-request-id", "theirs").body(Body::empty()).unwrap();
        let reply = house.send(request).await;
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{target}: {id}");
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn readiness_says_that_the_runtime_is_simulated() {
    let house = House::open().await;
    let reply = house.call("", "GET", "/readyz", &Value::Null).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((&reply.body["status"], &reply.body["runtime"]), (&json!("ready"), &json!("simulated")));
}

#[tokio::test]
async fn identity_answers_what_clients_look_for_at_their_start() {
    let house = House::open().await;
    let token = house.project_token().await;
    let reply = house.call(&token, "GET", "/v3/auth/catalog", &Value::Null).await;
    let service = reply.body["catalog"].as_array().unwrap().iter().find(|s| s["type"] == "modelartsv1").unwrap();
    assert_eq!(service["endpoints"][0]["url"], format!("http://127.0.0.1:8080{}", house.base()));
    let source = SocketAddr::from(([10, 0, 0, 4], 1));
    let reply = house.send(house.signed("GET", "/v3/projects?name=local", "", source)).await;
    assert_eq!(reply.body["projects"].as_array().unwrap().len(), 1, "{}", reply.body);
    let request = Request::get("/v3/auth/tokens?nocatalog").header("x-auth-token", &token);
    let reply = house.send(request.header("x-subject-token", &token).body(Body::empty()).unwrap()).await;
    assert_eq!(reply.headers["x-subject-token"], token.as_str());
    assert_eq!(reply.body["token"]["project"]["id"], house.first.project_id.to_string());
    assert!(reply.body["token"].get("catalog").is_none());
    let reply = house.call("", "GET", "/v3/auth/projects", &Value::Null).await;
    assert_eq!(
        reply.body["error"],
        json!({"code": 401, "title": "Unauthorized", "message": reply.body["error"]["message"]})
    );
}
