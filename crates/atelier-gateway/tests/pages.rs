//! What is seen instead of a notebook.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use atelier_core::operation::{StepName, StepRecord, StepState};
use atelier_core::status::Status;
use atelier_gateway::Route;
use axum::body::Body;
use http::Request;
use support::{Answer, ID, TOKEN, UNKNOWN, World, host, route};

async fn look(world: &World, id: &str, token: Option<&str>, html: bool) -> Answer {
    let mut request = Request::get("/lab").header("host", host(id)).header("x-request-id", "r-1");
    request = request.header("accept", if html { "text/html" } else { "*/*" });
    if let Some(token) = token {
        request = request.header("authorization", format!("token {token}"));
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

fn step(name: StepName, state: StepState, note: Option<&str>) -> StepRecord {
    StepRecord { name, state, attempts: 1, began_at: None, ended_at: None, note: note.map(String::from) }
}

#[tokio::test]
async fn each_status_that_does_not_serve_has_its_page() {
    let world = World::new().await;
    for status in Status::ALL {
        world.doubles.put(Route { status, fail_reason: Some("<b>no disk</b>".into()), ..route(ID) });
        let (page, body) = (look(&world, ID, Some(TOKEN), true).await, look(&world, ID, Some(TOKEN), false).await);
        let expected = match status {
            Status::Running | Status::Snapshotting => 200,
            Status::Deleted => 404,
            _ => 503,
        };
        assert_eq!((page.status, body.status), (expected, expected), "{status}");
        if expected != 503 {
            continue;
        }
        let comes_up = matches!(status, Status::Init | Status::Creating | Status::Starting);
        for answer in [&page, &body] {
            assert_eq!(answer.header("retry-after").is_some(), comes_up, "{status}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        assert_eq!(body.json()["error_code"], "ModelArts.6327");
        assert_eq!(body.json()["request_id"], "r-1");
        assert!(body.json()["error_msg"].as_str().unwrap().contains(status.as_str()), "{status}");
        let html = page.text();
        assert_eq!(html.contains("http-equiv=\"refresh\""), comes_up, "{status}");
        assert!(html.contains("&lt;b&gt;no disk&lt;/b&gt;") && !html.contains("<b>"), "{html}");
        assert!(!html.contains("src=") && !html.contains("<link") && !html.contains("<script"), "{html}");
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
}

#[tokio::test]
async fn without_the_right_token_a_page_tells_nothing() {
    let world = World::new().await;
    let told = |status, reason: &str| Route { status, fail_reason: Some(reason.into()), ..route(ID) };
    for token in [None, Some("wrong")] {
        let mut seen = Vec::new();
        for route in [route(ID), told(Status::Error, "secret reason"), told(Status::Stopped, "x")] {
            world.doubles.put(route);
            let page = look(&world, ID, token, true).await;
            assert!(page.text().contains("<form") && !page.text().contains("trial"));
            assert_eq!(page.header("www-authenticate").is_some(), token.is_none());
            seen.push((page.status, page.text()));
        }
        assert_eq!(seen[0].0, if token.is_none() { 401 } else { 403 });
        assert!(seen.iter().all(|one| *one == seen[0]));
    }
    assert!(look(&world, UNKNOWN, None, true).await.text().contains("There is no such notebook"));
}

#[tokio::test]
async fn the_page_of_a_start_shows_how_far_it_is() {
    let world = World::new().await;
    let progress = vec![
        step(StepName::PrepareStorage, StepState::Done, None),
        step(StepName::PrepareCompute, StepState::Began, Some("building the image: 3 of 9")),
        step(StepName::ConfigureNetwork, StepState::Waiting, None),
    ];
    world.doubles.put(Route { status: Status::Creating, progress, ..route(ID) });
    let html = look(&world, ID, Some(TOKEN), true).await.text();
    assert!(html.contains("<li>prepare storage: done</li>"), "{html}");
    assert!(html.contains("<li>prepare compute resources: under way (building the image: 3 of 9)</li>"), "{html}");
    assert!(html.contains("<li>configure the network: waiting</li>"), "{html}");
}

#[tokio::test]
async fn in_the_path_form_a_browser_is_shown_the_notebooks_own_address() {
    let world = World::new().await;
    let request = Request::get(format!("/notebook/{ID}/lab")).header("host", "localhost").header("accept", "text/html");
    let page = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, 401);
    assert!(page.text().contains(&format!("href=\"http://{}/lab\"", host(ID))) && !page.text().contains("<form"));
}

#[tokio::test]
async fn a_server_that_is_gone_is_a_bad_gateway() {
    let world = World::unreachable().await;
    let (page, body) = (look(&world, ID, Some(TOKEN), true).await, look(&world, ID, Some(TOKEN), false).await);
    assert_eq!((page.status, body.status), (502, 502));
    assert_eq!(body.json()["error_code"], "APIG.0203");
    assert!(page.text().contains("does not answer"));
}
