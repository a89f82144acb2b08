//! A client that shakes hands as it is told, and then speaks what was agreed upon.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::e2e::Server;

type Failed = Box<dyn Error + Send + Sync>;

/// What a client asks for in the handshake.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) protocol: &'static str,
    /// TLS 1.2 and nothing newer.
    pub(crate) old: bool,
}

impl Wanted {
    pub(crate) const HTTP_1: Self = Self { protocol: "http/1.1", old: false };
    pub(crate) const HTTP_2: Self = Self { protocol: "h2", old: false };
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

pub(crate) struct Client {
    pub(crate) agreed: String,
    authority: String,
    sender: Sender,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// Returns when the server has ended the connection, and how.
    pub(crate) async fn ended(self) -> hyper::Result<()> {
        self.connection.await.unwrap()
    }
}

async fn shake(server: &Server, root: &str, host: &str, wanted: Wanted) -> Result<TlsStream<TcpStream>, Failed> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let versions = if wanted.old { [&TLS12] } else { [&TLS13] };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![wanted.protocol.into()];
    let stream = TcpStream::connect(format!("127.0.0.1:{}", server.port())).await?;
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

/// Connects to the server, as `host`.
pub(crate) async fn connect(server: &Server, root: &str, host: &str, wanted: Wanted) -> Result<Client, Failed> {
    let stream = shake(server, root, host, wanted).await?;
    let agreed = String::from_utf8(stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec())?;
    let authority = format!("{host}:{}", server.port());
    let (sender, connection) = if agreed == "h2" {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        (Sender::Two(sender), tokio::spawn(connection))
    } else {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        (Sender::One(sender), tokio::spawn(connection))
    };
    Ok(Client { agreed, authority, sender, connection })
}

/// Status and body of an answer.
pub(crate) async fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Result<(u16, String), Failed> {
    let mut request = http::Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let authority = &client.authority;
    let answer = match &mut client.sender {
        Sender::One(sender) => {
            let request = request.uri(path).header("host", authority).body(Body::empty())?;
            sender.ready().await?;
            sender.send_request(request).await?
        }
        Sender::Two(sender) => {
            let request = request.uri(format!("https://{authority}{path}")).body(Body::empty())?;
            sender.ready().await?;
            sender.send_request(request).await?
        }
    };
    let status = answer.status().as_u16();
    Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
}

/// The certificate that is shown to a newcomer who trusts `root`, in PEM.
pub(crate) async fn shown_to(server: &Server, root: &str) -> Result<String, Failed> {
    let stream = shake(server, root, "localhost", Wanted::HTTP_1).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or("nothing was shown")?;
    let known = CertificateDer::from_pem_slice(root.as_bytes())?;
    if *shown == known { Ok(root.to_owned()) } else { Err("another certificate was shown".into()) }
}
