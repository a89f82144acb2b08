//! The bodies of refusals.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// The text code, for example `ModelArts.6404`.
    #[schema(examples("ModelArts.6404"))]
    pub error_code: String,
    /// A sentence for people.
    pub error_msg: String,
    /// The request that was refused; also in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A refusal on the paths of the legacy API.
///
/// Its documents call the sentence `error_message`, the official clients read only `error_msg`: both are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyError {
    /// The text code.
    pub error_code: String,
    /// A sentence for people.
    pub error_message: String,
    /// The same sentence.
    pub error_msg: String,
    /// The request that was refused; also in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
