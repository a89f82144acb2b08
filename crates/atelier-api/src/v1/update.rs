//! `UpdateNotebook`.

use atelier_core::notebook::{check_name, check_new_description};
use atelier_core::refusal::Refusal;
use atelier_engine::UpdateNotebook;
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::fields::Fields;
use crate::shape;
use crate::v1::{create, hooks, size};

/// Fields of the contract that this server does not offer.
const NOT_OFFERED: [&str; 4] = ["affinity", "dew_secret_name", "data_volumes", "public_network_config"];

/// Change a notebook; what is absent stays as it is. The name and the description change while it is RUNNING or STOPPED,
/// the flavor, the custom size, the image and the hooks while it is STOPPED: its next start uses them. A field that says what is so already is
/// accepted in every status.
#[utoipa::path(
    put, path = "/v1/{project_id}/notebooks/{id}", operation_id = "UpdateNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    request_body(content = wire::NotebookUpdateRequest, example = json!({
        "name": "my-notebook", "description": "with more memory", "flavor": "modelarts.vm.cpu.2u",
    })),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn update(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let wanted = parse(&call.body)?;
    let notebook = api.engine.update(&call.caller, &call.request_id, call.notebook()?, wanted).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

fn parse(body: &[u8]) -> Result<UpdateNotebook, Refusal> {
    let fields = Fields::of_body(body)?;
    NOT_OFFERED.iter().try_for_each(|name| fields.refuse(name))?;
    let name = fields.text("name")?;
    name.map_or(Ok(()), check_name)?;
    let description = fields.text("description")?;
    description.map_or(Ok(()), check_new_description)?;
    // The endpoint NOTEBOOK is always there, so that asking for it changes nothing.
    create::endpoints(&fields)?;
    let size = size::read(&fields, "ShowSwitchableFlavors")?;
    let image_id = fields.text("image_id")?.map(|text| create::image_id("image_id", text)).transpose()?;
    let gib = fields.integer("storage_new_size")?;
    Ok(UpdateNotebook {
        name: name.map(str::to_owned),
        description: description.map(str::to_owned),
        size,
        image_id,
        capacity_gib: gib.map(|gib| create::volume_size("storage_new_size", gib)).transpose()?,
        hooks: hooks::read(&fields)?,
    })
}
