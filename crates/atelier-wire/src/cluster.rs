//! Where notebooks can run, and how many of them there may be.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flavor::{BillingInfo, GpuInfo};

/// A place where notebooks can run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its id.
    pub logic_cluster_id: String,
    /// The pool that it is; absent where it is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// `ACTIVE`.
    pub status: String,
    /// `MANAGED`: for everybody; `DEDICATED`: a pool.
    #[serde(rename = "type")]
    pub kind: String,
    /// `GPU` where flavors have GPUs, else `CPU`.
    pub resource_categories: String,
    /// The workspace that may use it.
    pub workspace_id: String,
    /// The project that it is shown in.
    pub project_id: String,
    /// The account that it is shown in.
    pub domain_id: String,
    /// The sizes that notebooks can have there.
    #[serde(default)]
    pub flavors: Vec<ClusterFlavor>,
    /// Whether notebooks may be root there.
    pub is_allow_root: bool,
}

/// A size of notebook, as clusters list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterFlavor {
    /// Its id.
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
    /// Memory in KiB: a text here, where a flavor by itself has a number.
    pub memory: String,
    /// Whether it is given away.
    pub free: bool,
    /// No notebook of it can be made now.
    pub sold_out: bool,
    /// The kinds of volume that go with it.
    pub storages: Vec<String>,
    /// How it is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<BillingInfo>,
    /// Its GPUs; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuInfo>,
}

/// A page of clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterPage {
    /// The page's number, from 0.
    pub current: u32,
    /// The records.
    pub data: Vec<Cluster>,
    /// How many pages there are.
    pub pages: u64,
    /// Records to a page: the limit in force.
    pub size: u64,
    /// Records in all.
    pub total: u64,
}

/// How many notebooks somebody may have, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeatureQuota {
    /// `NOTEBOOK`.
    pub name: String,
    /// Whether notebooks can be made at all.
    pub enabled: bool,
    /// How many notebooks the user may have in the project.
    pub quota: u32,
    /// How many they have.
    pub used: u64,
    /// Whose quota it is.
    pub user_id: String,
}
