//! The identity API: version documents, tokens, projects, domains and the catalog, in the shapes of Keystone v3.
//!
//! The request body of `POST /v3/auth/tokens` has no struct here: its refusals must name the exact place that is
//! wrong, so the identity service reads it member by member.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /`: the versions of the identity API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionsAnswer {
    /// The versions.
    pub versions: Versions,
}

/// The list inside [`VersionsAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// One entry for each version.
    pub values: Vec<ApiVersion>,
}

/// `GET /v3`: one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionAnswer {
    /// The version.
    pub version: ApiVersion,
}

/// One version of the identity API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiVersion {
    /// Its number, for example `v3.14`.
    pub id: String,
    /// `stable`.
    pub status: String,
    /// When it last changed.
    pub updated: String,
    /// What it speaks.
    #[serde(rename = "media-types")]
    pub media_types: Vec<MediaType>,
    /// Where it is.
    pub links: Vec<RelLink>,
}

/// A media type of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MediaType {
    /// The general type.
    pub base: String,
    /// The exact type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A link with its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelLink {
    /// What the link means.
    pub rel: String,
    /// Where it leads.
    pub href: String,
}

/// The answer of `POST` and `GET /v3/auth/tokens`. The token's text travels in the header `X-Subject-Token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// The token.
    pub token: TokenDescription,
}

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenDescription {
    /// How its owner proved who they are.
    pub methods: Vec<String>,
    /// When it was issued: `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
    pub issued_at: String,
    /// The moment from which it is worth nothing.
    pub expires_at: String,
    /// Whose it is.
    pub user: TokenUser,
    /// What its owner may do in its scope.
    pub roles: Vec<RoleRef>,
    /// The project it counts in, when it is scoped to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ScopedProject>,
    /// The domain it counts in, when it is scoped to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<NamedId>,
    /// The services it can be used with; absent when the request asked for no catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Vec<CatalogService>>,
}

/// The user of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenUser {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The domain it belongs to.
    pub domain: NamedId,
    /// When its password expires; empty means never.
    pub password_expires_at: String,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleRef {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A thing by id and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedId {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The project of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScopedProject {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The domain it belongs to.
    pub domain: NamedId,
}

/// One service of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogService {
    /// Its id.
    pub id: String,
    /// What clients look it up by.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoints: Vec<CatalogEndpoint>,
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogEndpoint {
    /// Its id.
    pub id: String,
    /// `public`.
    pub interface: String,
    /// The region it serves.
    pub region: String,
    /// The same again: clients read either.
    pub region_id: String,
    /// The address.
    pub url: String,
}

/// `GET /v3/auth/catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogAnswer {
    /// The services.
    pub catalog: Vec<CatalogService>,
    /// Where this list is.
    pub links: SelfLink,
}

/// Where a single thing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SelfLink {
    /// Its address.
    #[serde(rename = "self")]
    pub this: String,
}

/// Where a page is, and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageLinks {
    /// Its address.
    #[serde(rename = "self")]
    pub this: String,
    /// The next page.
    pub next: Option<String>,
    /// The page before.
    pub previous: Option<String>,
}

/// `GET /v3/projects` and `GET /v3/auth/projects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectsAnswer {
    /// The projects.
    pub projects: Vec<ProjectDescription>,
    /// Where this list is.
    pub links: PageLinks,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectDescription {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The domain it belongs to.
    pub domain_id: String,
    /// What it lies in: its domain.
    pub parent_id: String,
    /// Always false: a domain is no project.
    pub is_domain: bool,
    /// Whether it can be used.
    pub enabled: bool,
    /// What people say about it.
    pub description: String,
    /// Where it is.
    pub links: PageLinks,
}

/// `GET /v3/auth/domains`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainsAnswer {
    /// The domains.
    pub domains: Vec<DomainDescription>,
    /// Where this list is.
    pub links: PageLinks,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainDescription {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it can be used.
    pub enabled: bool,
    /// What people say about it.
    pub description: String,
    /// Where it is.
    pub links: SelfLink,
}

/// Every refusal of the identity API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityError {
    /// The refusal.
    pub error: IdentityErrorDetail,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityErrorDetail {
    /// The HTTP status.
    pub code: u16,
    /// A sentence for people.
    pub message: String,
    /// The HTTP status in words.
    pub title: String,
}
