//! The operations.
//!
//! What the engine refuses in the words of the other API is put into those of this one: an unknown notebook is 6309 here.

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_engine::Offer;
use atelier_wire::LegacyError;
use atelier_wire::legacy as wire;
use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret;

use crate::Api;
use crate::answer::{Answer, Refused};
use crate::call::Call;
use crate::fields::Fields;
use crate::legacy::list::Wanted;
use crate::legacy::shape::{self, Surroundings};
use crate::legacy::{create, instance_id, no_instance, notebook_id, status};

/// Make an instance and start it. The answer shows it in the status CREATING; ask until it is RUNNING.
#[utoipa::path(
    post, path = "/v1/{project_id}/demanager/instances", operation_id = "CreateDevEnvironInstance", tag = "legacy",
    params(("project_id" = String, Path)),
    request_body(content = wire::LegacyInstanceCreateRequest, example = json!({
        "name": "my-notebook", "profile_id": "Multi-Engine 1.0 (python3)-cpu", "flavor": "modelarts.vm.cpu.2u",
        "spec": {
            "storage": {"type": "evs", "location": {"volume_size": 5, "volume_unit": "GB"}},
            "auto_stop": {"enable": true, "duration": 3600},
        },
    })),
    responses((status = 200, body = wire::LegacyInstance), (status = "default", body = LegacyError)),
)]
pub(crate) async fn create(State(api): State<Api>, call: Call) -> Answer<wire::LegacyInstance> {
    let new = create::parse(&call.body, &api.engine.grants(), &api.config.profiles)?;
    let notebook = api.engine.create_legacy(&call.caller, &call.request_id, new).await?;
    Ok(Json(shown(&api, &notebook).await?))
}

/// List the caller's instances; for users with the role `admin`, with `show_self` false, all of the project.
#[utoipa::path(
    get, path = "/v1/{project_id}/demanager/instances", operation_id = "ListDevEnvironInstances", tag = "legacy",
    params(
        ("project_id" = String, Path),
        ("de_type" = String, Query, description = "Notebook"),
        ("provision_type" = Option<String>, Query, description = "Docker"),
        ("status" = Option<String>, Query),
        ("sortby" = Option<String>, Query, description = "name or creation_timestamp"),
        ("order" = Option<String>, Query, description = "asc or desc"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
        ("limit" = Option<u32>, Query, description = "0, which is also the default: all of them"),
        ("workspace_id" = Option<String>, Query, description = "0"),
        ("show_self" = Option<String>, Query, description = "true: only the caller's own"),
        ("ai_project" = Option<String>, Query, description = "default-ai-project"),
        ("pool_id" = Option<String>, Query, description = "only in this pool"),
    ),
    responses((status = 200, body = wire::LegacyInstanceList), (status = "default", body = LegacyError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<wire::LegacyInstanceList> {
    let wanted = Wanted::of(&call.query)?;
    if wanted.everybodys {
        call.administrator()?;
    }
    let (filter, sort) = (wanted.filter.clone(), (wanted.sort_key, wanted.descending));
    let found = api.engine.list_legacy(&call.caller, wanted.everybodys, filter, sort, |n| wanted.shows(n)).await?;
    let total_count = found.len() as u64;
    let offers = api.engine.offers().await?;
    let with = surroundings(&api, &offers);
    let instances = wanted.cut(found).iter().map(|notebook| shape::instance(notebook, &with)).collect();
    Ok(Json(wire::LegacyInstanceList { total_count, instances }))
}

/// Show one instance.
#[utoipa::path(
    get, path = "/v1/{project_id}/demanager/instances/{instance_id}", operation_id = "ShowDevEnvironInstance",
    tag = "legacy",
    params(
        ("project_id" = String, Path), ("instance_id" = String, Path),
        ("de_type" = Option<String>, Query, description = "Notebook; not needed here"),
    ),
    responses((status = 200, body = wire::LegacyInstance), (status = "default", body = LegacyError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<wire::LegacyInstance> {
    let notebook = found(&api, &call).await?;
    Ok(Json(shown(&api, &notebook).await?))
}

/// Change the description of an instance, or its automatic stop from the next start on.
#[utoipa::path(
    put, path = "/v1/{project_id}/demanager/instances/{instance_id}", operation_id = "UpdateDevEnvironInstance",
    tag = "legacy", params(("project_id" = String, Path), ("instance_id" = String, Path)),
    request_body(content = wire::LegacyInstanceUpdateRequest, example = json!({"description": "This is for test."})),
    responses((status = 200, body = wire::LegacyInstance), (status = "default", body = LegacyError)),
)]
pub(crate) async fn update(State(api): State<Api>, call: Call) -> Answer<wire::LegacyInstance> {
    let id = id_of(&call)?;
    let change = create::parse_change(&call.body, &api.engine.grants())?;
    let changed = api.engine.change_legacy(&call.caller, &call.request_id, id, change).await.map_err(legacy)?;
    Ok(Json(shown(&api, &changed).await?))
}

/// Delete a stopped instance with its volume.
#[utoipa::path(
    delete, path = "/v1/{project_id}/demanager/instances/{instance_id}", operation_id = "DeleteDevEnvironInstance",
    tag = "legacy", params(("project_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = wire::LegacyDeleteResult), (status = "default", body = LegacyError)),
)]
pub(crate) async fn delete(State(api): State<Api>, call: Call) -> Answer<wire::LegacyDeleteResult> {
    let (engine, id) = (&api.engine, id_of(&call)?);
    engine.delete_legacy(&call.caller, &call.request_id, id, status::may_delete).await.map_err(legacy)?;
    Ok(Json(wire::LegacyDeleteResult { instance_id: instance_id(id) }))
}

/// Start or stop an instance.
#[utoipa::path(
    post, path = "/v1/{project_id}/demanager/instances/{instance_id}/action",
    operation_id = "ManageDevEnvironInstance", tag = "legacy",
    params(("project_id" = String, Path), ("instance_id" = String, Path)),
    request_body(content = wire::LegacyActionRequest, example = json!({"action": "start"})),
    responses((status = 200, body = wire::LegacyActionResult), (status = "default", body = LegacyError)),
)]
pub(crate) async fn action(State(api): State<Api>, call: Call) -> Answer<wire::LegacyActionResult> {
    let id = id_of(&call)?;
    let fields = Fields::of_body(&call.body)?;
    let action = fields.word("action", &["start", "stop"])?.ok_or_else(|| Refusal::missing("action"))?;
    let before = found(&api, &call).await?.status();
    let (engine, caller, request) = (&api.engine, &call.caller, &call.request_id);
    let after = if action == "start" {
        engine.start_legacy(caller, request, id, status::may_start).await
    } else {
        engine.stop_legacy(caller, request, id, status::may_stop).await
    };
    let (current, previous) = (after.map_err(legacy)?.status(), before);
    let word = |status| status::word(status).to_owned();
    Ok(Json(wire::LegacyActionResult { current_status: word(current), previous_state: word(previous) }))
}

/// Show what opens a running instance: `url?token=token`.
#[utoipa::path(
    get, path = "/v1/{project_id}/demanager/instances/{instance_id}/token",
    operation_id = "ShowDevEnvironInstanceToken", tag = "legacy",
    params(("project_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = wire::LegacyTokenResult), (status = "default", body = LegacyError)),
)]
pub(crate) async fn token(State(api): State<Api>, call: Call) -> Answer<wire::LegacyTokenResult> {
    let notebook = found(&api, &call).await?;
    if !matches!(notebook.status(), Status::Running | Status::Snapshotting) {
        let status = status::word(notebook.status());
        let message = format!("the instance is {status}; it has a token that opens it only while RUNNING");
        return Err(Refusal::new(Code::NotRunning, message).into());
    }
    Ok(Json(wire::LegacyTokenResult { token: notebook.token.expose_secret().to_owned() }))
}

fn id_of(call: &Call) -> Result<NotebookId, Refusal> {
    notebook_id(call.param("instance_id")).ok_or_else(no_instance)
}

async fn found(api: &Api, call: &Call) -> Result<Notebook, Refusal> {
    api.engine.show(&call.caller, id_of(call)?).await.map_err(legacy)
}

/// What the engine refuses, in the words of this API.
fn legacy(refusal: Refusal) -> Refusal {
    if refusal.code() == Code::NotFound { no_instance() } else { refusal }
}

async fn shown(api: &Api, notebook: &Notebook) -> Result<wire::LegacyInstance, Refused> {
    let offer = api.engine.offer_to(notebook).await?;
    Ok(shape::instance(notebook, &surroundings(api, offer.as_slice())))
}

fn surroundings<'a>(api: &'a Api, offers: &'a [Offer]) -> Surroundings<'a> {
    let (address, profiles) = (&api.config.notebooks, &api.config.profiles);
    Surroundings { address, profiles, offers, now: api.engine.now() }
}
