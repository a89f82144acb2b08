//! What is spoken on a connection: TLS or not, then HTTP/1.1 or HTTP/2, until either side has had enough.
//!
//! HTTP/1.1 guards itself: the head of each request has its time. HTTP/2 needs more guards, as one connection carries
//! many requests and a client can make work with little of its own:
//!
//! * streams at a time, bytes of a head, and bytes waiting for a slow reader are bounded;
//! * a client that opens streams and resets them at once, or breaks the protocol over and over, loses the connection
//!   (CVE-2023-44487), and every stream passes the same throttle as a request of HTTP/1.1;
//! * a client that has fallen silent, or stops in the middle of a head, does not answer pings and loses the connection;
//! * a connection on which nothing is asked for is closed, sooner when nothing was ever asked.
//!
//! When the server stops, HTTP/2 says GOAWAY and answers what is in hand, as HTTP/1.1 answers and closes.
//!
//! On a port with TLS, somebody may speak plain HTTP, by mistake in an address. The first byte tells; the answer is a 400
//! that says so, because silence and garbage help nobody.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use atelier_core::{Code, Refusal};
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::front::{Ends, Front};
use super::in_hand::InHand;
use super::tls::HTTP_2;

/// Requests at a time on one connection.
const STREAMS: u32 = 128;
/// Bytes of a request's head: what HTTP/1.1 servers usually take.
const HEAD_BYTES: u32 = 32 * 1024;
/// Bytes of an answer that wait for a slow reader, for each request.
const WAITING_BYTES: usize = 128 * 1024;
/// Streams that were reset before they were looked at, and ones that broke the protocol: more end the connection.
const RESETS: usize = 20;
const ERRORS: usize = 100;
/// How often a client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection stays on which nothing is asked for.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// The first byte of TLS: a record with a handshake.
const HANDSHAKE: u8 = 0x16;

/// How connections are spoken with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Speech {
    pub(super) front: Front,
    /// What shakes hands, on a port with TLS.
    pub(super) tls: Option<TlsAcceptor>,
    /// How long a client may take to say what it wants.
    pub(super) head: Duration,
    pub(super) turn: Turn,
}

/// What the server wants of its connections.
#[derive(Clone)]
pub(super) struct Turn {
    /// Connections end after the requests in flight.
    pub(super) drain: CancellationToken,
    /// Connections end now.
    pub(super) end: CancellationToken,
}

/// Why a conversation broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing was said in time")]
    Silent,
}

impl Speech {
    /// Speaks until the end of the connection.
    pub(super) async fn hold(&self, stream: TcpStream, ends: Ends) {
        if let Err(error) = self.speak(stream, ends).await {
            tracing::debug!(peer = %ends.peer, "connection of {} ended: {error}", ends.peer);
        }
    }

    async fn speak(&self, stream: TcpStream, ends: Ends) -> Result<(), Broken> {
        let Some(tls) = &self.tls else { return self.http1(stream, ends).await };
        let Some(met) = self.turn.drain.run_until_cancelled(self.meet(tls, stream)).await else { return Ok(()) };
        match met? {
            Met::Plain(stream) => self.correct(stream).await,
            Met::Secure(stream) => {
                let ends = Ends { secure: true, ..ends };
                if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
                    self.http2(*stream, ends).await
                } else {
                    self.http1(*stream, ends).await
                }
            }
        }
    }

    /// Shakes hands with those who want to.
    async fn meet(&self, tls: &TlsAcceptor, stream: TcpStream) -> Result<Met, Broken> {
        let meeting = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            if first[0] != HANDSHAKE {
                return Ok(Met::Plain(stream));
            }
            Ok(Met::Secure(Box::new(tls.accept(stream).await?)))
        };
        Ok(tokio::time::timeout(self.head, meeting).await.map_err(|_| Broken::Silent)??)
    }

    async fn http1<S>(&self, stream: S, ends: Ends) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = self.front.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let front = front.clone();
            async move { Ok::<_, Infallible>(front.answer(request.map(Body::new), ends).await) }
        });
        let connection = self.builder().serve_connection(TokioIo::new(stream), service).with_upgrades();
        let shut = http1::UpgradeableConnection::graceful_shutdown;
        Ok(self.until_end(connection, shut, std::future::pending()).await?)
    }

    async fn http2<S>(&self, stream: S, ends: Ends) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let in_hand = InHand::default();
        let (front, counted) = (self.front.clone(), in_hand.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, one) = (front.clone(), counted.one_more());
            async move { Ok::<_, Infallible>(one.until_sent(front.answer(request.map(Body::new), ends).await)) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES)
            .max_send_buf_size(WAITING_BYTES)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(ERRORS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            .serve_connection(TokioIo::new(stream), service);
        let shut = http2::Connection::graceful_shutdown;
        Ok(self.until_end(connection, shut, in_hand.idle(self.head, IDLE_LIMIT)).await?)
    }

    /// Tells somebody who speaks plain HTTP here what to do.
    async fn correct(&self, stream: TcpStream) -> Result<(), Broken> {
        let front = self.front.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let answer = front.refuse(&Refusal::new(
                Code::BadRequest,
                "this port speaks TLS; the address must begin with `https://`",
            ));
            async move { Ok::<Response<Body>, Infallible>(answer) }
        });
        let connection = self.builder().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        let shut = http1::Connection::graceful_shutdown;
        Ok(self.until_end(connection, shut, std::future::pending()).await?)
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head);
        builder
    }

    /// Serves until the client goes, the server stops, or `idle` says that nobody wants anything. `shut`: answers what is
    /// in hand, and takes no more.
    async fn until_end<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        shut: impl FnOnce(Pin<&mut C>),
        idle: impl Future<Output = ()>,
    ) -> hyper::Result<()> {
        let mut connection = std::pin::pin!(connection);
        let patience = tokio::select! {
            spoken = connection.as_mut() => return spoken,
            () = self.turn.drain.cancelled() => None,
            () = idle => Some(self.head),
        };
        shut(connection.as_mut());
        let ending = async {
            match patience {
                None => connection.await,
                Some(patience) => tokio::time::timeout(patience, connection).await.unwrap_or(Ok(())),
            }
        };
        self.turn.end.run_until_cancelled(ending).await.unwrap_or(Ok(()))
    }
}

/// Who came to a port with TLS.
enum Met {
    /// Somebody who knows what it is.
    Secure(Box<TlsStream<TcpStream>>),
    /// Somebody who does not.
    Plain(TcpStream),
}
