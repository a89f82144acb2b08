//! The listening socket: connections in, within limits, and their end.
//!
//! A client that opens connections and says nothing, or says it one byte at a time, holds one of a bounded number of
//! places for a bounded time only. A connection that was upgraded (a WebSocket) is the gateway's from then on and
//! holds no place.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::{Ends, Front};
use crate::config::Limits;

/// How long accepting pauses when the machine has no descriptors or memory for one more.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`, then gives what is in flight its time.
pub(super) async fn serve(listener: TcpListener, front: Front, limits: &Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let greeter = Greeter {
        front,
        head: limits.head,
        drain: stop.clone(),
        end: CancellationToken::new(),
        connections: TaskTracker::new(),
    };
    while let Some((stream, ends, place)) = next(&listener, &places, &stop).await {
        greeter.greet(stream, ends, place);
    }
    drop(listener);
    greeter.connections.close();
    tracing::info!(connections = greeter.connections.len(), "draining");
    if tokio::time::timeout(limits.drain, greeter.connections.wait()).await.is_err() {
        tracing::warn!("requests were still in flight at the end of `limits.drain_seconds`; they are broken off");
        greeter.end.cancel();
        greeter.connections.wait().await;
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
            Ok((stream, Ends { peer, local }))
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

/// Speaks with those who came in.
struct Greeter {
    front: Front,
    head: Duration,
    /// Connections end after the request in flight.
    drain: CancellationToken,
    /// Connections end now.
    end: CancellationToken,
    connections: TaskTracker,
}

impl Greeter {
    fn greet(&self, stream: TcpStream, ends: Ends, place: OwnedSemaphorePermit) {
        let front = self.front.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let front = front.clone();
            async move { Ok::<_, Infallible>(front.answer(request.map(Body::new), ends).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let (drain, end, peer) = (self.drain.clone(), self.end.clone(), ends.peer);
        self.connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let spoken = tokio::select! {
                spoken = connection.as_mut() => spoken,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    end.run_until_cancelled(connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = spoken {
                tracing::debug!(%peer, "connection of {peer} ended: {error}");
            }
            drop(place);
        });
    }
}
