//! `CreateNotebookTags`, `DeleteNotebookTags`, `ShowNotebookTags`.

use atelier_core::refusal::Refusal;
use atelier_core::tags::{TagKey, TagValue};
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::Api;
use crate::answer::{Answer, Refused};
use crate::call::Call;
use crate::fields::Fields;

/// Hang tags on a notebook. A key that is there already gets its new value; there can be 20.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/{resource_id}/tags/create", operation_id = "CreateNotebookTags",
    tag = "tags",
    params(
        ("project_id" = String, Path), ("resource_id" = String, Path, format = "uuid"),
        ("workspace_id" = Option<String>, Query, description = "0"),
    ),
    request_body(content = wire::TagsRequest, example = json!({"tags": [{"key": "team", "value": "vision"}]})),
    responses((status = 204), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn add(State(api): State<Api>, call: Call) -> Result<StatusCode, Refused> {
    call.query.workspace()?;
    let tags = required_tags(&call.body)?;
    api.engine.add_tags(&call.caller, &call.request_id, call.notebook()?, tags).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take tags off a notebook, by their keys. Keys that are not there are no matter.
#[utoipa::path(
    delete, path = "/v1/{project_id}/notebooks/{resource_id}/tags/delete", operation_id = "DeleteNotebookTags",
    tag = "tags",
    params(
        ("project_id" = String, Path), ("resource_id" = String, Path, format = "uuid"),
        ("workspace_id" = Option<String>, Query, description = "0"),
    ),
    request_body(content = wire::TagsRequest, example = json!({"tags": [{"key": "team"}]})),
    responses((status = 204), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn remove(State(api): State<Api>, call: Call) -> Result<StatusCode, Refused> {
    call.query.workspace()?;
    let keys = required_tags(&call.body)?.into_iter().map(|(key, _)| key).collect();
    api.engine.remove_tags(&call.caller, &call.request_id, call.notebook()?, keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the tags in use on the project's notebooks: each key with its values.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/tags", operation_id = "ShowNotebookTags", tag = "tags",
    params(
        ("project_id" = String, Path),
        ("workspace_id" = Option<String>, Query, description = "0; absent: of all workspaces"),
    ),
    responses((status = 200, body = wire::TagSummaryList), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn summary(State(api): State<Api>, call: Call) -> Answer<wire::TagSummaryList> {
    call.query.workspace()?;
    let workspace_id = call.query.text("workspace_id")?;
    let found = api.engine.tag_values(&call.caller, workspace_id).await?;
    let tags = found.into_iter().map(|(key, values)| wire::TagSummary { key, values: values.into_iter().collect() });
    Ok(Json(wire::TagSummaryList { tags: tags.collect() }))
}

/// The tags of a body that is about nothing else.
fn required_tags(body: &[u8]) -> Result<Vec<(TagKey, TagValue)>, Refusal> {
    let fields = Fields::of_body(body)?;
    if !fields.has("tags") {
        return Err(Refusal::missing("tags"));
    }
    let tags = read(&fields)?;
    if tags.is_empty() { Err(Refusal::bad_value("tags", "a list of at least one tag")) } else { Ok(tags) }
}

/// The list `tags`; empty when it is absent. A tag without a value has an empty one.
pub(crate) fn read(fields: &Fields) -> Result<Vec<(TagKey, TagValue)>, Refusal> {
    let tag = |tag: Fields| {
        let key = TagKey::new(&tag.path_of("key"), tag.required_text("key")?)?;
        let value = TagValue::new(&tag.path_of("value"), tag.text("value")?.unwrap_or_default())?;
        Ok((key, value))
    };
    fields.objects("tags")?.into_iter().map(tag).collect()
}
