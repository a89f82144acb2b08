//! Access keys, temporary keys, and who the caller is to the token service: `/v3.0/OS-CREDENTIAL`, `/v5`. Refusals come in
//! the words of the catalogue here, as on every path that is not Keystone's.

use atelier_core::id::UserId;
use atelier_core::refusal::Refusal;
use atelier_iam::{SHORTEST_LIFE_S, bodies};
use atelier_wire as wire;
use atelier_wire::credential::{CallerIdentity, CredentialAnswer, CredentialsAnswer, TemporaryCredentialAnswer};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::Api;
use crate::answer::{Answer, Refused};
use crate::call::{Visit, told};
use crate::fields::Fields;
use crate::query::Query;

/// What the id of a user must be.
const USER_ID: &str = "the id of a user, 32 lower-case hexadecimal digits";

/// Make a permanent access key. Its secret is in this answer only.
#[utoipa::path(
    post, path = "/v3.0/OS-CREDENTIAL/credentials", operation_id = "CreatePermanentAccessKey", tag = "credential",
    request_body(content = serde_json::Value, description = "`credential.user_id` and `credential.description`"),
    responses((status = 201, body = CredentialAnswer), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn create(
    State(api): State<Api>,
    visit: Visit,
) -> Result<(StatusCode, Json<CredentialAnswer>), Refused> {
    let wanted = Fields::of_body(&visit.body?)?.required_object("credential")?;
    let owner = wanted.required_text("user_id")?;
    let owner: UserId = owner.parse().map_err(|_| Refusal::bad_value("credential.user_id", USER_ID))?;
    let description = wanted.text("description")?.unwrap_or_default();
    let key = told(&api, &visit.parts, StatusCode::CREATED).create_key(&visit.identity, &owner, description).await?;
    Ok((StatusCode::CREATED, Json(bodies::credential(&key, true))))
}

/// List the permanent access keys of a user: the caller's own, unless another is named.
#[utoipa::path(
    get, path = "/v3.0/OS-CREDENTIAL/credentials", operation_id = "ListPermanentAccessKeys", tag = "credential",
    params(("user_id" = Option<String>, Query)),
    responses((status = 200, body = CredentialsAnswer), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, visit: Visit) -> Answer<CredentialsAnswer> {
    let query = Query::of(visit.parts.uri.query().unwrap_or_default());
    let owner = match query.text("user_id")? {
        Some(id) => id.parse().map_err(|_| Refusal::bad_query("user_id", USER_ID))?,
        None => visit.identity.user_id.clone(),
    };
    Ok(Json(bodies::credentials(&api.iam.keys(&visit.identity, &owner)?)))
}

/// Show an access key.
#[utoipa::path(
    get, path = "/v3.0/OS-CREDENTIAL/credentials/{access_key}", operation_id = "ShowPermanentAccessKey",
    tag = "credential", params(("access_key" = String, Path)),
    responses((status = 200, body = CredentialAnswer), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, mut visit: Visit) -> Answer<CredentialAnswer> {
    let access = visit.param("access_key").await?;
    Ok(Json(bodies::credential(&api.iam.key(&visit.identity, &access)?, false)))
}

/// Switch an access key on or off, or describe it anew.
#[utoipa::path(
    put, path = "/v3.0/OS-CREDENTIAL/credentials/{access_key}", operation_id = "UpdatePermanentAccessKey",
    tag = "credential", params(("access_key" = String, Path)),
    request_body(content = serde_json::Value, description = "`credential.status` and `credential.description`"),
    responses((status = 200, body = CredentialAnswer), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn update(State(api): State<Api>, mut visit: Visit) -> Answer<CredentialAnswer> {
    let access = visit.param("access_key").await?;
    let wanted = Fields::of_body(&visit.body?)?.required_object("credential")?;
    let active = wanted.word("status", &["active", "inactive"])?.map(|word| word == "active");
    let key = told(&api, &visit.parts, StatusCode::OK)
        .update_key(&visit.identity, &access, active, wanted.text("description")?)
        .await?;
    Ok(Json(bodies::credential(&key, false)))
}

/// Remove an access key, and the temporary ones that were earned with it.
#[utoipa::path(
    delete, path = "/v3.0/OS-CREDENTIAL/credentials/{access_key}", operation_id = "DeletePermanentAccessKey",
    tag = "credential", params(("access_key" = String, Path)),
    responses((status = 204), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn delete(State(api): State<Api>, mut visit: Visit) -> Result<StatusCode, Refused> {
    let access = visit.param("access_key").await?;
    told(&api, &visit.parts, StatusCode::NO_CONTENT).delete_key(&visit.identity, &access).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a temporary access key. It ends with the token or the key that it is earned with, if not before.
#[utoipa::path(
    post, path = "/v3.0/OS-CREDENTIAL/securitytokens", operation_id = "CreateTemporaryAccessKey", tag = "credential",
    request_body(
        content = serde_json::Value,
        description = "`auth.identity.methods` [\"token\"]; `auth.identity.token.id`, else who sends the request; \
                       `auth.identity.token.duration_seconds`, 900 to 86400",
    ),
    responses((status = 201, body = TemporaryCredentialAnswer), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn create_temporary(
    State(api): State<Api>,
    visit: Visit,
) -> Result<(StatusCode, Json<TemporaryCredentialAnswer>), Refused> {
    let identity = Fields::of_body(&visit.body?)?.required_object("auth")?.required_object("identity")?;
    let methods = identity.texts("methods")?;
    match methods.as_deref() {
        None => return Err(Refusal::missing("auth.identity.methods").into()),
        Some(["token"]) => {}
        Some(["assume_role"]) => {
            return Err(Refusal::unsupported("`auth.identity.methods` [\"assume_role\"]").into());
        }
        Some(_) => return Err(Refusal::bad_value("auth.identity.methods", "[\"token\"]").into()),
    }
    identity.refuse("policy")?;
    let token = identity.object("token")?;
    let text = token.as_ref().map(|token| token.text("id")).transpose()?.flatten();
    let seconds = token.as_ref().map(|token| token.integer("duration_seconds")).transpose()?.flatten();
    let seconds = seconds.unwrap_or(SHORTEST_LIFE_S);
    let key =
        told(&api, &visit.parts, StatusCode::CREATED).create_temporary_key(&visit.identity, text, seconds).await?;
    Ok((StatusCode::CREATED, Json(bodies::temporary_credential(&key))))
}

/// Tokens of an identity provider are not offered: there is none.
#[utoipa::path(
    post, path = "/v3.0/OS-AUTH/id-token/tokens", operation_id = "CreateTokenWithIdToken", tag = "identity",
    security(()), responses((status = 400, body = wire::ApiError)),
)]
pub(crate) async fn id_token() -> Refused {
    Refusal::unsupported("a login by the token of an identity provider").into()
}

/// Who the caller is.
#[utoipa::path(
    get, path = "/v5/caller-identity", operation_id = "GetCallerIdentity", tag = "identity",
    responses((status = 200, body = CallerIdentity), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn caller_identity(visit: Visit) -> Json<CallerIdentity> {
    Json(bodies::caller_identity(&visit.identity))
}
