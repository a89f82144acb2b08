//! The root file systems that notebooks start from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image. Inside a notebook only what names it is present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// `registry/organisation/name:tag`.
    pub swr_path: String,
    /// `BUILD_IN` or `DEDICATED`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The organisation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `x86_64` or `aarch64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// How notebooks made from it can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dev_services: Vec<String>,
    /// The kinds of processor it is made for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_categories: Vec<String>,
    /// What it is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// `ACTIVE` once it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Bytes; absent until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_name: Option<String>,
    /// Its version, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_tag: Option<String>,
    /// The workspace it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
}

/// A page of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImagePage {
    /// The page's number, from 0.
    pub current: u32,
    /// The records.
    pub data: Vec<Image>,
    /// How many pages there are.
    pub pages: u64,
    /// Records to a page: the limit in force.
    pub size: u64,
    /// Records in all.
    pub total: u64,
}
