//! The listening socket: connections in, within limits, and their end.
//!
//! A client that opens connections and says nothing, or says it one byte at a time, holds one of a bounded number of
//! places for a bounded time only. A connection that was upgraded (a WebSocket) is the gateway's from then on and
//! holds no place. What is spoken on a connection is [`speech`]'s business.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::{Ends, Front};
use super::speech::{Speech, Turn};
use crate::config::Limits;

/// How long accepting pauses when the machine has no descriptors or memory for one more.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`, then gives what is in flight its time.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    front: Front,
    limits: &Limits,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let end = CancellationToken::new();
    let speech = Speech { front, tls, head: limits.head, turn: Turn { drain: stop.clone(), end: end.clone() } };
    let connections = TaskTracker::new();
    while let Some((stream, ends, place)) = next(&listener, &places, &stop).await {
        let speech = speech.clone();
        connections.spawn(async move {
            speech.hold(stream, ends).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    tracing::info!(connections = connections.len(), "draining");
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!("requests were still in flight at the end of `limits.drain_seconds`; they are broken off");
        end.cancel();
        connections.wait().await;
    }
}

/// The next connection; `None` when the server stops.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, Ends, OwnedSemaphorePermit)> {
    loop {
        let accepted = stop.run_until_cancelled(async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        });
        let (accepted, place) = accepted.await?;
        let arrived = accepted.and_then(|(stream, peer)| {
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok((stream, Ends { peer, local, secure: false }))
        });
        match arrived {
            Ok((stream, ends)) => return place.ok().map(|place| (stream, ends, place)),
            Err(e) if concerns_one_connection(&e) => {}
            Err(e) => {
                tracing::error!("connections cannot be accepted: {e}");
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await?;
            }
        }
    }
}

fn concerns_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::NotConnected | K::InvalidInput
    )
}
