//! Who asks, and from where.

use std::fmt;
use std::net::IpAddr;

use crate::id::{DomainId, ProjectId, UserId};

/// An authenticated caller, scoped to one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// The account the user belongs to.
    pub domain_id: DomainId,
    /// The account's name.
    pub domain_name: String,
    /// The project that the caller acts in.
    pub project_id: ProjectId,
    /// How the caller proved it, and from where.
    pub source: Source,
}

/// How somebody proved who they are, and from where: what the audit says beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What they showed.
    pub credential: Credential,
    /// Where the request came from, where that is known.
    pub address: Option<IpAddr>,
}

/// What somebody showed. Never the secret itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing that counted.
    #[default]
    None,
    /// A password.
    Password,
    /// A token.
    Token,
    /// A signature; the public half of its access key.
    AccessKey(String),
}

impl Credential {
    /// The name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Token => "token",
            Self::AccessKey(_) => "access-key",
        }
    }

    /// The public half of the access key, where one was used.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Self::AccessKey(access) => Some(access),
            _ => None,
        }
    }
}

/// Where a change came from: kept with every operation and event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who caused it.
    pub actor: Actor,
    /// The request that caused it, when one did.
    pub request_id: Option<String>,
}

impl Origin {
    /// The server itself caused it.
    pub const fn system() -> Self {
        Self { actor: Actor::System, request_id: None }
    }
}

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user, by id and name.
    User(UserId, String),
    /// The end of a lease.
    Lease,
    /// The server: a fault found, work resumed.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(_, name) => write!(f, "user {name}"),
            Self::Lease => f.write_str("lease"),
            Self::System => f.write_str("system"),
        }
    }
}
