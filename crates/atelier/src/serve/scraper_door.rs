//! The address of its own where figures are given to everybody who can connect to it: `metrics.listen`.
//!
//! It speaks of nothing else, asks nobody who they are, and takes a few connections at a time, so that nothing that
//! happens here is felt at the one door.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::seeing::{Scrape, metrics};

/// Connections at a time.
const PLACES: usize = 16;
/// How long somebody may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long accepting pauses when the machine has nothing left for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(super) async fn serve(listener: TcpListener, scrape: Arc<Scrape>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "figures are at http://{address}/metrics");
    }
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        let place = places.clone().acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let scrape = scrape.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let scrape = scrape.clone();
            async move { Ok::<_, Infallible>(answer(&request, &scrape).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _place = place;
            // Whoever takes longer comes back.
            let _ = connection.await;
        });
    }
}

async fn answer(request: &Request<Incoming>, scrape: &Scrape) -> Response<Body> {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD) && request.uri().path() == "/metrics";
    let (status, content_type, body) = if asks {
        (StatusCode::OK, metrics::CONTENT_TYPE, Body::from(scrape.text().await))
    } else {
        (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Body::from("the figures are at /metrics\n"))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
