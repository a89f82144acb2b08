//! What happened to notebooks: as a list, and live.
//!
//! Live events are Server-Sent Events. Each has its id; a reader that lost the connection names the last one that it saw
//! (`Last-Event-ID`, which browsers send by themselves, or `after`) and misses none and sees none twice, because events
//! have one order and the stream is nothing but the list read on, again whenever something was committed.
//!
//! A reader costs one page of memory. One that takes nothing for half a minute is cut and counted; it comes back with the
//! last id that it saw. While nothing happens a comment is sent now and then, so that neither side takes the other for
//! dead, and the reader's proof is looked at again: a revoked token ends the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_core::caller::Caller;
use atelier_core::event::NotebookEvent;
use atelier_core::id::{EventId, NotebookId};
use atelier_core::{Code, Refusal};
use atelier_engine::Engine;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::seeing::Metrics;
use super::call::{Call, Refused, Standing};
use super::{Own, streamed};

/// Events that are answered at once when nothing else is asked for, and at most.
const USUAL: u32 = 1000;
const MOST: u32 = 1000;
/// Events that are read at a time for a live reader.
const PAGE: u32 = 100;
/// How long nothing is said to a live reader.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a live reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/events", get(of_project))
        .route("/atelier/v1/{project_id}/notebooks/{id}/events", get(of_notebook))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    follow: bool,
}

/// The caller's notebooks; for administrators, everybody's in the project.
async fn of_project(State(own): State<Own>, call: Call) -> Result<Response, Refused> {
    answer(own, call, None).await
}

/// One notebook.
async fn of_notebook(State(own): State<Own>, call: Call) -> Result<Response, Refused> {
    let id = call.notebook()?;
    answer(own, call, Some(id)).await
}

async fn answer(own: Own, call: Call, notebook: Option<NotebookId>) -> Result<Response, Refused> {
    let wanted: Wanted = call.query()?;
    let limit = wanted.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        let message = format!("query parameter `limit` must be 1 to {MOST}");
        return Err(call.refused()(Refusal::new(Code::BadQuery, message)));
    }
    let last_seen = call.header("last-event-id").map(str::to_owned).or(wanted.after);
    let after = last_seen.filter(|id| !id.is_empty()).map(|id| place(&id)).transpose().map_err(call.refused())?;
    let source =
        Events { engine: own.engine.clone(), caller: call.caller.clone(), everybodys: call.administers(), notebook };
    let first = source.page(after, limit).await.map_err(call.refused())?;
    let live = wanted.follow || call.header("accept").is_some_and(|types| types.contains("text/event-stream"));
    if !live {
        return Ok(Json(json!({"events": first.iter().map(shown).collect::<Vec<_>>()})).into_response());
    }
    let stream = Live { source, after, stop: own.stop, metrics: own.metrics, standing: call.standing(&own.iam) };
    let body = streamed(|out| stream.send(out));
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}

fn place(id: &str) -> Result<EventId, Refusal> {
    id.parse().map_err(|_| Refusal::new(Code::BadQuery, "query parameter `after` must be an event's id"))
}

fn shown(event: &NotebookEvent) -> Value {
    json!({
        "id": event.id.to_string(),
        "notebook_id": event.notebook_id.to_string(),
        "at": event.at.as_millis(),
        "what": event.what,
        "actor": event.origin.actor.to_string(),
        "request_id": event.origin.request_id,
        "why": event.why,
    })
}

/// What may be read by this caller.
struct Events {
    engine: Engine,
    caller: Caller,
    everybodys: bool,
    notebook: Option<NotebookId>,
}

impl Events {
    async fn page(&self, after: Option<EventId>, limit: u32) -> Result<Vec<NotebookEvent>, Refusal> {
        match self.notebook {
            Some(id) => self.engine.events(&self.caller, id, after, limit).await,
            None => self.engine.project_events(&self.caller, self.everybodys, after, limit).await,
        }
    }

    /// The same for somebody who was let in: the last events of a notebook are written when it is gone.
    async fn next(&self, after: Option<EventId>) -> Result<Vec<NotebookEvent>, Refusal> {
        match self.notebook {
            Some(id) => self.engine.history(id, after, PAGE).await,
            None => self.page(after, PAGE).await,
        }
    }

    fn is_complete(&self) -> bool {
        self.notebook.is_some_and(|id| self.engine.route(id).is_none())
    }
}

/// A live reader.
struct Live {
    source: Events,
    after: Option<EventId>,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    standing: Standing,
}

/// Why a stream ends.
enum End {
    /// Its reader went away, the server stops, the notebook is gone, or the token counts no longer.
    Over,
    /// Its reader did not keep up.
    Slow,
}

impl Live {
    async fn send(mut self, out: mpsc::Sender<Bytes>) {
        self.metrics.streams.inc();
        let stop = self.stop.clone();
        let ended = stop.run_until_cancelled(self.go_on(&out)).await;
        self.metrics.streams.dec();
        if let Some(End::Slow) = ended {
            self.metrics.streams_cut.inc();
        }
    }

    async fn go_on(&mut self, out: &mpsc::Sender<Bytes>) -> End {
        // Before the first look, so that nothing between the look and the wait is missed.
        let mut changes = self.source.engine.route_changes();
        let mut proved = Instant::now();
        loop {
            changes.mark_unchanged();
            let complete = self.source.is_complete();
            if let Err(end) = self.catch_up(out).await {
                return end;
            }
            if complete {
                return End::Over;
            }
            if proved.elapsed() >= SILENCE {
                if !self.standing.holds().await {
                    return End::Over;
                }
                proved = Instant::now();
            }
            let news = tokio::select! {
                () = out.closed() => return End::Over,
                news = tokio::time::timeout(SILENCE, changes.changed()) => news,
            };
            match news {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Over,
                Err(_) => {
                    if let Err(end) = say(out, Bytes::from_static(b": still here\n\n")).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends everything that is new.
    async fn catch_up(&mut self, out: &mpsc::Sender<Bytes>) -> Result<(), End> {
        loop {
            let Ok(page) = self.source.next(self.after).await else { return Err(End::Over) };
            let Some(last) = page.last() else { return Ok(()) };
            self.after = Some(last.id);
            for event in &page {
                say(out, written(event)).await?;
            }
        }
    }
}

async fn say(out: &mpsc::Sender<Bytes>, piece: Bytes) -> Result<(), End> {
    out.send_timeout(piece, PATIENCE).await.map_err(|error| match error {
        mpsc::error::SendTimeoutError::Timeout(_) => End::Slow,
        mpsc::error::SendTimeoutError::Closed(_) => End::Over,
    })
}

/// One event on the stream. JSON has no line breaks outside texts, and escapes those within.
fn written(event: &NotebookEvent) -> Bytes {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.what, shown(event)).into()
}
