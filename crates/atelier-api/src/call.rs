//! Who calls, and what with: what every operation starts from.
//!
//! Authentication comes before anything is read from the body or the query: nobody learns by trial what a body must look
//! like. A signature covers the body, so the body has to be here first; it is bounded. Then comes the project: the one
//! in the path must be the caller's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use atelier_core::Caller;
use atelier_core::id::NotebookId;
use atelier_core::limits::MAX_BODY_BYTES;
use atelier_core::refusal::{Code, Refusal};
use atelier_iam::{Iam, Identity, IncomingRequest};
use atelier_store::people::Role;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};

use crate::Api;
use crate::answer::Refused;
use crate::docket::Docket;
use crate::door::SentTarget;
use crate::legacy;
use crate::query::Query;

/// How long a body of at most 64 KiB may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// An authenticated call of an operation in the caller's project.
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
    /// Whether the caller holds the role `admin` in the project.
    administers: bool,
    /// Method and path, for people.
    line: String,
    notebook: String,
    params: Params,
    docket: Option<Arc<Docket>>,
}

impl Call {
    /// It turned out to be about this notebook, which its path does not name.
    pub(crate) fn is_about(&self, notebook: NotebookId) {
        if let Some(docket) = &self.docket {
            docket.is_about(notebook);
        }
    }

    /// A parameter of the path, decoded; empty where the path has none of this name.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.find(name)
    }

    /// The notebook in the path. What is no id names no notebook.
    pub(crate) fn notebook(&self) -> Result<NotebookId, Refusal> {
        let shown = || self.notebook.chars().take(64).collect::<String>();
        self.notebook.parse().map_err(|_| Refusal::no_notebook(&shown()))
    }

    /// Goes on only for callers who hold the role `admin` in the project.
    pub(crate) fn administrator(&self) -> Result<(), Refusal> {
        if self.administers {
            return Ok(());
        }
        let message = format!("`{}` is for users who hold the role `admin` in the project", self.line);
        Err(Refusal::new(Code::NotPermitted, message))
    }
}

impl FromRequest<Api> for Call {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refused> {
        let Visit { identity, mut parts, body } = Visit::from_request(request, api).await?;
        let mut params = Params::of(&mut parts).await?;
        let notebook = params.take_first(&["id", "resource_id"]);
        let docket = Docket::of(&parts.extensions).cloned();
        let named = legacy::notebook_id(params.find("instance_id")).or_else(|| notebook.parse().ok());
        // Also for a request that is then refused.
        if let (Some(docket), Some(notebook)) = (&docket, named) {
            docket.is_about(notebook);
        }
        let mut caller = api.iam.caller(&identity, &params.take("project_id"))?;
        caller.source.address = peer(&parts);
        if let Some(docket) = &docket {
            docket.acts_in(&caller.project_id);
        }
        Ok(Self {
            caller,
            request_id: request_id(&parts),
            query: Query::of(parts.uri.query().unwrap_or_default()),
            body: body?,
            administers: identity.has_role(Role::Admin),
            line: format!("{} {}", parts.method, parts.uri.path()),
            notebook,
            params,
            docket,
        })
    }
}

/// An authenticated request that is not yet tied to a project.
pub(crate) struct Visit {
    pub(crate) identity: Arc<Identity>,
    pub(crate) parts: Parts,
    /// Refused when it is too large. Whoever does not need it never notices.
    pub(crate) body: Result<Bytes, Refusal>,
}

impl FromRequest<Api> for Visit {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let body = read(body).await;
        let identity = authenticate(api, &parts, &body).await?;
        Ok(Self { identity, parts, body })
    }
}

/// The identity service for a call that is answered with `status` when it succeeds: what it changes is recorded with the
/// change.
pub(crate) fn told(api: &Api, parts: &Parts, status: StatusCode) -> Iam {
    api.iam.for_call(Docket::of(&parts.extensions).and_then(|docket| docket.record(api.iam.now(), status)))
}

impl Visit {
    /// A parameter of the path, decoded.
    pub(crate) async fn param(&mut self, name: &str) -> Result<String, Refused> {
        Ok(Params::of(&mut self.parts).await?.take(name))
    }
}

/// Who sends the request. A signature over a body that did not come through whole proves nothing, and must not count as a
/// bad one either.
async fn authenticate(api: &Api, parts: &Parts, body: &Result<Bytes, Refusal>) -> Result<Arc<Identity>, Refused> {
    let body = match body {
        Ok(body) => body.as_ref(),
        Err(refusal) if is_signed(parts) => return Err(refusal.clone().into()),
        Err(_) => &[],
    };
    let sent = parts.extensions.get::<SentTarget>().map_or(&parts.uri, |SentTarget(sent)| sent);
    let request = IncomingRequest {
        method: parts.method.as_str(),
        path: sent.path(),
        query: sent.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
        from: source(parts),
    };
    let identity = api.iam.authenticate(&request).await?;
    if let Some(docket) = Docket::of(&parts.extensions) {
        docket.sent_by(&identity, peer(parts));
    }
    Ok(identity)
}

fn is_signed(parts: &Parts) -> bool {
    let bearer = |value: &[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    parts.headers.get(AUTHORIZATION).is_some_and(|value| !bearer(value.as_bytes()))
}

/// Reads a body of bounded size in bounded time.
pub async fn read(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body must not be larger than {MAX_BODY_BYTES} bytes");
            Err(Refusal::new(Code::TooLarge, message))
        }
        Ok(Err(_)) => Err(Refusal::new(Code::BadRequest, "the body broke off before its end")),
        Err(_) => Err(Refusal::new(Code::BadRequest, "the body did not arrive in time")),
    }
}

fn request_id(parts: &Parts) -> String {
    Docket::of(&parts.extensions).map(|docket| docket.request_id().to_string()).unwrap_or_default()
}

/// The same for who needs one: the unspecified address where the server was not told.
pub fn source(parts: &Parts) -> IpAddr {
    peer(parts).unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// The address that the request comes from, where the server was told.
pub fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

/// Parameters of the path, decoded.
struct Params(Vec<(String, String)>);

impl Params {
    async fn of(parts: &mut Parts) -> Result<Self, Refused> {
        let raw = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| no_such_api())?;
        Ok(Self(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    fn find(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The first of these that the path has.
    fn take_first(&mut self, names: &[&str]) -> String {
        names.iter().map(|name| self.take(name)).find(|value| !value.is_empty()).unwrap_or_default()
    }

    fn take(&mut self, name: &str) -> String {
        let found = self.0.iter_mut().find(|(key, _)| key == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }
}

/// No such path, or not with this method.
pub(crate) fn no_such_api() -> Refused {
    Refusal::new(Code::NoSuchApi, "no such path, or not with this method; see /openapi.json").into()
}
