//! Whether a server is well.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Liveness {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

/// The server can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ready`, or `not ready`.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// What makes the notebooks: `local`, or `simulated`, which only pretends to.
    pub runtime: String,
    /// What does not answer; the cause is in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a visitor should know, for example that nothing really runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
