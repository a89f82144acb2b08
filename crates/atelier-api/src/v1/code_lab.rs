//! `RunCodeLab`.

use atelier_core::id::ImageId;
use atelier_core::refusal::Refusal;
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::fields::Fields;
use crate::shape;
use crate::v1::create;

/// Open the caller's free instance: make it where there is none, start it where it is stopped.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/open", operation_id = "RunCodeLab", tag = "notebooks",
    params(("project_id" = String, Path)),
    request_body = Option<wire::RunCodeLabRequest>,
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn run(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let image_id = parse(&call.body)?;
    let notebook = api.engine.run_code_lab(&call.caller, &call.request_id, image_id).await?;
    call.is_about(notebook.id);
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

fn parse(body: &[u8]) -> Result<Option<ImageId>, Refusal> {
    let fields = Fields::of_optional_body(body)?;
    fields.refuse("share_url")?;
    fields.text("image_id")?.map(|text| create::image_id("image_id", text)).transpose()
}
