//! The identity API: versions, tokens, projects, domains, the catalog. What it answers is made by the identity service;
//! here are its paths.

use atelier_iam::{AuthRequest, IamRefusal, ProjectFilter, bodies};
use atelier_wire::identity as wire;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::ExposeSecret;

use crate::Api;
use crate::answer::{Answer, Refused};
use crate::call::{self, Visit, told};
use crate::docket::Docket;
use crate::fields::Fields;

/// The header that carries a token's text.
const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

/// The versions of the identity API.
#[utoipa::path(
    get, path = "/", operation_id = "ListVersions", tag = "identity", security(()),
    responses((status = 200, body = wire::VersionsAnswer)),
)]
pub(crate) async fn versions(State(api): State<Api>) -> Json<wire::VersionsAnswer> {
    Json(bodies::versions(&api.site))
}

/// The version of the identity API.
#[utoipa::path(
    get, path = "/v3", operation_id = "ShowVersion", tag = "identity", security(()),
    responses((status = 200, body = wire::VersionAnswer)),
)]
pub(crate) async fn version(State(api): State<Api>) -> Json<wire::VersionAnswer> {
    Json(bodies::version(&api.site))
}

/// Issue a token for a password or an earlier token. Its text is in the header `X-Subject-Token`.
#[utoipa::path(
    post, path = "/v3/auth/tokens", operation_id = "CreateToken", tag = "identity", security(()),
    params(("nocatalog" = Option<String>, Query, description = "leaves the catalog out, whatever its value")),
    request_body(content = serde_json::Value, description = "`auth.identity` and `auth.scope`, as in Keystone v3"),
    responses((status = 201, body = wire::TokenAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn create_token(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let body = call::read(body).await?;
    let issued = api.iam.log_in(AuthRequest::parse(&body)?, call::source(&parts)).await?;
    if let Some(docket) = Docket::of(&parts.extensions) {
        docket.logged_in(&issued.identity, call::peer(&parts));
    }
    let with_catalog = bodies::wants_catalog(parts.uri.query().unwrap_or_default());
    let answer = bodies::token(&issued.identity, &api.site, with_catalog).ok_or_else(IamRefusal::internal)?;
    Ok((StatusCode::CREATED, subject(issued.text.expose_secret()), Json(answer)).into_response())
}

/// Show what the token in `X-Subject-Token` is worth.
#[utoipa::path(
    get, path = "/v3/auth/tokens", operation_id = "ShowToken", tag = "identity",
    params(("X-Subject-Token" = String, Header), ("nocatalog" = Option<String>, Query)),
    responses((status = 200, body = wire::TokenAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn show_token(State(api): State<Api>, visit: Visit) -> Result<Response, Refused> {
    let text = subject_of(&visit)?;
    let identity = api.iam.validate(&visit.identity, text).await?;
    let with_catalog = bodies::wants_catalog(visit.parts.uri.query().unwrap_or_default());
    let answer = bodies::token(&identity, &api.site, with_catalog).ok_or_else(IamRefusal::internal)?;
    Ok((StatusCode::OK, subject(text), Json(answer)).into_response())
}

/// Revoke the token in `X-Subject-Token`, and what was earned with it. From the next request on it is worth nothing.
#[utoipa::path(
    delete, path = "/v3/auth/tokens", operation_id = "DeleteToken", tag = "identity",
    params(("X-Subject-Token" = String, Header)),
    responses((status = 204), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn delete_token(State(api): State<Api>, visit: Visit) -> Result<StatusCode, Refused> {
    told(&api, &visit.parts, StatusCode::NO_CONTENT).revoke_for(&visit.identity, subject_of(&visit)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the caller's own password. Every token of theirs is worth nothing afterwards, the one in use included.
#[utoipa::path(
    post, path = "/v3/users/{user_id}/password", operation_id = "ChangeUserPassword", tag = "identity",
    params(("user_id" = String, Path)),
    request_body(content = serde_json::Value, description = "`user.password` and `user.original_password`"),
    responses((status = 204), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn change_password(State(api): State<Api>, mut visit: Visit) -> Result<StatusCode, Refused> {
    let user_id = visit.param("user_id").await?;
    let from = call::source(&visit.parts);
    let user = Fields::of_body(&visit.body?)?.required_object("user")?;
    let (new, original) = (user.required_text("password")?.into(), user.required_text("original_password")?.into());
    told(&api, &visit.parts, StatusCode::NO_CONTENT)
        .change_password(&visit.identity, &user_id, original, new, from)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn subject_of(visit: &Visit) -> Result<&str, IamRefusal> {
    let text = visit.parts.headers.get(SUBJECT_TOKEN).and_then(|value| value.to_str().ok());
    text.ok_or_else(|| IamRefusal::bad_request("the header `X-Subject-Token` is required"))
}

/// The header with a token's text, kept out of logs.
fn subject(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        headers.insert(SUBJECT_TOKEN, value);
    }
    headers
}

/// The services that the caller can use, and where they are.
#[utoipa::path(
    get, path = "/v3/auth/catalog", operation_id = "ShowCatalog", tag = "identity",
    responses((status = 200, body = wire::CatalogAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn catalog(State(api): State<Api>, visit: Visit) -> Json<wire::CatalogAnswer> {
    Json(bodies::catalog(&visit.identity, &api.site))
}

/// List the caller's projects.
#[utoipa::path(
    get, path = "/v3/projects", operation_id = "ListProjects", tag = "identity",
    params(
        ("name" = Option<String>, Query), ("domain_id" = Option<String>, Query), ("parent_id" = Option<String>, Query),
        ("enabled" = Option<bool>, Query), ("is_domain" = Option<bool>, Query),
        ("page" = Option<u32>, Query), ("per_page" = Option<u32>, Query),
    ),
    responses((status = 200, body = wire::ProjectsAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn projects(State(api): State<Api>, visit: Visit) -> Answer<wire::ProjectsAnswer> {
    project_list(&api, &visit, "/v3/projects")
}

/// List the projects that a token of the caller can be scoped to.
#[utoipa::path(
    get, path = "/v3/auth/projects", operation_id = "ListOwnProjects", tag = "identity",
    responses((status = 200, body = wire::ProjectsAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn own_projects(State(api): State<Api>, visit: Visit) -> Answer<wire::ProjectsAnswer> {
    project_list(&api, &visit, "/v3/auth/projects")
}

fn project_list(api: &Api, visit: &Visit, path: &str) -> Answer<wire::ProjectsAnswer> {
    let filter = ProjectFilter::parse(visit.parts.uri.query().unwrap_or_default())?;
    let page = api.iam.projects(&visit.identity, &filter)?;
    Ok(Json(bodies::projects(&page, &api.site, path)))
}

/// List the domains that a token of the caller can be scoped to.
#[utoipa::path(
    get, path = "/v3/auth/domains", operation_id = "ListOwnDomains", tag = "identity",
    responses((status = 200, body = wire::DomainsAnswer), (status = "default", body = wire::IdentityError)),
)]
pub(crate) async fn domains(State(api): State<Api>, visit: Visit) -> Answer<wire::DomainsAnswer> {
    Ok(Json(bodies::domains(&api.iam.domains(&visit.identity)?, &api.site)))
}
