//! The sizes that notebooks come in.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

/// A size of notebook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookFlavor {
    /// Its id.
    #[schema(examples("modelarts.vm.cpu.2u"))]
    pub id: String,
    /// Its name; the same as its id.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// `CPU` or `GPU`.
    pub category: String,
    /// `NOTEBOOK`.
    pub feature: String,
    /// CPUs, rounded up to whole ones.
    pub vcpus: u32,
    /// Memory in KiB.
    pub memory: u64,
    /// Whether it is given away.
    pub free: bool,
    /// No notebook of it can be made now.
    pub sold_out: bool,
    /// The kinds of volume that go with it.
    pub storages: Vec<String>,
    /// How it is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<BillingInfo>,
    /// Its GPUs; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuInfo>,
}

/// The GPUs of a flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuInfo {
    /// How many.
    #[schema(value_type = f64)]
    pub gpu: Number,
    /// What each has of memory, such as `80GiB`; absent where the machine has no such GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<String>,
    /// The product, as its driver says it; absent where the machine has no GPU and none is named.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// How a flavor is charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillingInfo {
    /// What is charged: the flavor's id.
    pub code: String,
    /// How many units of it.
    pub unit_num: u32,
}

/// A page of flavors. The same records stand under `data` and `flavors`, because clients read one or the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookFlavorPage {
    /// The page's number: from 0 when a limit was given, 1 otherwise.
    pub current: u32,
    /// The records.
    pub data: Vec<NotebookFlavor>,
    /// The same records.
    #[serde(default)]
    pub flavors: Vec<NotebookFlavor>,
    /// How many pages there are.
    pub pages: u64,
    /// Records to a page.
    pub size: u64,
    /// Records in all.
    pub total: u64,
}
