//! A quarter of a GiB each way leaves no trace in memory. Alone in its process, because it measures the process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use std::convert::Infallible;
use support::{ID, TOKEN, World, host, server};

const FRAME: usize = 64 * 1024;
const FRAMES: usize = 256 * 1024 * 1024 / FRAME;
const GROWTH_KIB: usize = 16 * 1024;

fn frames(count: usize) -> Body {
    let frame = Bytes::from(vec![7; FRAME]);
    Body::from_stream(stream::iter(0..count).map(move |_| Ok::<_, Infallible>(frame.clone())))
}

async fn swallow(mut body: impl hyper::body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin) -> usize {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().map_or(0, |d| d.len());
    }
    bytes
}

/// The most memory that this process ever held, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn both_ways(world: &World, count: usize) {
    let request = |method: &str, body| {
        let uri = format!("/{count}");
        let auth = format!("token {TOKEN}");
        Request::builder()
            .method(method)
            .uri(uri)
            .header("host", host(ID))
            .header("authorization", auth)
            .body(body)
            .unwrap()
    };
    let down = world.head(request("GET", Body::empty())).await;
    assert_eq!(swallow(down.into_body()).await, count * FRAME);
    let up = world.send(request("POST", frames(count))).await;
    assert_eq!(up.text(), (count * FRAME).to_string());
}

#[tokio::test]
async fn memory_does_not_grow_with_what_passes() {
    let world = World::with(server(|request| async {
        let count = request.uri().path()[1..].parse().unwrap();
        let body = if request.method() == "GET" {
            frames(count)
        } else {
            swallow(request.into_body()).await.to_string().into()
        };
        Response::new(body)
    }))
    .await;
    both_ways(&world, 64).await;
    let before = peak();
    both_ways(&world, FRAMES).await;
    // The kernel counts in bundles, so that the peak may even look lower.
    let growth = peak().saturating_sub(before);
    println!("the peak grew by {growth} KiB while 512 MiB passed");
    assert!(growth < GROWTH_KIB, "{growth} KiB");
}
