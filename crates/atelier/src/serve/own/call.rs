//! An authenticated call, as the API proves and refuses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_api::{Docket, peer, read_body, source};
use atelier_core::audit::{AuditRecord, FieldChange};
use atelier_core::id::NotebookId;
use atelier_core::{Caller, Code, Refusal};
use atelier_engine::Whose;
use atelier_iam::{Iam, Identity, IncomingRequest};
use atelier_store::StoreError;
use atelier_store::people::Role;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Query, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::front::refusal;
use super::Own;

/// How long a stream goes on that was asked for with a signature.
const SIGNATURE_CARRIES: Duration = Duration::from_mins(15);

pub(super) fn no_such_api() -> Refusal {
    Refusal::new(Code::NoSuchApi, "no such path, or not with this method")
}

fn only_administrators() -> Refusal {
    Refusal::new(Code::NotPermitted, "only users with the role `admin` may do this")
}

/// A refusal and the request that it answers.
pub(super) struct Refused(Refusal, Arc<Docket>);

impl Refused {
    pub(super) fn of(request: &Request, refusal: Refusal) -> Self {
        Self(refusal, docket_of(request.extensions()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(&self.0, &self.1)
    }
}

/// The front gives every request one.
fn docket_of(extensions: &http::Extensions) -> Arc<Docket> {
    Docket::of(extensions).cloned().unwrap_or_else(|| Docket::new(Arc::from("")))
}

/// An authenticated call in the caller's project.
pub(super) struct Call {
    pub(super) caller: Caller,
    /// The part of the path named `id`; empty where there is none.
    pub(super) id: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    upgrade: Option<OnUpgrade>,
    administers: bool,
    docket: Arc<Docket>,
}

impl Call {
    pub(super) fn refused(&self) -> impl Fn(Refusal) -> Refused {
        let docket = self.docket.clone();
        move |refusal| Refused(refusal, docket.clone())
    }

    /// The id of the request.
    pub(super) fn request_id(&self) -> &str {
        self.docket.request_id()
    }

    /// The identity service for this call, answered with `status`: what it changes is recorded with the change.
    pub(super) fn iam(&self, own: &Own, status: StatusCode) -> Iam {
        own.iam.for_call(self.docket.record(own.iam.now(), status))
    }

    /// A header that is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
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

    /// Whether what the caller showed still counts, for answers that go on and on.
    pub(super) fn standing(&self, iam: &Arc<Iam>) -> Standing {
        let header = |name| self.header(name).map(str::trim).filter(|text| !text.is_empty());
        let bearer = || {
            let (scheme, token) = header("authorization")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        };
        let tokens = [header("x-auth-token"), bearer()];
        let tokens = tokens.into_iter().flatten().map(SecretString::from).collect();
        Standing { iam: iam.clone(), tokens, since: Instant::now() }
    }

    /// The connection, once it was answered that it is a WebSocket of this protocol from here on; and that answer.
    pub(super) fn websocket(&mut self, protocol: &'static str) -> Result<(OnUpgrade, Response), Refused> {
        let says = |name: &str, word: &str| {
            let mut words = self.header(name).unwrap_or_default().split(',');
            words.any(|said| said.trim().eq_ignore_ascii_case(word))
        };
        let asks = says("connection", "upgrade")
            && says("upgrade", "websocket")
            && says("sec-websocket-version", "13")
            && says("sec-websocket-protocol", protocol);
        let accept = self.header("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
        let (Some(accept), Some(upgrade)) = (accept.filter(|_| asks), self.upgrade.take()) else {
            let message = format!("this is a WebSocket (version 13, over HTTP/1.1) of the protocol `{protocol}`");
            return Err(self.refused()(Refusal::new(Code::BadRequest, message)));
        };
        let headers = [
            (header::CONNECTION, "upgrade".to_owned()),
            (header::UPGRADE, "websocket".to_owned()),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
            (header::SEC_WEBSOCKET_PROTOCOL, protocol.to_owned()),
        ];
        Ok((upgrade, (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()))
    }

    /// The record of this call, answered with `status`, and `changes`; on disk when this returns.
    pub(super) async fn record(
        &self,
        own: &Own,
        status: StatusCode,
        changes: Vec<FieldChange>,
    ) -> Result<(), StoreError> {
        match self.docket.record(own.iam.now(), status) {
            Some(record) => own.audit.append_audit(AuditRecord { changes, ..record }).await,
            None => Ok(()),
        }
    }

    /// Whether the user holds the role `admin` in the project.
    pub(super) const fn administers(&self) -> bool {
        self.administers
    }

    /// Whose things the caller may look at and steer.
    pub(super) const fn whose(&self) -> Whose {
        if self.administers() { Whose::Everybodys } else { Whose::Own }
    }

    /// Whose things are asked for. Everybody's are shown to administrators only.
    pub(super) fn asked(&self, all: bool) -> Result<Whose, Refused> {
        if all { self.administrator().map(|()| Whose::Everybodys) } else { Ok(Whose::Own) }
    }

    /// Goes on only for users who hold the role `admin` in the project.
    pub(super) fn administrator(&self) -> Result<(), Refused> {
        if self.administers() {
            return Ok(());
        }
        Err(self.refused()(only_administrators()))
    }
}

impl FromRequest<Own> for Call {
    type Rejection = Refused;

    async fn from_request(request: Request, own: &Own) -> Result<Self, Refused> {
        let docket = docket_of(request.extensions());
        let refused = |refusal| Refused(refusal, docket.clone());
        let Proved { identity, mut parts, body } = prove(request, own).await?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let path = RawPathParams::from_request_parts(&mut parts, own).await;
        let path = path.map_err(|_| refused(no_such_api()))?;
        let named = |name| path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        if let Ok(notebook) = named("id").parse() {
            docket.is_about(notebook);
        }
        let mut caller = own.iam.caller(&identity, named("project_id")).map_err(refused)?;
        caller.source.address = peer(&parts);
        docket.acts_in(&caller.project_id);
        Ok(Self {
            caller,
            id: named("id").to_owned(),
            administers: identity.has_role(Role::Admin),
            uri: parts.uri,
            headers: parts.headers,
            body,
            upgrade,
            docket,
        })
    }
}

/// What somebody showed who is still listening.
pub(super) struct Standing {
    iam: Arc<Iam>,
    tokens: Vec<SecretString>,
    since: Instant,
}

impl Standing {
    /// Whether it counts now. A signature proves one request, so it carries a stream for as long as a signature is
    /// accepted; its reader signs anew and goes on where it was.
    pub(super) async fn holds(&self) -> bool {
        for token in &self.tokens {
            if self.iam.authenticate_token(token.expose_secret()).await.is_ok() {
                return true;
            }
        }
        self.tokens.is_empty() && self.since.elapsed() < SIGNATURE_CARRIES
    }
}

/// A request of somebody who runs the server, outside any project.
pub(super) struct Inspection;

impl FromRequest<Own> for Inspection {
    type Rejection = Refused;

    async fn from_request(request: Request, own: &Own) -> Result<Self, Refused> {
        let docket = docket_of(request.extensions());
        let Proved { identity, .. } = prove(request, own).await?;
        if identity.has_role(Role::Admin) { Ok(Self) } else { Err(Refused(only_administrators(), docket)) }
    }
}

/// Somebody who proved who they are, and the head of their request.
struct Proved {
    identity: Arc<Identity>,
    parts: Parts,
    body: Bytes,
}

async fn prove(request: Request, own: &Own) -> Result<Proved, Refused> {
    let docket = docket_of(request.extensions());
    let refused = |refusal| Refused(refusal, docket.clone());
    let (parts, body) = request.into_parts();
    let body = read_body(body).await.map_err(refused)?;
    let incoming = IncomingRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &body,
        from: source(&parts),
    };
    let identity = own.iam.authenticate(&incoming).await.map_err(|e| refused(e.into()))?;
    docket.sent_by(&identity, peer(&parts));
    Ok(Proved { identity, parts, body })
}
