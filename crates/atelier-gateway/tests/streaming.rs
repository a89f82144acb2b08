//! Bodies pass as they come, at the pace of the slower side, and end when either side ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use support::{Doubles, ID, TOKEN, World, assembled, host, id, route, send_over, serve_in_memory, server, settle};
use tokio::sync::{Mutex, mpsc, oneshot};

use atelier_core::status::Status;
use atelier_gateway::Route;

const FRAME: usize = 64 * 1024;
const TOTAL: usize = 256 * 1024 * 1024;
/// What may be on its way: the buffers of four HTTP endpoints and two pipes.
const ON_THE_WAY: usize = 2 * 1024 * 1024;

fn request(method: &str, body: Body) -> Request<Body> {
    let auth = format!("token {TOKEN}");
    Request::builder()
        .method(method)
        .uri("/x")
        .header("host", host(ID))
        .header("authorization", auth)
        .body(body)
        .unwrap()
}

/// A body from a channel: what a test sends now arrives now.
fn body_of(receiver: mpsc::Receiver<&'static str>) -> Body {
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|text| (Ok::<_, Infallible>(text), receiver))
    }))
}

/// A body of [`TOTAL`] bytes that counts what was taken from it.
fn counted(taken: Arc<AtomicUsize>) -> Body {
    let frame = Bytes::from(vec![7; FRAME]);
    let frames = stream::iter(0..TOTAL / FRAME).map(move |_| {
        taken.fetch_add(FRAME, Ordering::SeqCst);
        Ok::<_, Infallible>(frame.clone())
    });
    Body::from_stream(frames)
}

#[tokio::test]
async fn the_first_byte_down_arrives_before_the_last_is_sent() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let world = World::with(server(move |_| {
        let receiver = receiver.clone();
        async move { Response::new(body_of(receiver.lock().await.take().unwrap())) }
    }))
    .await;
    let mut response = world.head(request("GET", Body::empty())).await;
    for text in ["first", "second", "last"] {
        sender.send(text).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(sender);
    assert!(response.frame().await.is_none());
}

#[tokio::test]
async fn the_first_byte_up_arrives_before_the_last_is_sent() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let world = World::with(server(move |request| {
        let arrived = arrived.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                arrived.send(frame.into_data().unwrap()).unwrap();
            }
            Response::new(Body::from("thanks"))
        }
    }))
    .await;
    let (sender, receiver) = mpsc::channel(1);
    let stream = world.connect().await;
    let answer = tokio::spawn(send_over(stream, request("POST", body_of(receiver))));
    for text in ["first", "second", "last"] {
        sender.send(text).await.unwrap();
        assert_eq!(arrivals.recv().await.unwrap(), text);
    }
    drop(sender);
    assert_eq!(answer.await.unwrap().collect().await.unwrap().to_bytes(), "thanks");
}

/// One connection to a gateway, all in memory.
fn in_memory(doubles: &Arc<Doubles>) -> tokio::io::DuplexStream {
    serve_in_memory(assembled(doubles.clone()), Arc::default())
}

#[tokio::test]
async fn a_visitor_who_does_not_read_stops_the_server_and_not_the_memory() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let doubles = Doubles::in_memory(server(move |_| {
        let body = counted(counter.clone());
        async move { Response::new(body) }
    }));
    let mut body = send_over(in_memory(&doubles), request("GET", Body::empty())).await.into_body();
    settle().await;
    let (mut received, first) = (0, taken.load(Ordering::SeqCst));
    assert!(first > 0 && first <= ON_THE_WAY, "{first} bytes are on the way");
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len();
        let on_the_way = taken.load(Ordering::SeqCst) - received;
        assert!(on_the_way <= ON_THE_WAY, "{on_the_way} bytes are on the way");
    }
    assert_eq!(received, TOTAL);
}

#[tokio::test]
async fn a_server_that_does_not_read_stops_the_visitor_and_not_the_memory() {
    let (go, wait) = oneshot::channel::<()>();
    let (wait, received) = (Arc::new(Mutex::new(Some(wait))), Arc::new(AtomicUsize::new(0)));
    let counter = received.clone();
    let doubles = Doubles::in_memory(server(move |request| {
        let (wait, received) = (wait.clone(), counter.clone());
        async move {
            wait.lock().await.take().unwrap().await.unwrap();
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                received.fetch_add(frame.into_data().unwrap().len(), Ordering::SeqCst);
            }
            Response::new(Body::empty())
        }
    }));
    let taken = Arc::new(AtomicUsize::new(0));
    let answer = tokio::spawn(send_over(in_memory(&doubles), request("POST", counted(taken.clone()))));
    settle().await;
    let first = taken.load(Ordering::SeqCst);
    assert!(first > 0 && first <= ON_THE_WAY, "{first} bytes are on the way");
    go.send(()).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(received.load(Ordering::SeqCst), TOTAL);
}

/// Tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

#[tokio::test]
async fn a_visitor_who_leaves_ends_the_servers_work() {
    for head_first in [false, true] {
        let (dropped, gone) = oneshot::channel();
        let (begun, mut beginning) = mpsc::channel(1);
        let guard = Arc::new(Mutex::new(Some(Dropped(Some(dropped)))));
        let world = World::with(server(move |_| {
            let (guard, begun) = (guard.clone(), begun.clone());
            async move {
                let guard = guard.lock().await.take().unwrap();
                begun.send(()).await.unwrap();
                if !head_first {
                    std::future::pending::<()>().await;
                }
                let endless = stream::once(async { Ok::<_, Infallible>("x") }).chain(stream::pending());
                Response::new(Body::from_stream(endless.map(move |x| {
                    let _held = &guard;
                    x
                })))
            }
        }))
        .await;
        let stream = world.connect().await;
        let visitor = tokio::spawn(async move {
            let mut response = send_over(stream, request("GET", Body::empty())).await;
            response.frame().await.unwrap().unwrap();
        });
        beginning.recv().await.unwrap();
        if head_first {
            visitor.await.unwrap();
        } else {
            visitor.abort();
        }
        gone.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let (break_off, broken) = oneshot::channel::<()>();
    let broken = Arc::new(Mutex::new(Some(broken)));
    let world = World::with(server(move |_| {
        let broken = broken.clone();
        async move {
            let broken = broken.lock().await.take().unwrap();
            let end = stream::once(async { broken.await.map_err(std::io::Error::other).map(|()| "never") });
            Response::new(Body::from_stream(stream::iter([Ok("half")]).chain(end)))
        }
    }))
    .await;
    let mut response = world.head(request("GET", Body::empty())).await;
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    drop(break_off);
    assert!(response.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn connections_are_kept_for_one_start_only() {
    let doubles = Doubles::in_memory(server(|_| async { Response::new(Body::from("x")) }));
    let gateway = assembled(doubles.clone());
    let ask = async || {
        let io = serve_in_memory(gateway.clone(), Arc::default());
        let response = send_over(io, request("GET", Body::empty())).await;
        let status = response.status().as_u16();
        response.collect().await.unwrap();
        settle().await;
        status
    };
    assert_eq!([ask().await, ask().await, ask().await], [200; 3]);
    let opened = || doubles.connections.load(Ordering::SeqCst);
    let held = || doubles.held.load(Ordering::SeqCst);
    assert_eq!((opened(), held()), (1, 1));
    doubles.put(route(ID));
    settle().await;
    assert_eq!(held(), 1, "a change that leaves the start alone");
    doubles.put(Route { status: Status::Stopped, ..route(ID) });
    settle().await;
    assert_eq!((ask().await, opened(), held()), (503, 1, 0));
    doubles.put(route(ID));
    assert_eq!((ask().await, opened(), held()), (200, 2, 1));
    doubles.remove(id(ID));
    settle().await;
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn a_restart_ends_the_answers_of_the_start_before() {
    let (_sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let world = World::with(server(move |_| {
        let receiver = receiver.clone();
        async move { Response::new(body_of(receiver.lock().await.take().unwrap())) }
    }))
    .await;
    let response = world.head(request("GET", Body::empty())).await;
    world.doubles.put(Route { token: "new".into(), ..route(ID) });
    assert!(response.collect().await.is_err());
}
