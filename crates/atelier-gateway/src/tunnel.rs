//! What a connection is after its upgrade: bytes, both ways, passed as they came. What the visitor sends is overheard on
//! its way (`frames`), to tell a person's work from a page's own chatter; nothing is held back or changed.
//!
//! One thing is put into a stream: when this server goes, so that another one takes its place, every notebook server is
//! told that its visitor leaves (a close with code 1012, "service restart"), between two frames of the visitor's. It
//! answers with the same close behind everything that it had to say, and that answer is what the visitor gets. So no
//! message is lost between the two: what was sent before has arrived, and what comes after is kept by the notebook
//! server for the visitor's return. Closing the visitor's side first, or simply ending, would lose what is on its way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::frames::Frames;
use crate::traffic::{CountedIo, Traffic};

/// Bytes on their way in one direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long all tunnels together may take to end well when the server goes: every visitor waits that long.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// A close with code 1012, as a visitor would send it: masked, here with zeroes.
const RESTART: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];

/// Is told how each message of the visitor begins.
pub(crate) type Ear = Box<dyn FnMut(&[u8]) + Send>;

/// Every tunnel of a gateway.
#[derive(Default)]
pub(crate) struct Tunnels {
    open: TaskTracker,
    leaving: CancellationToken,
}

impl Tunnels {
    /// Copies until both sides have ended, or the notebook's start is over. Then both sockets close, in the middle of a
    /// frame if need be: there is nobody who could come back.
    pub(crate) fn spawn(
        &self,
        visitor: OnUpgrade,
        server: OnUpgrade,
        ended: CancellationToken,
        ear: Option<Ear>,
        traffic: Arc<Traffic>,
    ) {
        let leaving = self.leaving.clone();
        self.open.spawn(async move {
            let _open = traffic.open();
            tokio::select! {
                result = copy(visitor, server, ear, leaving, &traffic) => match result {
                    Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
                    Err(error) => tracing::debug!(error = %error, "a tunnel broke"),
                },
                () = ended.cancelled() => tracing::debug!("a tunnel was cut: its notebook was stopped or restarted"),
            }
        });
    }

    /// Ends every tunnel so that its visitor can go on elsewhere without having missed a message.
    pub(crate) async fn leave(&self) {
        self.leaving.cancel();
        self.open.close();
        if tokio::time::timeout(LEAVE_LIMIT, self.open.wait()).await.is_err() {
            tracing::warn!(tunnels = self.open.len(), "some sockets of notebooks did not end in time, and are cut");
        }
    }
}

async fn copy(
    visitor: OnUpgrade,
    server: OnUpgrade,
    ear: Option<Ear>,
    leaving: CancellationToken,
    traffic: &Traffic,
) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> {
    let (visitor, server) = tokio::try_join!(visitor, server)?;
    let visitor = CountedIo::new(TokioIo::new(visitor), traffic);
    let mut visitor = Visitor::new(visitor, ear, leaving);
    let mut server = TokioIo::new(server);
    Ok(tokio::io::copy_bidirectional_with_sizes(&mut visitor, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?)
}

/// The visitor's side: its reading is overheard, and ends with [`RESTART`] when the server goes.
struct Visitor<S> {
    inner: S,
    frames: Frames,
    ear: Option<Ear>,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What of [`RESTART`] has not been read yet; `None` before it is due.
    farewell: Option<&'static [u8]>,
}

impl<S> Visitor<S> {
    fn new(inner: S, ear: Option<Ear>, leaving: CancellationToken) -> Self {
        Self { inner, frames: Frames::new(), ear, leaving: Box::pin(leaving.cancelled_owned()), farewell: None }
    }

    /// Reads the next part of the farewell, when one is due.
    fn part(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> bool {
        if self.farewell.is_none() && self.frames.are_whole() && self.leaving.as_mut().poll(cx).is_ready() {
            self.farewell = Some(&RESTART);
        }
        let Some(farewell) = self.farewell.filter(|left| !left.is_empty()) else { return false };
        let (now, later) = farewell.split_at(farewell.len().min(buf.remaining()));
        buf.put_slice(now);
        self.farewell = Some(later);
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Visitor<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.part(cx, buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let ended = buf.filled().len() == before;
            if this.farewell.is_some() && !ended {
                // Behind a close nothing counts, the visitor's own answer to it included.
                buf.set_filled(before);
                continue;
            }
            let mut ear = this.ear.as_mut();
            this.frames.take(&buf.filled()[before..], |beginning| {
                if let Some(ear) = &mut ear {
                    ear(beginning);
                }
            });
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Visitor<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
