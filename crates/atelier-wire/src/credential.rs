//! Access keys, permanent and temporary, and who somebody is to the token service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialAnswer {
    /// The key.
    pub credential: Credential,
}

/// The access keys of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialsAnswer {
    /// The keys, oldest first.
    pub credentials: Vec<Credential>,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// The public half.
    pub access: String,
    /// The secret half; only in the answer to the creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `active` or `inactive`.
    pub status: String,
    /// When it was made: `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
    pub create_time: String,
    /// Whose it is.
    pub user_id: String,
    /// What people say about it.
    pub description: String,
}

/// A temporary access key that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemporaryCredentialAnswer {
    /// The key.
    pub credential: TemporaryCredential,
}

/// A temporary access key; its secrets are shown only here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemporaryCredential {
    /// The public half.
    pub access: String,
    /// The secret half.
    pub secret: String,
    /// What must come along in `X-Security-Token`.
    pub securitytoken: String,
    /// The moment from which it is worth nothing.
    pub expires_at: String,
}

/// `GET /v5/caller-identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallerIdentity {
    /// The account: the caller's domain.
    pub account_id: String,
    /// The user.
    pub principal_id: String,
    /// The user, by name in their account.
    pub principal_urn: String,
}
