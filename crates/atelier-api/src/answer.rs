//! Answers that say no.
//!
//! A handler only says *why*. The response it leaves carries the refusal beside an empty body; the body is written in
//! one place ([`crate::door`]), which alone knows the request's id and which interface was called.

use atelier_core::refusal::{Code, Refusal};
use atelier_iam::{AuthRefusal, IamRefusal, bodies};
use atelier_wire::{ApiError, LegacyError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

/// What a handler answers.
pub(crate) type Answer<T> = Result<Json<T>, Refused>;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// In the words of the catalogue.
    Api(Refusal),
    /// In the words of the identity API.
    Identity(IamRefusal),
}

/// Which interface was called: each has its own body for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V1,
    Legacy,
    Identity,
}

impl Family {
    pub(crate) fn of(path: &str) -> Self {
        if is_key_pairs(path) {
            Self::V1
        } else if path == "/" || path == "/v3" || path.starts_with("/v3/") {
            Self::Identity
        } else if path.contains("/demanager/") {
            Self::Legacy
        } else {
            Self::V1
        }
    }
}

/// Whether the path is one of key pairs, `/v3/{project_id}/keypairs…`: they stand beside the identity API and speak as
/// the other services do.
fn is_key_pairs(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    parts.next() == Some("v3") && parts.nth(1) == Some("keypairs")
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Api(refusal)
    }
}

impl From<AuthRefusal> for Refused {
    fn from(refusal: AuthRefusal) -> Self {
        Self::Api(refusal.into())
    }
}

impl From<IamRefusal> for Refused {
    fn from(refusal: IamRefusal) -> Self {
        Self::Identity(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Self::Identity(IamRefusal { retry_after: Some(seconds), .. }) = self {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl Refused {
    pub(crate) fn status(&self) -> StatusCode {
        let number = match self {
            Self::Api(refusal) => refusal.code().http_status(),
            Self::Identity(refusal) => refusal.http,
        };
        StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Api(refusal) => refusal.message(),
            Self::Identity(refusal) => &refusal.message,
        }
    }

    /// The text code for the log; the identity API has only its status.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Api(refusal) => refusal.code().as_str(),
            Self::Identity(_) => "identity",
        }
    }

    /// The whole response, in the words of the interface that was called.
    ///
    /// An unknown path belongs to no interface: it gets the gateway's body everywhere.
    pub(crate) fn render(self, family: Family, request_id: &str) -> Response {
        let (status, message) = (self.status(), self.message().to_owned());
        let error_code = match &self {
            Self::Api(refusal) if family != Family::Identity || refusal.code() == Code::NoSuchApi => {
                refusal.code().as_str().to_owned()
            }
            _ => {
                return (
                    status,
                    Json(bodies::error(&IamRefusal { http: status.as_u16(), message, retry_after: None })),
                )
                    .into_response();
            }
        };
        let request_id = Some(request_id.to_owned());
        match family {
            Family::Legacy => {
                let error_msg = message.clone();
                let body = LegacyError { error_code, error_message: message, error_msg, request_id };
                (status, Json(body)).into_response()
            }
            Family::V1 | Family::Identity => {
                (status, Json(ApiError { error_code, error_msg: message, request_id })).into_response()
            }
        }
    }
}
