//! What only Atelier has, below `/atelier/v1/{project_id}`: a notebook's log and history, and the making of images.
//! Proofs and refusals are the API's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atelier_core::id::{ImageId, NotebookId};
use atelier_core::limits::MAX_BODY_BYTES;
use atelier_core::{Caller, Code, Refusal};
use atelier_engine::Engine;
use atelier_iam::{Iam, IncomingRequest};
use atelier_runtime::Reporter;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts as _, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::front::{RequestId, refusal};
use super::log_tail::{LogTail, Wanted};
use super::runtime::Maker;

/// How long a body of at most 64 KiB may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// The longest history that is answered at once.
const MOST_EVENTS: u32 = 1000;

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) engine: Engine,
    pub(super) iam: Arc<Iam>,
    pub(super) maker: Arc<dyn Maker>,
    /// Ends what would go on for ever.
    pub(super) stop: CancellationToken,
}

pub(super) fn router(own: Own) -> Router {
    Router::new()
        .route("/atelier/v1/{project_id}/notebooks/{id}/logs", get(logs))
        .route("/atelier/v1/{project_id}/notebooks/{id}/events", get(events))
        .route("/atelier/v1/{project_id}/images/{id}/build", post(build))
        .fallback(async |request: Request| Refused::of(&request, no_such_api()))
        .method_not_allowed_fallback(async |request: Request| Refused::of(&request, no_such_api()))
        .with_state(own)
}

fn no_such_api() -> Refusal {
    Refusal::new(Code::NoSuchApi, "no such path, or not with this method")
}

/// A refusal and the request that it answers.
struct Refused(Refusal, Arc<str>);

impl Refused {
    fn of(request: &Request, refusal: Refusal) -> Self {
        Self(refusal, id_of(request.extensions()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(&self.0, &self.1)
    }
}

fn id_of(extensions: &http::Extensions) -> Arc<str> {
    extensions.get::<RequestId>().map_or_else(|| Arc::from(""), |id| id.0.clone())
}

/// An authenticated call in the caller's project.
struct Call {
    caller: Caller,
    request_id: Arc<str>,
    /// The last part of the path that stands for something.
    id: String,
}

impl Call {
    fn refused(&self) -> impl Fn(Refusal) -> Refused {
        let id = self.request_id.clone();
        move |refusal| Refused(refusal, id.clone())
    }

    fn notebook(&self) -> Result<NotebookId, Refused> {
        let unknown = |_| Refusal::no_notebook(&self.id.chars().take(64).collect::<String>());
        self.id.parse().map_err(unknown).map_err(self.refused())
    }
}

impl FromRequest<Own> for Call {
    type Rejection = Refused;

    async fn from_request(request: Request, own: &Own) -> Result<Self, Refused> {
        let request_id = id_of(request.extensions());
        let refused = |refusal| Refused(refusal, request_id.clone());
        let (mut parts, body) = request.into_parts();
        let body = read(body).await.map_err(refused)?;
        let peer = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
        let incoming = IncomingRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body: &body,
            from: peer.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip()),
        };
        let identity = own.iam.authenticate(&incoming).await.map_err(|e| refused(e.into()))?;
        let path = Path::<(String, String)>::from_request_parts(&mut parts, own).await;
        let Path((project, id)) = path.map_err(|_| refused(no_such_api()))?;
        let caller = own.iam.caller(&identity, &project).map_err(refused)?;
        Ok(Self { caller, request_id, id })
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let whole = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            Err(Refusal::new(Code::TooLarge, format!("the body must not be larger than {MAX_BODY_BYTES} bytes")))
        }
        Ok(Err(_)) | Err(_) => Err(Refusal::new(Code::BadRequest, "the body did not arrive whole and in time")),
    }
}

/// The log of the notebook's server, and with `?follow=true` what is added to it.
async fn logs(State(own): State<Own>, Query(wanted): Query<Wanted>, call: Call) -> Result<Response, Refused> {
    let id = call.notebook()?;
    own.engine.show(&call.caller, id).await.map_err(call.refused())?;
    let Some(file) = own.engine.runtime().log_file(id) else {
        let refusal = Refusal::unsupported(&format!("a log of the {} runtime", own.engine.runtime().kind()));
        return Err(call.refused()(refusal));
    };
    let engine = own.engine.clone();
    let tail = LogTail { file, wanted, is_there: Box::new(move || engine.route(id).is_some()), stop: own.stop };
    let body = streamed(|out| tail.send(out));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// What happened to the notebook, oldest first.
async fn events(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = call.notebook()?;
    let events = own.engine.events(&call.caller, id, None, MOST_EVENTS).await.map_err(call.refused())?;
    let event = |event: atelier_core::event::NotebookEvent| {
        json!({
            "id": event.id.to_string(),
            "at": event.at.as_millis(),
            "what": event.what,
            "actor": event.origin.actor.to_string(),
            "request_id": event.origin.request_id,
            "why": event.why,
        })
    };
    Ok(Json(json!({"events": events.into_iter().map(event).collect::<Vec<_>>()})))
}

/// Makes an image, telling how it goes: one JSON object in a line, the last one says how it ended.
async fn build(State(own): State<Own>, call: Call) -> Result<Response, Refused> {
    let images = own.engine.images().await.map_err(call.refused())?;
    let known = call.id.parse::<ImageId>().ok().filter(|id| images.iter().any(|image| image.id == *id));
    let Some(id) = known else {
        let shown: String = call.id.chars().take(64).collect();
        return Err(call.refused()(Refusal::new(Code::NotFound, format!("image `{shown}` does not exist"))));
    };
    let body = streamed(|out| async move {
        let reporter = Lines(out.clone());
        let made = own.stop.run_until_cancelled(own.maker.make(id, &reporter)).await;
        let last = match made {
            Some(Ok(())) => json!({"done": true}),
            Some(Err(e)) => json!({"error": e}),
            None => json!({"error": "the server is stopping"}),
        };
        // Whoever asked may have gone; the image is made all the same.
        let _ = out.send(line(&last)).await;
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Lines(mpsc::Sender<Bytes>);

impl Reporter for Lines {
    fn report(&self, text: &str) {
        // A reader who is slow misses some news, never the end.
        if self.0.capacity() > 1 {
            let _ = self.0.try_send(line(&json!({"doing": text})));
        }
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
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
