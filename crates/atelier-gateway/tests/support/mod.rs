//! A gateway in front of a real HTTP server on a Unix socket, and a client for it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use atelier_core::id::{NotebookId, UserId};
use atelier_core::status::Status;
use atelier_gateway::{Form, Gateway, GatewayConfig, Host, HostNames, Route, Routes, Standing};
use atelier_runtime::{Connection, RuntimeError};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::task::AbortOnDropHandle;

pub const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";
pub const SIBLING: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a11";
pub const UNKNOWN: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a12";
pub const TOKEN: &str = "6f773860-right";
pub const OLD_TOKEN: &str = "3452e0d5-older";
pub const SECRET: &str = "upstream-secret-0123456789";

pub fn id(text: &str) -> NotebookId {
    text.parse().unwrap()
}

pub fn host(id: &str) -> String {
    format!("{id}.localhost:8080")
}

pub fn route(id: &str) -> Route {
    Route {
        id: id.parse().unwrap(),
        project_id: "a".repeat(32).parse().unwrap(),
        // Everybody owns one.
        owner: id.replace('-', "").parse().unwrap(),
        name: "trial".into(),
        status: Status::Running,
        fail_reason: None,
        progress: Vec::new(),
        token: TOKEN.into(),
        upstream_secret: SECRET.into(),
    }
}

/// How a double reaches its server.
enum Way {
    Socket(PathBuf),
    /// In memory, so that a test on one thread sees when nothing moves any more.
    Memory(Router),
    Nowhere,
}

/// Routes that a test sets.
pub struct Doubles {
    routes: RwLock<HashMap<NotebookId, Route>>,
    way: Way,
    changes: watch::Sender<u64>,
    standings: RwLock<HashMap<UserId, Standing>>,
    standing_changes: watch::Sender<u64>,
    /// Connections ever opened to the server.
    pub connections: AtomicUsize,
    /// Connections in memory that the server still holds.
    pub held: Arc<AtomicUsize>,
    /// How often somebody was said to have worked.
    pub worked: watch::Sender<usize>,
}

impl Doubles {
    fn new(way: Way) -> Arc<Self> {
        let doubles = Self {
            routes: RwLock::default(),
            way,
            changes: watch::Sender::new(0),
            standings: RwLock::default(),
            standing_changes: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            held: Arc::default(),
            worked: watch::Sender::new(0),
        };
        doubles.put(route(ID));
        doubles.put(Route { token: "siblings".into(), ..route(SIBLING) });
        Arc::new(doubles)
    }

    pub fn nowhere() -> Arc<Self> {
        Self::new(Way::Nowhere)
    }

    pub fn in_memory(server: Router) -> Arc<Self> {
        Self::new(Way::Memory(server))
    }

    pub fn put(&self, route: Route) {
        self.routes.write().unwrap().insert(route.id, route);
        self.changes.send_modify(|n| *n += 1);
    }

    /// How the owner of a notebook stands from now on.
    pub fn set_standing(&self, id: &str, standing: Standing) {
        self.standings.write().unwrap().insert(route(id).owner, standing);
        self.standing_changes.send_modify(|n| *n += 1);
    }

    pub fn remove(&self, id: NotebookId) {
        self.routes.write().unwrap().remove(&id);
        self.changes.send_modify(|n| *n += 1);
    }
}

#[async_trait]
impl Routes for Doubles {
    fn route(&self, id: NotebookId) -> Option<Route> {
        self.routes.read().unwrap().get(&id).cloned()
    }

    async fn connect(&self, _: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        match &self.way {
            Way::Socket(path) => {
                Ok(Box::new(UnixStream::connect(path).await.map_err(|e| RuntimeError::Transient(e.to_string()))?))
            }
            Way::Memory(server) => Ok(Box::new(serve_in_memory(server.clone(), self.held.clone()))),
            Way::Nowhere => Err(RuntimeError::Absent),
        }
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn person_worked(&self, _: NotebookId) {
        self.worked.send_modify(|n| *n += 1);
    }

    fn standing(&self, route: &Route) -> Standing {
        self.standings.read().unwrap().get(&route.owner).copied().unwrap_or(Standing::Welcome)
    }

    fn subscribe_standings(&self) -> watch::Receiver<u64> {
        self.standing_changes.subscribe()
    }
}

pub fn config() -> GatewayConfig {
    GatewayConfig {
        domain: "localhost".into(),
        public_url: "http://localhost:8080".parse().unwrap(),
        api_hosts: vec!["127.0.0.1:8080".into()],
    }
}

/// The gateway as a server assembles it: by host, and beside an API.
pub fn assembled(doubles: Arc<Doubles>) -> Router {
    assembled_around(Gateway::new(config(), doubles))
}

/// The same, around a gateway that the test keeps.
fn assembled_around(gateway: Gateway) -> Router {
    let names = HostNames::new(&config());
    let api = gateway.path_router().route("/api-itself", axum::routing::get(|| async { "the API" }));
    Router::new().fallback(move |request: Request| {
        let (names, gateway, api) = (names.clone(), gateway.clone(), api.clone());
        async move {
            match names.of(request.headers(), request.uri()) {
                Host::Notebook(id) => gateway.handle(request, Form::Host, id).await,
                Host::Api => tower::ServiceExt::oneshot(api, request).await.unwrap(),
                Host::Unknown => {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
                    response
                }
            }
        }
    })
}

async fn serve_one(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Router) {
    // A client that goes away is no fault of the server's.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
}

/// Serves one connection, and counts it in `held` for as long as it lasts.
pub fn serve_in_memory(service: Router, held: Arc<AtomicUsize>) -> DuplexStream {
    let (here, there) = tokio::io::duplex(64 * 1024);
    held.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(async move {
        serve_one(there, service).await;
        held.fetch_sub(1, Ordering::SeqCst);
    });
    here
}

/// Lets every task run until none can go on. Only on one thread, and with nothing but memory between the tasks.
pub async fn settle() {
    for _ in 0..20_000 {
        tokio::task::yield_now().await;
    }
}

/// A served gateway. Everything of it ends when it is dropped.
pub struct World {
    pub doubles: Arc<Doubles>,
    pub gateway: Gateway,
    pub port: u16,
    _tasks: Vec<AbortOnDropHandle<()>>,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(notebook_server()).await
    }

    /// With this notebook server.
    pub async fn with(server: Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server");
        let upstream = serve_socket(&socket, server);
        Self::before(folder, upstream, Doubles::new(Way::Socket(socket))).await
    }

    /// With notebooks that run, but no server that could be reached.
    pub async fn unreachable() -> Self {
        Self::before(tempfile::tempdir().unwrap(), tokio::spawn(async {}), Doubles::nowhere()).await
    }

    async fn before(folder: TempDir, upstream: tokio::task::JoinHandle<()>, doubles: Arc<Doubles>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = Gateway::new(config(), doubles.clone());
        let service = assembled_around(gateway.clone());
        let served = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_one(stream, service.clone()));
            }
        });
        let tasks = [upstream, served].map(AbortOnDropHandle::new).into();
        Self { doubles, gateway, port, _tasks: tasks, _folder: folder }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    pub async fn send(&self, request: http::Request<Body>) -> Answer {
        Answer::of(send_over(self.connect().await, request).await).await
    }

    /// Sends and stops reading after the head.
    pub async fn head(&self, request: http::Request<Body>) -> http::Response<hyper::body::Incoming> {
        send_over(self.connect().await, request).await
    }
}

fn serve_socket(path: &Path, server: Router) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_one(stream, server.clone()));
        }
    })
}

/// One request over one connection.
pub async fn send_over(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Body>,
) -> http::Response<hyper::body::Incoming> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.unwrap()
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn of(response: http::Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            Bytes::new()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// What the echoing server received under this header's name.
    pub fn received(&self, name: &str) -> Vec<String> {
        let all = self.json();
        let pairs = all["headers"].as_array().unwrap().clone();
        pairs.iter().filter(|p| p[0] == name).map(|p| p[1].as_str().unwrap().to_owned()).collect()
    }
}

/// The stand-in for a notebook server: says what it received, or does what its path names.
pub fn notebook_server() -> Router {
    Router::new().fallback(|request: Request| async move { Ok::<_, Infallible>(answer(request).await) })
}

async fn answer(mut request: Request) -> Response {
    if request.headers().get(header::UPGRADE).is_some_and(|u| u == "websocket") && request.uri().path() != "/no-socket"
    {
        return echo_socket(&mut request);
    }
    match request.uri().path() {
        "/answer-with" => answer_with(request.uri().query().unwrap_or_default()),
        _ => say(request).await,
    }
}

/// Answers with the headers that the query names: `name=value&…`, each value with `+` for a blank.
fn answer_with(query: &str) -> Response {
    let mut response = Response::builder();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        response = match name {
            "status" => response.status(value.parse::<u16>().unwrap()),
            _ => response.header(name, value.replace('+', " ")),
        };
    }
    response.body(Body::from("as told")).unwrap()
}

async fn say(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let headers: Vec<_> = parts.headers.iter().map(|(n, v)| json!([n.as_str(), v.to_str().unwrap()])).collect();
    let said = json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    Response::new(Body::from(said.to_string()))
}

/// Sends back what it gets, after a first message with what it was asked.
fn echo_socket(request: &mut Request) -> Response {
    let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    let first = json!({
        "target": request.uri().to_string(),
        "authorization": request.headers()["authorization"].to_str().unwrap(),
        "host": request.headers()["host"].to_str().unwrap(),
        "origin": request.headers().get("origin").map(|o| o.to_str().unwrap()),
    });
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let limits = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(limits)).await;
        let _ = socket.send(first.to_string().into()).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", key)
        .header("sec-websocket-protocol", "v1.kernel.websocket.jupyter.org")
        .body(Body::empty())
        .unwrap()
}

/// A service from a function, for tests with servers of their own.
pub fn server<F, Fut>(answer: F) -> Router
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    Router::new().fallback(answer)
}
