//! The shapes of what goes over the wire: requests and answers of the API, shared by the server that writes them and
//! the programs that read them.
//!
//! There is no logic here. A shape holds text and numbers exactly as they are sent; what they mean, which are allowed
//! and where they come from is decided elsewhere. Two habits hold for all of them:
//!
//! * A field that does not apply is absent, never `null`: clients test for presence.
//! * Everything can be read back, and a reader ignores what it does not know, so that an older client works with a
//!   newer server.
//!
//! Requests are here for clients to write. The server does not read them into these shapes: it reads bodies field by
//! field, because its refusals name the field that was wrong, which a derived reader cannot do.

pub mod cluster;
pub mod credential;
pub mod error;
pub mod flavor;
pub mod health;
pub mod identity;
pub mod image;
pub mod key_pair;
pub mod lease;
pub mod legacy;
pub mod notebook;
pub mod tag;

pub use cluster::{Cluster, ClusterFlavor, ClusterPage, FeatureQuota};
pub use error::{ApiError, LegacyError};
pub use flavor::{BillingInfo, GpuInfo, NotebookFlavor, NotebookFlavorPage};
pub use health::{Liveness, Readiness};
pub use image::{Image, ImagePage};
pub use lease::{Lease, LeaseReq};
pub use notebook::{
    ContainerHooks, CustomHooks, Domain, EndpointReq, EndpointRes, HookConfig, JobProgress, Notebook,
    NotebookCreateRequest, NotebookCustomSpec, NotebookPage, NotebookUpdateRequest, Pool, RunCodeLabRequest, User,
    VolumeReq, VolumeRes,
};
pub use tag::{Tag, TagSummary, TagSummaryList, TagsRequest};
