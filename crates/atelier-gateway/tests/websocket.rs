//! `WebSocket`s through the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atelier_core::status::Status;
use atelier_gateway::{Route, Standing};
use axum::Router;
use axum::body::Body;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{HeaderValue, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use support::{ID, SECRET, SIBLING, TOKEN, World, host, id, route};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<TcpStream>;

fn request(uri: &str, host: &str, token: Option<&str>) -> Request<()> {
    let mut request = format!("ws://{host}{uri}").into_client_request().unwrap();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("token {token}")).unwrap();
        request.headers_mut().insert("authorization", value);
    }
    let protocol = HeaderValue::from_static("v1.kernel.websocket.jupyter.org");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    request
}

async fn open(world: &World, request: Request<()>) -> Result<(Socket, Value), Error> {
    let limits = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    let stream = world.connect().await;
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await?;
    let first = socket.next().await.unwrap()?;
    Ok((socket, serde_json::from_str(first.to_text()?).unwrap()))
}

async fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

/// The socket ends without anybody having asked for it on the socket itself.
async fn is_cut(socket: &mut Socket) {
    let end = tokio::time::timeout(Duration::from_mins(1), socket.next()).await.expect("the socket stays open");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn both_forms_carry_frames_of_any_size() {
    let world = World::new().await;
    for (uri, host, token, target) in [
        ("/api/kernels/x/channels?session_id=1", host(ID), Some(TOKEN), "/api/kernels/x/channels?session_id=1"),
        (&format!("/k?token={TOKEN}&session_id=1"), host(ID), None, "/k?session_id=1"),
        (&format!("/notebook/{ID}/k?token={TOKEN}"), "localhost:8080".into(), None, "/k"),
        (&format!("/notebook/{ID}/k"), "127.0.0.1:8080".into(), Some(TOKEN), "/k"),
    ] {
        let (mut socket, first) = open(&world, request(uri, &host, token)).await.unwrap();
        assert_eq!(first["target"], target);
        assert_eq!(first["authorization"], format!("token {SECRET}"));
        assert_eq!(first["host"], "localhost");
        echoes(&mut socket, "1 + 1").await;
        let large = Message::binary(vec![7; 20 * 1024 * 1024]);
        socket.send(large.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == large);
        socket.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
        let close = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        socket.close(Some(close.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(close)));
        assert!(socket.next().await.is_none());
    }
}

#[tokio::test]
async fn the_servers_answer_to_an_upgrade_passes_whole() {
    let world = World::new().await;
    let stream = world.connect().await;
    let (_, response) = tokio_tungstenite::client_async(request("/k", &host(ID), Some(TOKEN)), stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "v1.kernel.websocket.jupyter.org");
    match open(&world, request("/no-socket", &host(ID), Some(TOKEN))).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 200);
            assert!(response.body().as_ref().is_some_and(|b| b.starts_with(b"{\"method\":\"GET\"")));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sockets_end_with_their_start_and_no_others_do() {
    let world = World::new().await;
    let open_one = async |id: &str, token: &str| open(&world, request("/k", &host(id), Some(token))).await;
    let (mut siblings, _) = open_one(SIBLING, "siblings").await.unwrap();
    let (mut first, _) = open_one(ID, TOKEN).await.unwrap();
    world.doubles.put(Route { name: "renamed".into(), ..route(ID) });
    echoes(&mut first, "still there").await;

    world.doubles.put(Route { token: "second".into(), ..route(ID) });
    is_cut(&mut first).await;
    assert!(matches!(open_one(ID, TOKEN).await, Err(Error::Http(r)) if r.status() == 403));

    let (mut second, _) = open_one(ID, "second").await.unwrap();
    world.doubles.put(Route { token: "second".into(), status: Status::Stopping, ..route(ID) });
    is_cut(&mut second).await;
    assert!(matches!(open_one(ID, "second").await, Err(Error::Http(r)) if r.status() == 503));

    world.doubles.put(Route { token: "third".into(), ..route(ID) });
    let (mut third, _) = open_one(ID, "third").await.unwrap();
    world.doubles.remove(id(ID));
    is_cut(&mut third).await;
    echoes(&mut siblings, "not concerned").await;
}

#[tokio::test]
async fn on_a_kernels_socket_only_a_persons_messages_count() {
    let world = World::new().await;
    let mut worked = world.doubles.worked.subscribe();
    let (mut socket, _) = open(&world, request("/api/kernels/x/channels", &host(ID), Some(TOKEN))).await.unwrap();
    let message = |kind: &str| format!("{{\"header\": {{\"msg_type\": \"{kind}\"}}, \"content\": {{}}}}");
    for own in ["kernel_info_request", "comm_info_request", "history_request"] {
        echoes(&mut socket, &message(own)).await;
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    assert_eq!(*worked.borrow_and_update(), 0, "a page by itself, and an answer to everything it sent");
    echoes(&mut socket, &message("execute_request")).await;
    assert_eq!(*worked.borrow_and_update(), 1);

    let (mut terminal, _) = open(&world, request("/terminals/websocket/1", &host(ID), Some(TOKEN))).await.unwrap();
    echoes(&mut terminal, "[\"set_size\", 24, 80]").await;
    assert_eq!(*worked.borrow_and_update(), 1);
    echoes(&mut terminal, "[\"stdin\", \"l\"]").await;
    assert_eq!(*worked.borrow_and_update(), 2);

    let (mut other, _) = open(&world, request("/lsp/ws/pylsp", &host(ID), Some(TOKEN))).await.unwrap();
    echoes(&mut other, &message("execute_request")).await;
    assert_eq!(*worked.borrow_and_update(), 2, "sockets that chatter do not count");
}

/// A notebook server that talks without end until it is told to close, and counts what it has said.
fn talker(said: Arc<AtomicUsize>) -> Router {
    support::server(move |mut request| {
        let said = said.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
            tokio::spawn(async move {
                let io = TokioIo::new(upgrade.await.unwrap());
                let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                loop {
                    let number = said.load(Ordering::SeqCst);
                    socket.send(Message::text(number.to_string())).await.unwrap();
                    said.store(number + 1, Ordering::SeqCst);
                    if let Some(heard) = socket.next().now_or_never() {
                        assert!(matches!(heard, Some(Ok(Message::Close(_)))), "{heard:?}");
                        break;
                    }
                }
                // Says the close itself, and waits until everything has gone.
                while socket.next().await.is_some_and(|more| more.is_ok()) {}
            });
            let head = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
            let head = head.header("sec-websocket-protocol", "v1.kernel.websocket.jupyter.org");
            head.header("sec-websocket-accept", key).body(Body::empty()).unwrap()
        }
    })
}

/// The server goes: everything that was said has arrived, and behind it comes a close that says why.
#[tokio::test]
async fn who_is_left_by_the_server_has_missed_nothing() {
    let said = Arc::new(AtomicUsize::new(0));
    let world = World::with(talker(said.clone())).await;
    let (mut socket, first) = open(&world, request("/k", &host(ID), Some(TOKEN))).await.unwrap();
    assert_eq!(first, 0);
    let listening = tokio::spawn(async move {
        let mut heard = 1;
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(number) => assert_eq!(number.as_str(), heard.to_string()),
                other => break (heard, other),
            }
            heard += 1;
        }
    });
    while said.load(Ordering::SeqCst) < 1000 {
        tokio::task::yield_now().await;
    }
    world.gateway.leave().await;
    let (heard, last) = listening.await.unwrap();
    assert_eq!(heard, said.load(Ordering::SeqCst), "heard, and said");
    assert_eq!(last, Message::Close(Some(CloseFrame { code: CloseCode::Restart, reason: "".into() })));
    assert_eq!(world.gateway.traffic().open_sockets(), 0);
}

/// An owner who is switched off: nobody gets in by their tokens, and what was open is cut; others do not notice.
#[tokio::test]
async fn sockets_end_when_the_owner_may_enter_no_more() {
    let world = World::new().await;
    let (mut socket, _) = open(&world, request("/k", &host(ID), Some(TOKEN))).await.unwrap();
    let (mut siblings, _) = open(&world, request("/k", &host(SIBLING), Some("siblings"))).await.unwrap();
    echoes(&mut socket, "welcome").await;

    // Nothing is decided from what cannot be known: what is open stays, what is new waits.
    world.doubles.set_standing(ID, Standing::Unknown);
    echoes(&mut socket, "still there").await;
    let again = open(&world, request("/k", &host(ID), Some(TOKEN))).await;
    assert!(matches!(again, Err(Error::Http(r)) if r.status() == 503));

    let began = std::time::Instant::now();
    world.doubles.set_standing(ID, Standing::Barred);
    is_cut(&mut socket).await;
    eprintln!("an open socket was cut {:?} after its owner was barred", began.elapsed());
    let again = open(&world, request("/k", &host(ID), Some(TOKEN))).await;
    assert!(matches!(again, Err(Error::Http(r)) if r.status() == 403));
    let wrong = open(&world, request("/k", &host(ID), Some("wrong"))).await;
    assert!(matches!(wrong, Err(Error::Http(r)) if r.status() == 403), "no more is told without the token");
    echoes(&mut siblings, "not concerned").await;

    world.doubles.set_standing(ID, Standing::Welcome);
    let (mut socket, _) = open(&world, request("/k", &host(ID), Some(TOKEN))).await.unwrap();
    echoes(&mut socket, "back").await;
}
