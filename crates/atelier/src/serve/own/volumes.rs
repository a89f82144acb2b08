//! Volumes: those of notebooks, and those that rest in the trash, which can be restored or removed for good.
//!
//! A notebook has one volume, and a volume is named by its notebook, also where several have the same one.

use atelier_core::filling::Filling;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::volume::ShareUri;
use atelier_core::{Code, Refusal};
use atelier_engine::{InTrash, ListNotebooks, Whose};
use atelier_runtime::{Lost, SharedStorage};
use atelier_store::{NotebookFilter, SortKey};
use axum::extract::State;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/volumes", get(list))
        .route("/atelier/v1/{project_id}/volumes/{id}", delete(discard))
        .route("/atelier/v1/{project_id}/volumes/{id}/restore", post(restore))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    trash: bool,
    #[serde(default)]
    all: bool,
}

/// The caller's volumes, or everybody's: in use, or in the trash with what nobody knows.
async fn list(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let wanted: Wanted = call.query()?;
    let whose = call.asked(wanted.all)?;
    let volumes = if wanted.trash { in_trash(&own, &call, whose).await } else { in_use(&own, &call, whose).await };
    Ok(Json(json!({"volumes": volumes.map_err(call.refused())?})))
}

async fn in_use(own: &Own, call: &Call, whose: Whose) -> Result<Vec<Value>, Refusal> {
    let wanted = ListNotebooks {
        filter: NotebookFilter::NONE,
        sort_key: SortKey::Name,
        then_by: Vec::new(),
        descending: false,
        offset: 0,
        limit: u32::MAX,
    };
    let page = if whose == Whose::Everybodys {
        own.engine.list_all(&call.caller, None, wanted).await?
    } else {
        own.engine.list(&call.caller, wanted).await?
    };
    Ok(page.items.iter().map(|notebook| used(notebook, own.engine.filling(notebook.id))).collect())
}

async fn in_trash(own: &Own, call: &Call, whose: Whose) -> Result<Vec<Value>, Refusal> {
    let mut volumes: Vec<_> = own.engine.trash(&call.caller, whose).await?.iter().map(resting).collect();
    if whose == Whose::Everybodys {
        volumes.extend(own.engine.lost().await?.iter().map(lost));
        volumes.extend(own.engine.lost_shared_volumes().await?.iter().map(lost_shared));
    }
    Ok(volumes)
}

/// How full it is, is known of those that run.
fn used(notebook: &Notebook, filling: Option<Filling>) -> Value {
    let mut shown = described(notebook, "IN_USE");
    if let Some(filling) = filling {
        shown["used"] = full(filling);
    }
    shown
}

/// How full a volume is.
pub(super) fn full(Filling { bytes, inodes }: Filling) -> Value {
    json!({
        "bytes": bytes.used, "bytes_total": bytes.total, "bytes_percent": bytes.percent(),
        "inodes": inodes.used, "inodes_total": inodes.total, "inodes_percent": inodes.percent(),
    })
}

fn described(notebook: &Notebook, state: &str) -> Value {
    json!({
        "id": notebook.volume.id.to_string(),
        "notebook_id": notebook.id.to_string(),
        "name": notebook.name,
        "owner": notebook.owner.user_name,
        "project_id": notebook.project_id.to_string(),
        "category": notebook.volume.category(),
        "ownership": notebook.volume.ownership(),
        "uri": notebook.volume.uri().map(ShareUri::as_str),
        "capacity": notebook.volume.capacity_gib(),
        "state": state,
    })
}

fn resting(volume: &InTrash) -> Value {
    let mut shown = described(&volume.notebook, if volume.leaves { "LEAVES" } else { "IN_TRASH" });
    shown["disk_bytes"] = volume.bytes.into();
    shown["deleted_at"] = volume.since.as_millis().into();
    shown["leaves_at"] = volume.until.as_millis().into();
    shown
}

fn lost(lost: &Lost) -> Value {
    json!({
        "notebook_id": lost.notebook.to_string(),
        "state": "LOST",
        "disk_bytes": lost.bytes,
        "place": lost.place,
    })
}

fn lost_shared(lost: &SharedStorage) -> Value {
    json!({
        "id": lost.id.to_string(),
        "category": "EFS",
        "ownership": "MANAGED",
        "state": "LOST",
        "disk_bytes": lost.bytes,
        "place": lost.place,
    })
}

fn notebook(call: &Call) -> Result<NotebookId, Refused> {
    let missing = || format!("there is no volume of notebook `{}` in the trash", call.shown_id());
    call.id.parse().map_err(|_| call.refused()(Refusal::new(Code::NotFound, missing())))
}

/// Makes the notebook be there again, STOPPED, under its name or the one in the body.
async fn restore(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let id = notebook(&call)?;
    let name = match call.object()?.get("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(call.refused()(Refusal::wrong_type("name", "a string"))),
    };
    let restored = own.engine.restore(&call.caller, call.whose(), call.request_id(), id, name).await;
    let notebook = restored.map_err(call.refused())?;
    let mut shown = described(&notebook, "IN_USE");
    shown["status"] = notebook.status().as_str().into();
    Ok(Json(json!({"volume": shown})))
}

/// Removes a volume for good.
async fn discard(State(own): State<Own>, call: Call) -> Result<StatusCode, Refused> {
    let id = notebook(&call)?;
    let removed = own.engine.discard_volume(&call.caller, call.whose(), call.request_id(), id).await;
    removed.map_err(call.refused())?;
    Ok(StatusCode::NO_CONTENT)
}
