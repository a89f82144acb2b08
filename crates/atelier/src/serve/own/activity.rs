//! What people and programs do in a notebook, and when it would stop for want of it.

use atelier_core::activity::{Finding, Reading, Verdict};
use atelier_engine::NotebookActivity;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/atelier/v1/{project_id}/notebooks/{id}/activity", get(activity))
}

/// Looks at a running notebook now, and tells what every signal says.
async fn activity(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = call.notebook()?;
    let known = own.engine.activity(&call.caller, id).await.map_err(call.refused())?;
    Ok(Json(shape(&id.to_string(), &known)))
}

fn shape(id: &str, known: &NotebookActivity) -> Value {
    let (report, lease) = (&known.report, known.lease);
    let reasons = match &report.verdict {
        Verdict::Active(why) | Verdict::Unknown(why) => why.clone(),
        Verdict::Idle(_) => Vec::new(),
    };
    json!({
        "notebook_id": id,
        "verdict": report.verdict.as_str(),
        "reasons": reasons,
        "last_activity_at": report.last_activity.as_millis(),
        "looked_at": report.looked_at.as_millis(),
        "lease_type": lease.kind().as_str(),
        "stops_at": lease.expiry().map(atelier_core::Timestamp::as_millis),
        "signals": report.findings.iter().map(signal).collect::<Vec<_>>(),
    })
}

fn signal(finding: &Finding) -> Value {
    let reason = match &finding.reading {
        Reading::Active(why) | Reading::Unknown(why) => Some(why.as_str()),
        Reading::Quiet => None,
    };
    json!({
        "signal": finding.signal.as_str(),
        "state": finding.reading.as_str(),
        "reason": reason,
        "value": finding.value,
        "threshold": finding.threshold,
        "last_active_at": finding.last_active.map(atelier_core::Timestamp::as_millis),
    })
}
