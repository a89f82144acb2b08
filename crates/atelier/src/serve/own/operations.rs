//! Operations: listed, shown, turned round, asked for again; and what the runtime has that nobody needs.

use atelier_core::id::OperationId;
use atelier_core::operation::{Operation, OperationKind, OperationState, StepRecord};
use atelier_core::status::Status;
use atelier_core::{Code, Refusal, Timestamp};
use atelier_engine::OperationView;
use atelier_store::OperationQuery;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};

/// The longest page.
const MOST: u32 = 100;

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/operations", get(list))
        .route("/atelier/v1/{project_id}/operations/{id}", get(show))
        .route("/atelier/v1/{project_id}/operations/{id}/cancel", post(cancel))
        .route("/atelier/v1/{project_id}/operations/{id}/retry", post(retry))
        .route("/atelier/v1/{project_id}/orphans", get(orphans))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    notebook: Option<String>,
    state: Option<String>,
    kind: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    all: bool,
}

impl Wanted {
    fn query(&self) -> Result<OperationQuery, Refusal> {
        let state =
            self.state.as_deref().map(|text| one_of("state", OperationState::ALL, OperationState::as_str, text));
        let kind = self.kind.as_deref().map(|text| one_of("kind", OperationKind::ALL, OperationKind::as_str, text));
        Ok(OperationQuery {
            notebook_id: self.notebook.as_deref().map(|text| id("notebook", text)).transpose()?,
            state: state.transpose()?,
            kind: kind.transpose()?,
            before: self.before.as_deref().map(|text| id("before", text)).transpose()?,
            limit: self.limit.unwrap_or(MOST).min(MOST),
            of: None,
        })
    }
}

fn one_of<T: Copy, const N: usize>(
    name: &str,
    all: [T; N],
    word: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T, Refusal> {
    all.into_iter().find(|one| word(*one) == text).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|one| format!("`{}`", word(*one))).collect();
        Refusal::new(Code::BadQuery, format!("`{name}` must be one of {}", known.join(", ")))
    })
}

fn id<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::new(Code::BadQuery, format!("`{name}` must be a UUID")))
}

fn operation_id(call: &Call) -> Result<OperationId, Refused> {
    let missing = || Refusal::new(Code::NotFound, format!("operation `{}` does not exist", call.shown_id()));
    call.id.parse().map_err(|_| call.refused()(missing()))
}

async fn list(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let wanted: Wanted = call.query()?;
    let whose = call.asked(wanted.all)?;
    let query = wanted.query().map_err(call.refused())?;
    let limit = query.limit as usize;
    let found = own.engine.operations(&call.caller, whose, query).await.map_err(call.refused())?;
    let next = (found.len() == limit).then(|| found.last().map(|view| view.operation.id.to_string())).flatten();
    Ok(Json(json!({"operations": found.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

async fn show(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = operation_id(&call)?;
    let view = own.engine.operation(&call.caller, call.whose(), id).await.map_err(call.refused())?;
    Ok(Json(shown(&view)))
}

async fn cancel(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = operation_id(&call)?;
    let view = own.engine.cancel_operation(&call.caller, call.whose(), call.request_id(), id).await;
    Ok(Json(shown(&view.map_err(call.refused())?)))
}

async fn retry(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = operation_id(&call)?;
    let view = own.engine.retry_operation(&call.caller, call.request_id(), id).await.map_err(call.refused())?;
    Ok(Json(shown(&view)))
}

/// What runs or lies here and belongs to no notebook.
async fn orphans(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    call.administrator()?;
    let lost = own.engine.lost().await.map_err(call.refused())?;
    let found = own.engine.orphans().into_iter().map(|orphan| {
        json!({
            "notebook_id": orphan.notebook.to_string(),
            "since": orphan.since.as_millis(),
            "stopped": orphan.stopped,
            "trouble": orphan.trouble,
        })
    });
    let lost = lost.into_iter().map(|lost| json!({"notebook_id": lost.notebook.to_string(), "place": lost.place}));
    Ok(Json(json!({"found": found.collect::<Vec<_>>(), "lost": lost.collect::<Vec<_>>()})))
}

fn shown(view: &OperationView) -> Value {
    let operation = &view.operation;
    let driver = view.driven_since.map(|since| json!({"pid": std::process::id(), "since": since.as_millis()}));
    let hanging = view.hanging.iter().map(|call| json!({"what": call.what, "since": call.since.as_millis()}));
    json!({
        "id": operation.id.to_string(),
        "notebook_id": operation.notebook_id.to_string(),
        "notebook_name": view.notebook_name,
        "notebook_status": view.status.map(Status::as_str),
        "kind": operation.kind.as_str(),
        "state": operation.state.as_str(),
        "actor": operation.origin.actor.to_string(),
        "request_id": operation.origin.request_id,
        "why": operation.why,
        "began_at": operation.began_at.as_millis(),
        "ended_at": operation.ended_at.map(Timestamp::as_millis),
        "duration_ms": duration(operation),
        "error": operation.error,
        "driver": driver,
        "step_deadline": view.step_deadline.map(Timestamp::as_millis),
        "deadline": view.deadline.map(Timestamp::as_millis),
        "next": view.next,
        "hanging": hanging.collect::<Vec<_>>(),
        "steps": operation.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn duration(operation: &Operation) -> Option<i64> {
    operation.ended_at.map(|end| end.millis_since(operation.began_at))
}

fn step(step: &StepRecord) -> Value {
    json!({
        "name": step.name.as_str(),
        "description": step.name.description(),
        "state": step.state.as_str(),
        "attempts": step.attempts,
        "began_at": step.began_at.map(Timestamp::as_millis),
        "ended_at": step.ended_at.map(Timestamp::as_millis),
        "duration_ms": step.began_at.zip(step.ended_at).map(|(began, ended)| ended.millis_since(began)),
        "note": step.note,
    })
}
