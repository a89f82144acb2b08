//! Whether the server is well: for supervisors and people, without authentication. Causes go to the log only.

use atelier_runtime::RuntimeKind;
use atelier_wire::{Liveness, Readiness};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::Api;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process answers.
#[utoipa::path(
    get, path = "/healthz", operation_id = "Healthz", tag = "server", security(()),
    responses((status = 200, body = Liveness)),
)]
pub(crate) async fn healthz() -> Json<Liveness> {
    Json(Liveness { status: "ok".to_owned(), version: VERSION.to_owned() })
}

/// The store and the runtime answer: requests can be served.
#[utoipa::path(
    get, path = "/readyz", operation_id = "Readyz", tag = "server", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)),
)]
pub(crate) async fn readyz(State(api): State<Api>) -> Response {
    let kind = api.engine.runtime().kind();
    let people = async || api.iam.check().await.map_err(|cause| cause.to_string());
    let checked = match api.engine.check().await {
        Ok(()) => people().await,
        Err(cause) => Err(cause),
    };
    let shortage = api.engine.shortage().await;
    match checked {
        Ok(()) => (StatusCode::OK, Json(readiness(kind, None, shortage))).into_response(),
        Err(cause) => {
            tracing::warn!("not ready: {cause}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(readiness(kind, Some(REASON), shortage))).into_response()
        }
    }
}

const REASON: &str = "the store or the runtime does not answer; the cause is in the server's log";

/// A shortage of room is a note: stopping, deleting and everything that reads still works, so nobody is sent away.
fn readiness(kind: RuntimeKind, reason: Option<&str>, shortage: Option<String>) -> Readiness {
    let simulated = match kind {
        RuntimeKind::Local => None,
        RuntimeKind::Simulated => Some("simulated: notebooks only seem to run, nothing is executed".to_owned()),
    };
    let notes: Vec<_> = simulated.into_iter().chain(shortage).collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Readiness {
        status: if reason.is_none() { "ready" } else { "not ready" }.to_owned(),
        version: VERSION.to_owned(),
        runtime: kind.as_str().to_owned(),
        reason: reason.map(str::to_owned),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_runtime_says_what_it_is() {
        let simulated = readiness(RuntimeKind::Simulated, None, None);
        assert_eq!((simulated.status.as_str(), simulated.runtime.as_str()), ("ready", "simulated"));
        assert!(simulated.note.unwrap().starts_with("simulated"));
        let broken = readiness(RuntimeKind::Local, Some(REASON), None);
        assert_eq!((broken.status.as_str(), broken.note), ("not ready", None));
        let short = readiness(RuntimeKind::Simulated, None, Some("the disk".to_owned()));
        assert_eq!(short.status, "ready");
        assert!(short.note.unwrap().ends_with("; the disk"));
    }
}
