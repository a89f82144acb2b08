//! The audit, for administrators: who changed what, or was refused; and whether the records are whole.

use atelier_core::id::{NotebookId, ProjectId, UserId};
use atelier_core::{Code, Refusal, Timestamp};
use atelier_store::audit::{AuditEntry, AuditQuery};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};

/// Records on a page when nothing else is asked for, and at most.
const USUAL: u32 = 100;
const MOST: u32 = 1000;

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/audit", get(list))
        .route("/atelier/v1/{project_id}/audit/verify", get(verify))
}

/// What may be asked for. Times are milliseconds since 1970.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A user's id or name.
    user: Option<String>,
    notebook: Option<String>,
    operation: Option<String>,
    from: Option<i64>,
    until: Option<i64>,
    before: Option<u64>,
    limit: Option<u32>,
}

impl Wanted {
    fn query(self, project_id: ProjectId) -> Result<AuditQuery, Refusal> {
        let wrong = |name: &str, wanted: &str| {
            Refusal::new(Code::BadQuery, format!("query parameter `{name}` must be {wanted}"))
        };
        let notebook = self.notebook.map(|id| id.parse::<NotebookId>()).transpose();
        let limit = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(wrong("limit", &format!("1 to {MOST}")));
        }
        let user_id = self.user.as_deref().and_then(|user| user.parse::<UserId>().ok());
        Ok(AuditQuery {
            project_id: Some(project_id),
            user_name: self.user.filter(|_| user_id.is_none()),
            user_id,
            notebook_id: notebook.map_err(|_| wrong("notebook", "a notebook's id"))?,
            operation: self.operation,
            from: self.from.map(Timestamp::from_millis),
            until: self.until.map(Timestamp::from_millis),
            before: self.before,
            limit,
        })
    }
}

/// A page of records, newest first. `next` is what to ask for as `before` to go on.
async fn list(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    call.administrator()?;
    let query = call.query::<Wanted>()?.query(call.caller.project_id.clone()).map_err(call.refused())?;
    let entries = own.audit.audit(&query).await.map_err(|e| failed(&e)).map_err(call.refused())?;
    let full = u32::try_from(entries.len()).is_ok_and(|len| len == query.limit);
    let next = entries.last().filter(|_| full).map(|entry| entry.seq);
    Ok(Json(json!({"records": entries.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

/// Whether every record is what it was when it was written.
async fn verify(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    call.administrator()?;
    let verdict = own.audit.verify_audit().await.map_err(|e| failed(&e)).map_err(call.refused())?;
    let head = verdict.head.map(|(seq, hash)| json!({"seq": seq, "hash": hex::encode(hash)}));
    let broken = verdict.broken.as_ref().map(|(seq, why)| json!({"seq": seq, "why": why}));
    Ok(Json(json!({
        "whole": broken.is_none(),
        "records": verdict.records,
        "first": verdict.first,
        "head": head,
        "broken": broken,
    })))
}

fn failed(error: &atelier_store::StoreError) -> Refusal {
    tracing::error!("{error}");
    Refusal::internal()
}

fn shown(entry: &AuditEntry) -> Value {
    let record = &entry.record;
    let changes = record.changes.iter();
    json!({
        "seq": entry.seq,
        "at": record.at.as_millis(),
        "user_id": record.user_id.as_ref().map(ToString::to_string),
        "user_name": record.user_name,
        "credential": record.source.credential.kind(),
        "access_key": record.source.credential.access_key(),
        "address": record.source.address.map(|address| address.to_string()),
        "operation": record.operation,
        "project_id": record.project_id.as_ref().map(ToString::to_string),
        "notebook_id": record.notebook_id.map(|id| id.to_string()),
        "target": record.target,
        "request_id": record.request_id,
        "status": record.status,
        "code": record.code,
        "changes": changes
            .map(|change| json!({"field": change.field, "before": change.before, "after": change.after}))
            .collect::<Vec<_>>(),
        "hash": hex::encode(entry.hash),
    })
}
