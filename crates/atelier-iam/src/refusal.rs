//! The two ways in which identity says no.
//!
//! [`AuthRefusal`]: a request did not prove who sends it, or may not act where it wants to. It is rendered in the body
//! of whichever interface was called, so it converts to both. [`IamRefusal`]: the identity API itself refuses, in the
//! words of Keystone: a status and a sentence.

use atelier_core::{Code, Refusal};
use atelier_store::StoreError;

/// A request did not prove who sends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefusal {
    /// No credential at all came with the request.
    #[error("`X-Auth-Token` or a signature in `Authorization` is required")]
    TokenMissing,
    /// The token is not one of ours, was revoked, or its owner is no longer welcome.
    #[error("`X-Auth-Token` is not a valid token")]
    TokenInvalid,
    /// The token has expired.
    #[error("`X-Auth-Token` has expired; request a new token")]
    TokenExpired,
    /// The signature does not prove anything; why, as far as that may be told.
    #[error("{0}")]
    BadSignature(&'static str),
    /// The request is signed by somebody who has no access to the project it names.
    #[error("`X-Project-Id` is not a project of the access key's user")]
    ForeignProject,
    /// Who sends it could not be found out.
    #[error("identity cannot be checked at the moment; try again")]
    Unavailable,
}

impl AuthRefusal {
    /// Its place in the catalogue.
    pub const fn code(&self) -> Code {
        match self {
            Self::TokenMissing => Code::TokenMissing,
            Self::TokenInvalid => Code::TokenInvalid,
            Self::TokenExpired => Code::TokenExpired,
            Self::BadSignature(_) => Code::BadSignature,
            Self::ForeignProject => Code::ForeignProject,
            Self::Unavailable => Code::Unavailable,
        }
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

impl From<AuthRefusal> for IamRefusal {
    fn from(refusal: AuthRefusal) -> Self {
        Self::new(refusal.code().http_status(), refusal.to_string())
    }
}

/// The store's cause goes to the log; the caller learns only that it may try again.
impl From<StoreError> for AuthRefusal {
    fn from(cause: StoreError) -> Self {
        tracing::error!(%cause, "identity could not be read");
        Self::Unavailable
    }
}

/// The identity API refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({http})")]
pub struct IamRefusal {
    /// The HTTP status.
    pub http: u16,
    /// A sentence for the caller: lower case, no full stop, no secret.
    pub message: String,
    /// The seconds after which it may be different.
    pub retry_after: Option<u32>,
}

impl IamRefusal {
    pub(crate) fn new(http: u16, message: impl Into<String>) -> Self {
        Self { http, message: message.into(), retry_after: None }
    }

    /// The body is wrong; the sentence names the place.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// Wrong user, domain or password: nobody learns which.
    pub fn wrong_credentials() -> Self {
        Self::new(401, "the user name, the domain or the password is wrong")
    }

    /// Too many wrong passwords; `ms` are left until the next try counts.
    pub(crate) fn locked(ms: i64) -> Self {
        let seconds = u32::try_from(ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0)).unwrap_or(u32::MAX);
        let message =
            format!("too many wrong passwords for this user from this address; try again in {seconds} seconds");
        Self { retry_after: Some(seconds), ..Self::new(403, message) }
    }

    /// Too many logins wait already.
    pub(crate) fn busy() -> Self {
        let message = "too many logins wait for their turn; try again in a second";
        Self { retry_after: Some(1), ..Self::new(429, message) }
    }

    /// The caller is known and may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }

    /// What was named does not exist, or is not the caller's: the answer is the same.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// Something broke on our side.
    pub fn internal() -> Self {
        Self::new(500, "internal error")
    }

    /// The HTTP status in words, as Keystone's bodies carry it.
    pub const fn title(&self) -> &'static str {
        match self.http {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            409 => "Conflict",
            413 => "Request Entity Too Large",
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        }
    }
}

/// The store's cause goes to the log.
impl From<StoreError> for IamRefusal {
    fn from(cause: StoreError) -> Self {
        AuthRefusal::from(cause).into()
    }
}
