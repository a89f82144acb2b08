//! The HTTP API: routers, extractors and answers. No decision is taken here; the engine and the identity service take
//! them, and this crate translates.
//!
//! The way of a request:
//!
//! 1. [`mod@door`] gives it an id and a span, checks its Host and spells its path normally.
//! 2. The router finds the operation. What the contract has and this server does not offer is refused by name
//!    ([`mod@v1`]); anything else is no path of ours.
//! 3. [`mod@call`] authenticates it, before a byte of its body means anything.
//! 4. The operation reads what was asked, field by field ([`mod@fields`], [`mod@query`]), calls the engine once, and
//!    shapes the answer ([`mod@shape`]).
//! 5. The door writes the body of a refusal and the headers that every answer has.
//!
//! What is found out about a request on its way is written on its [`Docket`], for those who stand before this router.
//!
//! The document at `/openapi.json` is made from the handlers; [`mod@reference`] draws it for people at `/docs`.

mod answer;
mod call;
mod credentials;
mod docket;
mod door;
mod fields;
mod health;
mod identity;
mod key_pairs;
mod legacy;
mod openapi;
mod operations;
mod page;
mod query;
mod reference;
mod shape;
mod target;
mod v1;

use std::sync::Arc;

pub use crate::call::{peer, read as read_body, source};

use atelier_core::Entropy;
use atelier_core::id::NotebookId;
use atelier_engine::Engine;
use atelier_iam::{Iam, Site};
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tower::util::MapRequestLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use docket::{Docket, Sender};
pub use legacy::profiles::Profile;

/// What the API works with.
#[derive(Clone)]
pub struct ApiState {
    /// What happens to notebooks.
    pub engine: Engine,
    /// Who is who.
    pub iam: Arc<Iam>,
    /// Where request ids come from.
    pub entropy: Arc<dyn Entropy>,
}

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where clients reach this server, without a slash at the end: `http://127.0.0.1:8080`. Never taken from a request.
    pub public_url: String,
    /// Where browsers reach notebooks.
    pub notebooks: NotebookAddress,
    /// The region that the catalog names.
    pub region: String,
    /// Further names that this server goes by in `Host`, without ports. The name in `public_url`, the domain of the
    /// notebooks, `localhost` and bare addresses need not be listed.
    pub hosts: Vec<String>,
    /// The names that the legacy API has for images.
    pub profiles: Vec<Profile>,
}

/// Where browsers reach notebooks: `scheme://<id>.<domain>:<port>/lab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookAddress {
    /// `http` or `https`.
    pub scheme: String,
    /// The domain below which every notebook has a name of its own.
    pub domain: String,
    /// The port; left out of addresses where it is the scheme's own.
    pub port: u16,
}

impl NotebookAddress {
    /// Where this notebook opens.
    pub fn url_of(&self, id: NotebookId) -> String {
        let Self { scheme, domain, port } = self;
        match (scheme.as_str(), *port) {
            ("http", 80) | ("https", 443) => format!("{scheme}://{id}.{domain}/lab"),
            _ => format!("{scheme}://{id}.{domain}:{port}/lab"),
        }
    }
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) iam: Arc<Iam>,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) site: Arc<Site>,
}

/// The router of the whole API. Its requests should carry the address of their sender
/// ([`axum::extract::ConnectInfo`]): lock-outs go by it.
pub fn router(state: ApiState, config: ApiConfig) -> Router {
    let hosts = hosts(&config);
    let site = Arc::new(Site::new(&config.public_url, config.region.clone()));
    let api = Api { engine: state.engine, iam: state.iam, config: Arc::new(config), site };
    let (routes, document) = served().split_for_parts();
    let names = operations::Names::of(&document);
    let routes = v1::not_offered::routes(routes)
        .route("/openapi.json", document_route(&document))
        .route("/docs", get(reference::page))
        .route("/docs/{file}", get(reference::file))
        .fallback(async || call::no_such_api())
        .method_not_allowed_fallback(async || call::no_such_api())
        .layer(MapRequestLayer::new(move |request: Request| {
            names.note(&request);
            request
        }))
        .with_state(api);
    door::Door::before(routes, state.entropy, hosts)
}

/// The document that describes the API.
pub fn document() -> utoipa::openapi::OpenApi {
    served().into_openapi()
}

fn served() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(v1::notebooks::create, v1::lists::own))
        .routes(routes!(v1::notebooks::show, v1::update::update, v1::notebooks::delete))
        .routes(routes!(v1::lists::all))
        .routes(routes!(v1::code_lab::run))
        .routes(routes!(v1::tags::add))
        .routes(routes!(v1::tags::remove))
        .routes(routes!(v1::tags::summary))
        .routes(routes!(v1::notebooks::start))
        .routes(routes!(v1::notebooks::stop))
        .routes(routes!(v1::lease::show, v1::lease::renew))
        .routes(routes!(v1::flavors::list))
        .routes(routes!(v1::flavors::switchable))
        .routes(routes!(v1::images::list))
        .routes(routes!(v1::clusters::list))
        .routes(routes!(v1::clusters::show))
        .routes(routes!(v1::clusters::features))
        .routes(routes!(legacy::instances::create, legacy::instances::list))
        .routes(routes!(legacy::instances::show, legacy::instances::update, legacy::instances::delete))
        .routes(routes!(legacy::instances::action))
        .routes(routes!(legacy::instances::token))
        .routes(routes!(identity::versions))
        .routes(routes!(identity::version))
        .routes(routes!(identity::create_token, identity::show_token, identity::delete_token))
        .routes(routes!(identity::change_password))
        .routes(routes!(identity::catalog))
        .routes(routes!(identity::projects))
        .routes(routes!(identity::own_projects))
        .routes(routes!(identity::domains))
        .routes(routes!(credentials::create, credentials::list))
        .routes(routes!(credentials::show, credentials::update, credentials::delete))
        .routes(routes!(credentials::create_temporary))
        .routes(routes!(credentials::id_token))
        .routes(routes!(credentials::caller_identity))
        .routes(routes!(key_pairs::create, key_pairs::list))
        .routes(routes!(key_pairs::show, key_pairs::update, key_pairs::delete))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// Serves the document as it was made once.
fn document_route(document: &utoipa::openapi::OpenApi) -> axum::routing::MethodRouter<Api> {
    let text = Bytes::from(document.to_json().unwrap_or_default());
    get(move || async move { ([(CONTENT_TYPE, "application/json")], text) })
}

fn hosts(config: &ApiConfig) -> Vec<String> {
    let public: Option<http::Uri> = config.public_url.parse().ok();
    let public = public.as_ref().and_then(|uri| uri.host()).map(str::to_owned);
    let own = public.into_iter().chain([config.notebooks.domain.clone()]);
    own.chain(config.hosts.iter().cloned()).map(|host| host.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_leave_out_the_scheme_s_own_port() {
        let id: NotebookId = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap();
        let url = |scheme: &str, port| {
            NotebookAddress { scheme: scheme.into(), domain: "nb.example".into(), port }.url_of(id)
        };
        assert_eq!(url("http", 8080), format!("http://{id}.nb.example:8080/lab"));
        assert_eq!(url("http", 443), format!("http://{id}.nb.example:443/lab"));
        assert_eq!(url("https", 443), format!("https://{id}.nb.example/lab"));
    }
}
