//! The bodies of the identity API, built from what is known. Pure: who may see what was decided before.
//!
//! Every address comes from the [`Site`], never from the request: a client that was misled by a forged `Host` must not
//! be sent on to the forger.

use atelier_core::clock::Timestamp;
use atelier_store::people::{AccessKey, Domain, Project, Role};
use atelier_wire::credential::{
    CallerIdentity, Credential, CredentialAnswer, CredentialsAnswer, TemporaryCredential, TemporaryCredentialAnswer,
};
use atelier_wire::identity::{
    ApiVersion, CatalogAnswer, CatalogEndpoint, CatalogService, DomainDescription, DomainsAnswer, IdentityError,
    IdentityErrorDetail, MediaType, NamedId, PageLinks, ProjectDescription, ProjectsAnswer, RelLink, RoleRef,
    ScopedProject, SelfLink, TokenAnswer, TokenDescription, TokenUser, VersionAnswer, Versions, VersionsAnswer,
};
use secrecy::ExposeSecret as _;

use crate::identity::{Identity, Proof, Scope};
use crate::keys::TemporaryKey;
use crate::listing::ProjectPage;
use crate::refusal::IamRefusal;
use crate::text::sha256;

/// Where this server is, as its clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The public address, without a slash at its end.
    pub public_url: String,
    /// The region's name.
    pub region: String,
}

impl Site {
    /// The site at this address; slashes at its end do not count.
    pub fn new(public_url: &str, region: impl Into<String>) -> Self {
        Self { public_url: public_url.trim_end_matches('/').to_owned(), region: region.into() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }
}

/// `GET /`.
pub fn versions(site: &Site) -> VersionsAnswer {
    VersionsAnswer { versions: Versions { values: vec![api_version(site)] } }
}

/// `GET /v3`.
pub fn version(site: &Site) -> VersionAnswer {
    VersionAnswer { version: api_version(site) }
}

fn api_version(site: &Site) -> ApiVersion {
    ApiVersion {
        id: "v3.14".to_owned(),
        status: "stable".to_owned(),
        updated: "2020-04-07T00:00:00Z".to_owned(),
        media_types: vec![MediaType {
            base: "application/json".to_owned(),
            kind: "application/vnd.openstack.identity-v3+json".to_owned(),
        }],
        links: vec![RelLink { rel: "self".to_owned(), href: site.url("/v3/") }],
    }
}

/// The answer of `POST` and `GET /v3/auth/tokens`; nothing when the identity was not proved by a token.
pub fn token(identity: &Identity, site: &Site, with_catalog: bool) -> Option<TokenAnswer> {
    let Proof::Token { methods, issued_at, expires_at, .. } = &identity.proof else { return None };
    let domain = domain_of(identity);
    let (project, scoped_domain) = match &identity.scope {
        Scope::Project { id, name } => {
            (Some(ScopedProject { id: id.to_string(), name: name.clone(), domain: domain.clone() }), None)
        }
        Scope::Domain => (None, Some(domain.clone())),
    };
    let token = TokenDescription {
        methods: methods.iter().map(|method| method.as_str().to_owned()).collect(),
        issued_at: time(*issued_at),
        expires_at: time(*expires_at),
        user: TokenUser {
            id: identity.user_id.to_string(),
            name: identity.user_name.clone(),
            domain,
            password_expires_at: String::new(),
        },
        roles: identity.roles.iter().copied().map(role).collect(),
        project,
        domain: scoped_domain,
        catalog: with_catalog.then(|| services(identity, site)),
    };
    Some(TokenAnswer { token })
}

fn domain_of(identity: &Identity) -> NamedId {
    NamedId { id: identity.domain_id.to_string(), name: identity.domain_name.clone() }
}

fn role(role: Role) -> RoleRef {
    RoleRef { id: stable_id(&["role", role.as_str()]), name: role.as_str().to_owned() }
}

/// Whether a query asks for a token without the catalog: the name counts, whatever its value.
pub fn wants_catalog(query: &str) -> bool {
    query.split('&').all(|pair| pair.split('=').next() != Some("nocatalog"))
}

/// `GET /v3/auth/catalog`.
pub fn catalog(identity: &Identity, site: &Site) -> CatalogAnswer {
    CatalogAnswer { catalog: services(identity, site), links: SelfLink { this: site.url("/v3/auth/catalog") } }
}

/// The services: those that work in a project appear when there is one. Clients differ in the type they look for, so
/// the same address stands under two.
fn services(identity: &Identity, site: &Site) -> Vec<CatalogService> {
    let mut services = Vec::with_capacity(3);
    if let Some(project_id) = identity.project_id() {
        let url = site.url(&format!("/v1/{project_id}"));
        services.push(service(site, "modelarts", "modelarts", url.clone()));
        services.push(service(site, "modelartsv1", "modelarts", url));
    }
    services.push(service(site, "identity", "iam", site.url("/v3")));
    services
}

fn service(site: &Site, kind: &str, name: &str, url: String) -> CatalogService {
    let endpoint = CatalogEndpoint {
        id: stable_id(&["endpoint", kind, &site.region]),
        interface: "public".to_owned(),
        region: site.region.clone(),
        region_id: site.region.clone(),
        url,
    };
    CatalogService {
        id: stable_id(&["service", kind]),
        kind: kind.to_owned(),
        name: name.to_owned(),
        endpoints: vec![endpoint],
    }
}

/// An id of 32 hexadecimal digits for a thing that is not kept anywhere: the same for the same words.
fn stable_id(words: &[&str]) -> String {
    hex::encode(&sha256(words.join("/").as_bytes())[..16])
}

/// `GET /v3/projects` (with the path `/v3/projects`) and `GET /v3/auth/projects`.
pub fn projects(page: &ProjectPage, site: &Site, path: &str) -> ProjectsAnswer {
    let list = site.url(path);
    let link = |query: &Option<String>| query.as_ref().map(|query| format!("{list}?{query}"));
    let links = PageLinks { this: list.clone(), next: link(&page.next), previous: link(&page.previous) };
    let projects = page.projects.iter().map(|project| project_description(project, site)).collect();
    ProjectsAnswer { projects, links }
}

fn project_description(project: &Project, site: &Site) -> ProjectDescription {
    ProjectDescription {
        id: project.id.to_string(),
        name: project.name.clone(),
        domain_id: project.domain_id.to_string(),
        parent_id: project.domain_id.to_string(),
        is_domain: false,
        enabled: true,
        description: project.description.clone(),
        links: PageLinks { this: site.url(&format!("/v3/projects/{}", project.id)), next: None, previous: None },
    }
}

/// `GET /v3/auth/domains`.
pub fn domains(domains: &[Domain], site: &Site) -> DomainsAnswer {
    let description = |domain: &Domain| DomainDescription {
        id: domain.id.to_string(),
        name: domain.name.clone(),
        enabled: true,
        description: domain.description.clone(),
        links: SelfLink { this: site.url(&format!("/v3/domains/{}", domain.id)) },
    };
    DomainsAnswer {
        domains: domains.iter().map(description).collect(),
        links: PageLinks { this: site.url("/v3/auth/domains"), next: None, previous: None },
    }
}

/// One access key. Its secret is shown only where it was just made.
pub fn credential(key: &AccessKey, just_made: bool) -> CredentialAnswer {
    CredentialAnswer { credential: described(key, just_made) }
}

/// `GET /v3.0/OS-CREDENTIAL/credentials`.
pub fn credentials(keys: &[AccessKey]) -> CredentialsAnswer {
    CredentialsAnswer { credentials: keys.iter().map(|key| described(key, false)).collect() }
}

fn described(key: &AccessKey, just_made: bool) -> Credential {
    Credential {
        access: key.access.clone(),
        secret: just_made.then(|| key.secret.expose_secret().to_owned()),
        status: if key.active { "active" } else { "inactive" }.to_owned(),
        create_time: time(key.created_at),
        user_id: key.user_id.to_string(),
        description: key.description.clone(),
    }
}

/// `POST /v3.0/OS-CREDENTIAL/securitytokens`.
pub fn temporary_credential(key: &TemporaryKey) -> TemporaryCredentialAnswer {
    let credential = TemporaryCredential {
        access: key.access.clone(),
        secret: key.secret.expose_secret().to_owned(),
        securitytoken: key.security_token.expose_secret().to_owned(),
        expires_at: time(key.expires_at),
    };
    TemporaryCredentialAnswer { credential }
}

/// `GET /v5/caller-identity`.
pub fn caller_identity(identity: &Identity) -> CallerIdentity {
    CallerIdentity {
        account_id: identity.domain_id.to_string(),
        principal_id: identity.user_id.to_string(),
        principal_urn: format!("iam::{}:user:{}", identity.domain_id, identity.user_name),
    }
}

/// A refusal of the identity API.
pub fn error(refusal: &IamRefusal) -> IdentityError {
    let title = refusal.title().to_owned();
    IdentityError { error: IdentityErrorDetail { code: refusal.http, message: refusal.message.clone(), title } }
}

/// `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
fn time(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
