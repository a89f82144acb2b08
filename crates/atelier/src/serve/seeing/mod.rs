//! What can be seen of the server from outside: figures, the access log, the audit, traces.
//!
//! Every request passes here twice. On its way in it gets a [`Docket`]; on its way out, what was written there becomes a
//! figure, a line of the log, a span and, for a call that changes something, a record of the audit, which is on disk before
//! the answer goes out. The crates inside tell the rest through [`atelier_core::observe`]; [`Ears`] hears it.

mod access;
pub(super) mod audit;
mod ears;
pub(super) mod metrics;
mod process;
mod scrape;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use atelier_api::Docket;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};

pub(super) use self::audit::AuditDesk;
pub(super) use self::ears::Ears;
pub(super) use self::metrics::Metrics;
pub(super) use self::scrape::Scrape;
pub(super) use self::traces::{Receiver, Tracer};

/// Everything that looks on.
pub(super) struct Seeing {
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: AuditDesk,
    pub(super) tracer: Option<Arc<Tracer>>,
}

/// A request on its way.
pub(super) struct Arrival {
    pub(super) docket: Arc<Docket>,
    pub(super) method: Method,
    /// Without the query: tokens travel there.
    pub(super) path: String,
    pub(super) peer: SocketAddr,
    pub(super) began: Instant,
    /// A visit of a notebook is the gateway's to count and log.
    pub(super) is_visit: bool,
}

impl Seeing {
    /// Gives the request its docket.
    pub(super) fn arrive(&self, request: &mut Request<Body>, peer: SocketAddr, id: Arc<str>) -> Arrival {
        let docket = Docket::new(id);
        docket.goes_to(request.uri().path());
        if let Some(tracer) = &self.tracer {
            tracer.take_over(docket.request_id(), request.headers());
        }
        request.extensions_mut().insert(docket.clone());
        Arrival {
            docket,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            peer,
            began: Instant::now(),
            is_visit: false,
        }
    }

    /// Tells of the request that is answered now. Returns when what must be on disk is there.
    pub(super) async fn leave(&self, arrival: &Arrival, status: StatusCode, bytes: Option<u64>) {
        if arrival.is_visit {
            return;
        }
        if arrival.changes_something() {
            self.audit.record(arrival, status).await;
        }
        self.metrics.request(arrival.docket.operation(), status, arrival.began);
        if let Some(tracer) = &self.tracer {
            tracer.request(arrival, status);
        }
        access::log(arrival, status, bytes);
    }
}

impl Arrival {
    /// Whether this is a call of an operation that changes something, or would have.
    pub(super) fn changes_something(&self) -> bool {
        let reads = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        !reads && self.docket.operation().is_some()
    }
}

/// The bytes of the body, where they are known beforehand.
pub(super) fn length(response: &Response) -> Option<u64> {
    hyper::body::Body::size_hint(response.body()).exact()
}
