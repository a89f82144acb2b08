//! `/metrics`: figures for those who run the server.
//!
//! On the one door they are for administrators: they name nobody, but tell how much is done here and how well it goes. A
//! look at where a request comes from would not do instead of a proof, because behind a proxy on the same machine all of
//! them come from loopback. Whoever wants a scraper without a token gives it an address of its own, `metrics.listen`.

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;

use super::super::seeing::metrics;
use super::Own;
use super::call::Inspection;

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/metrics", get(show))
}

async fn show(State(own): State<Own>, _: Inspection) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], own.scrape.text().await)
}
