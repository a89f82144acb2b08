//! Tags of notebooks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tag {
    /// 1 to 128 letters, digits, spaces and `_ . : = + - @`; no space at either end, not `_sys_` at the beginning.
    pub key: String,
    /// Up to 255 of the same, and `/`; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Tags to hang on a notebook, or to take off it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TagsRequest {
    /// At least one.
    pub tags: Vec<Tag>,
}

/// A key, and the values that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TagSummary {
    /// The key.
    pub key: String,
    /// Its values, each once.
    pub values: Vec<String>,
}

/// The tags in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TagSummaryList {
    /// By key.
    pub tags: Vec<TagSummary>,
}
