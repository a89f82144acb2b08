//! What only Atelier has, below `/atelier/v1/{project_id}`, and `/metrics`. Proofs and refusals are the API's. Each topic
//! is a file here with its routes; they meet in [`router`].

mod activity;
mod audit;
mod call;
mod capacity;
mod events;
mod exec;
mod figures;
mod images;
mod names;
mod notebooks;
mod operations;
mod usage;
mod users;
mod volumes;

use std::convert::Infallible;
use std::sync::Arc;

use atelier_engine::Engine;
use atelier_iam::Iam;
use atelier_store::audit::AuditStore;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use self::call::{Refused, no_such_api};
use super::runtime::Maker;
use super::seeing::{Metrics, Scrape};

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) engine: Engine,
    pub(super) iam: Arc<Iam>,
    pub(super) maker: Arc<dyn Maker>,
    pub(super) audit: Arc<dyn AuditStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) scrape: Arc<Scrape>,
    /// Ends what would go on for ever.
    pub(super) stop: CancellationToken,
}

pub(super) fn router(own: Own) -> Router {
    Router::new()
        .merge(notebooks::routes())
        .merge(activity::routes())
        .merge(images::routes())
        .merge(users::routes())
        .merge(events::routes())
        .merge(audit::routes())
        .merge(figures::routes())
        .merge(operations::routes())
        .merge(capacity::routes())
        .merge(volumes::routes())
        .merge(usage::routes())
        .merge(exec::routes())
        .fallback(async |request: Request| Refused::of(&request, no_such_api()))
        .method_not_allowed_fallback(async |request: Request| Refused::of(&request, no_such_api()))
        .layer(MapRequestLayer::new(|request: Request| {
            names::note(&request);
            request
        }))
        .with_state(own)
}

/// A body that `work` sends piece by piece.
fn streamed<F>(work: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (out, mut pieces) = mpsc::channel(16);
    tokio::spawn(work(out));
    let stream = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    Body::from_stream(futures_util::StreamExt::map(stream, Ok::<_, Infallible>))
}
