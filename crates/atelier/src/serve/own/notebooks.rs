//! A notebook's log, and its token.

use atelier_core::Refusal;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::super::log_tail::LogTail;
use super::call::{Call, Refused};
use super::{Own, streamed};

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/notebooks/{id}/logs", get(logs))
        .route("/atelier/v1/{project_id}/notebooks/{id}/token", post(replace_token))
}

/// The log of the notebook's server, and with `?follow=true` what is added to it.
async fn logs(State(own): State<Own>, call: Call) -> Result<Response, Refused> {
    let (id, wanted) = (call.notebook()?, call.query()?);
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

/// Gives the notebook a new token. Whoever came in by the old one is out, at once; the notebook runs on.
async fn replace_token(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = call.notebook()?;
    let replaced = own.engine.replace_token(&call.caller, call.request_id(), id).await;
    let notebook = replaced.map_err(call.refused())?;
    Ok(Json(json!({"id": id.to_string(), "token": notebook.token.expose_secret()})))
}
