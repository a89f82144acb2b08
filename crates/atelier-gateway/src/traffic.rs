//! What passes through the gateway, in numbers: requests, bytes each way, open sockets.
//!
//! Counted as it passes and not at the end, since a socket may be open for days. A count costs one addition to a number
//! that nobody waits for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visited {
    /// A request and its answer.
    Http,
    /// A WebSocket.
    Socket,
}

impl Visited {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Http, Self::Socket];

    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socket => "websocket",
        }
    }
}

/// The hundreds of an answer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 1xx: a WebSocket that opened.
    Switched,
    /// 2xx.
    Good,
    /// 3xx.
    Redirected,
    /// 4xx.
    Refused,
    /// 5xx.
    Failed,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Switched, Self::Good, Self::Redirected, Self::Refused, Self::Failed];

    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Switched => "1xx",
            Self::Good => "2xx",
            Self::Redirected => "3xx",
            Self::Refused => "4xx",
            Self::Failed => "5xx",
        }
    }

    fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Switched,
            2 => Self::Good,
            3 => Self::Redirected,
            4 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// The numbers.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: [[AtomicU64; 5]; 2],
    up: AtomicU64,
    down: AtomicU64,
    open: AtomicU64,
}

impl Traffic {
    /// Requests of this kind that were answered like this.
    pub fn requests(&self, kind: Visited, class: Class) -> u64 {
        self.requests[kind as usize][class as usize].load(Ordering::Relaxed)
    }

    /// Bytes of bodies and sockets that went up to notebooks.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes of bodies and sockets that came down from notebooks.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Sockets that are open.
    pub fn open_sockets(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, kind: Visited, status: StatusCode) {
        self.requests[kind as usize][Class::of(status) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a socket as open until what is returned is dropped.
    pub(crate) fn open(&self) -> OpenSocket<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenSocket(&self.open)
    }
}

pub(crate) struct OpenSocket<'t>(&'t AtomicU64);

impl Drop for OpenSocket<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// A body whose bytes are counted as they pass.
pub(crate) struct Counted {
    inner: Body,
    traffic: Arc<Traffic>,
    upwards: bool,
}

impl Counted {
    /// On its way up to a notebook.
    pub(crate) const fn up(inner: Body, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic, upwards: true }
    }

    /// On its way down to a visitor.
    pub(crate) const fn down(inner: Body, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic, upwards: false }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            count(if self.upwards { &self.traffic.up } else { &self.traffic.down }, bytes.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The visitor's side of a socket: what is read from it goes up, what is written to it came down.
pub(crate) struct CountedIo<'t, I> {
    inner: I,
    traffic: &'t Traffic,
}

impl<'t, I> CountedIo<'t, I> {
    pub(crate) const fn new(inner: I, traffic: &'t Traffic) -> Self {
        Self { inner, traffic }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CountedIo<'_, I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        count(&self.traffic.up, buf.filled().len() - before);
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for CountedIo<'_, I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            count(&self.traffic.down, *written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_as_they_pass_in_their_direction() {
        let traffic = Arc::new(Traffic::default());
        let _ = Body::new(Counted::up(Body::from("12345"), traffic.clone())).collect().await.unwrap();
        let _ = Body::new(Counted::down(Body::from("123"), traffic.clone())).collect().await.unwrap();
        assert_eq!((traffic.up(), traffic.down()), (5, 3));
        let (mut visitor, gateway) = tokio::io::duplex(64);
        let mut counted = CountedIo::new(gateway, &traffic);
        visitor.write_all(b"ab").await.unwrap();
        counted.read_exact(&mut [0; 2]).await.unwrap();
        counted.write_all(b"abcd").await.unwrap();
        assert_eq!((traffic.up(), traffic.down()), (7, 7));
    }

    #[test]
    fn a_socket_is_open_until_it_is_let_go_and_answers_have_their_class() {
        let traffic = Traffic::default();
        let (one, two) = (traffic.open(), traffic.open());
        assert_eq!(traffic.open_sockets(), 2);
        drop((one, two));
        assert_eq!(traffic.open_sockets(), 0);
        traffic.answered(Visited::Socket, StatusCode::SWITCHING_PROTOCOLS);
        traffic.answered(Visited::Http, StatusCode::FORBIDDEN);
        assert_eq!(traffic.requests(Visited::Socket, Class::Switched), 1);
        assert_eq!(traffic.requests(Visited::Http, Class::Refused), 1);
        assert_eq!(traffic.requests(Visited::Http, Class::Good), 0);
    }
}
