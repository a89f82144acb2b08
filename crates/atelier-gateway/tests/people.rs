//! Requests of people, told from those that pages make by themselves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them, also in its own functions")]

mod support;

use axum::body::Body;
use http::Request;
use support::{ID, TOKEN, World, host};

/// How often somebody was said to have worked after these requests.
async fn worked(world: &World, requests: &[(&str, &str, &str)]) -> usize {
    for (method, path, mode) in requests {
        let request = Request::builder().method(*method).uri(*path).header("host", host(ID));
        let request = request.header("authorization", format!("token {TOKEN}")).header("sec-fetch-mode", *mode);
        let request = request.header("origin", format!("http://{}", host(ID))).header("sec-fetch-site", "same-origin");
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200, "{method} {path}");
    }
    *world.doubles.worked.borrow()
}

#[tokio::test]
async fn a_page_that_polls_is_nobody() {
    let world = World::new().await;
    let polling = [
        ("GET", "/api/kernels", "cors"),
        ("GET", "/api/sessions", "cors"),
        ("GET", "/api/terminals", "cors"),
        ("GET", "/api/contents/a.ipynb?content=0", "cors"),
        ("GET", "/api/status", "cors"),
        ("PUT", "/lab/api/workspaces/default", "cors"),
        ("GET", "/static/lab/main.js", "no-cors"),
    ];
    assert_eq!(worked(&world, &polling).await, 0);
}

#[tokio::test]
async fn opening_saving_and_starting_is_somebody() {
    let world = World::new().await;
    assert_eq!(worked(&world, &[("GET", "/lab", "navigate")]).await, 1);
    assert_eq!(worked(&world, &[("PUT", "/api/contents/a.ipynb", "cors")]).await, 2);
    assert_eq!(worked(&world, &[("POST", "/api/sessions", "cors")]).await, 3);
}

#[tokio::test]
async fn who_is_not_let_in_does_no_work() {
    let world = World::new().await;
    let request = Request::put("/api/contents/a.ipynb").header("host", host(ID));
    let request = request.header("authorization", "token wrong").body(Body::empty()).unwrap();
    assert_eq!(world.send(request).await.status, 403);
    assert_eq!(*world.doubles.worked.borrow(), 0);
}
