//! What a connection is after its upgrade: bytes, both ways, passed as they came. Where a person's work is told from a
//! page's own chatter, what the visitor sends is overheard on its way (`frames`); nothing is held back or changed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::frames::Frames;
use crate::traffic::{CountedIo, Traffic};

/// Bytes on their way in one direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Is told how each message of the visitor begins.
pub(crate) type Ear = Box<dyn FnMut(&[u8]) + Send>;

/// Copies until both sides have ended, or the notebook's start is over. Then both sockets close, in the middle of a
/// frame if need be: a clean close would have to be put between two frames of somebody else's stream.
pub(crate) fn spawn(
    visitor: OnUpgrade,
    server: OnUpgrade,
    ended: CancellationToken,
    ear: Option<Ear>,
    traffic: Arc<Traffic>,
) {
    tokio::spawn(async move {
        let _open = traffic.open();
        tokio::select! {
            result = copy(visitor, server, ear, &traffic) => match result {
                Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
                Err(error) => tracing::debug!(error = %error, "a tunnel broke"),
            },
            () = ended.cancelled() => tracing::debug!("a tunnel was cut: its notebook was stopped or restarted"),
        }
    });
}

async fn copy(
    visitor: OnUpgrade,
    server: OnUpgrade,
    ear: Option<Ear>,
    traffic: &Traffic,
) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> {
    let (visitor, server) = tokio::try_join!(visitor, server)?;
    let visitor = CountedIo::new(TokioIo::new(visitor), traffic);
    let mut visitor = Overheard { inner: visitor, ear: ear.map(|ear| (Frames::new(), ear)) };
    let mut server = TokioIo::new(server);
    Ok(tokio::io::copy_bidirectional_with_sizes(&mut visitor, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?)
}

/// A socket whose reading is overheard.
struct Overheard<S> {
    inner: S,
    ear: Option<(Frames, Ear)>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some((frames, ear)) = &mut self.ear {
            frames.take(&buf.filled()[before..], ear);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
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
