//! Automatic stops.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a notebook's automatic stop. All times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// When the notebook was made.
    pub create_at: i64,
    /// When the lease was last written. Activity is no write.
    pub update_at: i64,
    /// Milliseconds from `create_at` to the automatic stop; −1 when there is none. Of type `IDLE`, it grows with every
    /// activity.
    pub duration: i64,
    /// Whether the notebook is stopped by itself.
    pub enable: bool,
    /// `TIMING`: at a fixed time. `IDLE`: after the notebook was idle.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A wish for an automatic stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseReq {
    /// Milliseconds to run from now on, or of type `IDLE`, to be idle; −1 for no automatic stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// `TIMING` or `IDLE`; `TIMING` when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether there is to be an automatic stop at all; must agree with `duration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
}
