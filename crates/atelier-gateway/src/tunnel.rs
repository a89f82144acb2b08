//! What a connection is after its upgrade: bytes, both ways, not looked at.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

/// Bytes on their way in one direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Copies until both sides have ended, or the notebook's start is over. Then both sockets close, in the middle of a
/// frame if need be: a clean close would have to be put between two frames of somebody else's stream.
pub(crate) fn spawn(visitor: OnUpgrade, server: OnUpgrade, ended: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            result = copy(visitor, server) => match result {
                Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
                Err(error) => tracing::debug!(error = %error, "a tunnel broke"),
            },
            () = ended.cancelled() => tracing::debug!("a tunnel was cut: its notebook was stopped or restarted"),
        }
    });
}

async fn copy(visitor: OnUpgrade, server: OnUpgrade) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> {
    let (visitor, server) = tokio::try_join!(visitor, server)?;
    let (mut visitor, mut server) = (TokioIo::new(visitor), TokioIo::new(server));
    Ok(tokio::io::copy_bidirectional_with_sizes(&mut visitor, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?)
}
