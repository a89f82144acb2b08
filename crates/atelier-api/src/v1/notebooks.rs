//! `CreateNotebook`, `ShowNotebook`, `DeleteNotebook`, `StartNotebook`, `StopNotebook`.

use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::shape;
use crate::v1::{create, lease};

/// Make a notebook and start it. The answer shows it in the status CREATING; ask until it is RUNNING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks", operation_id = "CreateNotebook", tag = "notebooks",
    params(("project_id" = String, Path)),
    request_body(content = wire::NotebookCreateRequest, example = json!({
        "name": "my-notebook",
        "flavor": "atelier.cpu.small",
        "image_id": "e1a07296-22a8-4f05-8bc8-e936c8e54090",
        "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 5},
        "lease": {"type": "TIMING", "duration": 3_600_000, "enable": true},
    })),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn create(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let new = create::parse(&call.body, &api.engine.grants())?;
    let notebook = api.engine.create(&call.caller, &call.request_id, new).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Show one notebook.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/{id}", operation_id = "ShowNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.show(&call.caller, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Delete a notebook with its volume, whatever it is doing. The answer shows it in the status DELETING; ask until it is
/// not found.
#[utoipa::path(
    delete, path = "/v1/{project_id}/notebooks/{id}", operation_id = "DeleteNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn delete(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.delete(&call.caller, &call.request_id, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Start a stopped notebook. The answer shows it in the status STARTING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/{id}/start", operation_id = "StartNotebook", tag = "notebooks",
    params(
        ("project_id" = String, Path), ("id" = String, Path, format = "uuid"),
        ("duration" = Option<i64>, Query, description = "milliseconds to run, or -1; absent or 0: as the last time"),
        ("type" = Option<String>, Query, description = "TIMING or IDLE; absent: as the last time"),
    ),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn start(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let id = call.notebook()?;
    let (grant, kind) = lease::parse_start(&call.query, &api.engine.grants())?;
    let notebook = api.engine.start(&call.caller, &call.request_id, id, grant, kind).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Stop a running notebook; its volume is kept. The answer shows it in the status STOPPING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/{id}/stop", operation_id = "StopNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn stop(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.stop(&call.caller, &call.request_id, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}
