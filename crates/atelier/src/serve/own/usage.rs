//! What running notebooks use: processor time, memory, processes, GPUs, volume.

use std::time::Duration;

use atelier_engine::NotebookUsage;
use atelier_runtime::{GpuUsage, Process};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};
use super::volumes::full;

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/usage", get(all))
        .route("/atelier/v1/{project_id}/notebooks/{id}/usage", get(one))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    all: bool,
}

/// The caller's running notebooks, or everybody's.
async fn all(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let wanted: Wanted = call.query()?;
    let whose = call.asked(wanted.all)?;
    let usages = own.engine.usages(&call.caller, whose).await.map_err(call.refused())?;
    Ok(Json(json!({"usage": usages.iter().map(shown).collect::<Vec<_>>()})))
}

/// One of the caller's, with its processes: their command lines are nobody else's business.
async fn one(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let (usage, processes) = own.engine.notebook_usage(&call.caller, call.notebook()?).await.map_err(call.refused())?;
    let mut shown = shown(&usage);
    shown["running"] = processes.iter().map(process).collect();
    Ok(Json(shown))
}

fn shown(used: &NotebookUsage) -> Value {
    let NotebookUsage { notebook, at, usage, filling } = used;
    json!({
        "notebook_id": notebook.id.to_string(),
        "name": notebook.name,
        "owner": notebook.owner.user_name,
        "at": at.as_millis(),
        "cpu_micros": micros(usage.cpu),
        "cpu_limit_millis": notebook.flavor.cpu_millis,
        "memory": {"used": usage.memory.used, "peak": usage.memory.peak, "limit": usage.memory.limit},
        "processes": usage.processes,
        "gpus": usage.gpus.iter().map(gpu).collect::<Vec<_>>(),
        "volume": filling.map(full),
    })
}

fn gpu(gpu: &GpuUsage) -> Value {
    json!({
        "type": gpu.kind,
        "busy_percent": gpu.busy_percent,
        "memory": {"used": gpu.memory_used, "limit": gpu.memory},
    })
}

fn process(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "cpu_micros": micros(process.cpu),
        "memory": process.memory,
        "command": process.command,
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
