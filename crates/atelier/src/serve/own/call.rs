//! An authenticated call, as the API proves and refuses it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_core::limits::MAX_BODY_BYTES;
use atelier_core::{Caller, Code, Refusal};
use atelier_iam::IncomingRequest;
use atelier_store::people::Role;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts as _, Query, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::Uri;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::super::front::{RequestId, refusal};
use super::Own;

/// How long a body of at most 64 KiB may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn no_such_api() -> Refusal {
    Refusal::new(Code::NoSuchApi, "no such path, or not with this method")
}

/// A refusal and the request that it answers.
pub(super) struct Refused(Refusal, Arc<str>);

impl Refused {
    pub(super) fn of(request: &Request, refusal: Refusal) -> Self {
        Self(refusal, id_of(request.extensions()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(&self.0, &self.1)
    }
}

fn id_of(extensions: &http::Extensions) -> Arc<str> {
    extensions.get::<RequestId>().map_or_else(|| Arc::from(""), |id| id.0.clone())
}

/// An authenticated call in the caller's project.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) request_id: Arc<str>,
    /// The part of the path named `id`; empty where there is none.
    pub(super) id: String,
    uri: Uri,
    body: Bytes,
    administers: bool,
}

impl Call {
    pub(super) fn refused(&self) -> impl Fn(Refusal) -> Refused {
        let id = self.request_id.clone();
        move |refusal| Refused(refusal, id.clone())
    }

    /// The notebook in the path. What is no id names no notebook.
    pub(super) fn notebook(&self) -> Result<NotebookId, Refused> {
        self.id.parse().map_err(|_| Refusal::no_notebook(&self.shown_id())).map_err(self.refused())
    }

    /// The id in the path as it may be repeated to the caller.
    pub(super) fn shown_id(&self) -> String {
        self.id.chars().take(64).collect()
    }

    /// What the query asks for, by names and types of `T`.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let read = Query::<T>::try_from_uri(&self.uri).map(|Query(query)| query);
        read.map_err(|e| self.refused()(Refusal::new(Code::BadQuery, format!("the query is wrong: {}", e.body_text()))))
    }

    /// The body as a JSON object; none at all stands for one without members.
    pub(super) fn object(&self) -> Result<serde_json::Map<String, serde_json::Value>, Refused> {
        if self.body.trim_ascii().is_empty() {
            return Ok(serde_json::Map::new());
        }
        let read = serde_json::from_slice(&self.body);
        read.map_err(|_| self.refused()(Refusal::new(Code::BadBody, "the body must be a JSON object")))
    }

    /// Goes on only for users who hold the role `admin` in the project.
    #[expect(dead_code, reason = "for the operations of people who run a server")]
    pub(super) fn administrator(&self) -> Result<(), Refused> {
        if self.administers {
            return Ok(());
        }
        Err(self.refused()(Refusal::new(Code::NotPermitted, "only users with the role `admin` may do this")))
    }
}

impl FromRequest<Own> for Call {
    type Rejection = Refused;

    async fn from_request(request: Request, own: &Own) -> Result<Self, Refused> {
        let request_id = id_of(request.extensions());
        let refused = |refusal| Refused(refusal, request_id.clone());
        let (mut parts, body) = request.into_parts();
        let body = read(body).await.map_err(refused)?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let incoming = IncomingRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body: &body,
            from: peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip()),
        };
        let identity = own.iam.authenticate(&incoming).await.map_err(|e| refused(e.into()))?;
        let path = RawPathParams::from_request_parts(&mut parts, own).await;
        let path = path.map_err(|_| refused(no_such_api()))?;
        let named = |name| path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        let caller = own.iam.caller(&identity, named("project_id")).map_err(refused)?;
        let administers = identity.has_role(Role::Admin);
        Ok(Self { caller, request_id, id: named("id").to_owned(), uri: parts.uri, body, administers })
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let whole = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            Err(Refusal::new(Code::TooLarge, format!("the body must not be larger than {MAX_BODY_BYTES} bytes")))
        }
        Ok(Err(_)) | Err(_) => Err(Refusal::new(Code::BadRequest, "the body did not arrive whole and in time")),
    }
}
