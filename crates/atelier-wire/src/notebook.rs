//! Notebooks.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::image::Image;
use crate::lease::{Lease, LeaseReq};
use crate::tag::Tag;

/// A notebook. All times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notebook {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// Its name; names need not be unique.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Where it is in its life, for example `RUNNING`.
    pub status: String,
    /// Why it failed; only when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_reason: Option<String>,
    /// `NOTEBOOK`, or `DEFAULT` for the free instance.
    pub feature: String,
    /// What is hung on it, by key.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The id of its flavor; `custom.flavor.spec.code` where it says its size itself.
    pub flavor: String,
    /// Its size, where it says that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_spec: Option<NotebookCustomSpec>,
    /// The pool that it is in; absent where it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// Its image.
    pub image: Image,
    /// Its automatic stop.
    pub lease: Lease,
    /// Its volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeRes>,
    /// What is run in it at each start; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<CustomHooks>,
    /// How it can be reached at present.
    #[serde(default)]
    pub endpoints: Vec<EndpointRes>,
    /// Where it opens, once it ran: `url?token=token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What opens it; a new one at each start. Absent only where the reader may not open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The steps of the creation or start under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_progress: Option<Vec<JobProgress>>,
    /// What is charged at present.
    #[serde(default)]
    pub billing_items: Vec<String>,
    /// Who it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The id of the user it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The workspace it is in.
    pub workspace_id: String,
    /// When it was made.
    pub create_at: i64,
    /// When its status last changed.
    pub update_at: i64,
}

/// What is run in a notebook's container at each start, as its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CustomHooks {
    /// The hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_hooks: Option<ContainerHooks>,
}

/// The hooks of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerHooks {
    /// Run before the notebook server is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<HookConfig>,
    /// Run after the notebook server serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_start: Option<HookConfig>,
}

/// A hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookConfig {
    /// For `COMMAND` the base64 of a shell script, of at most 16384 bytes; for `SCRIPT` the absolute path of a program in the
    /// container.
    pub script: String,
    /// `SCRIPT`, which is also the default, or `COMMAND`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `ASYNC`, which is also the default: the start goes on; or `BLOCK`: it waits, and fails when the hook fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A share of the machine that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A size that a notebook in a pool says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookCustomSpec {
    /// CPUs, at least 0.4, with at most 2 decimals.
    #[schema(value_type = f64)]
    pub cpu: Number,
    /// MiB of memory, a whole number, at least 513.
    #[schema(value_type = f64)]
    pub memory: Number,
    /// `x86_64` or `aarch64`, as the machine is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `CPU`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

/// One step of a creation or a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobProgress {
    /// The notebook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notebook_id: Option<String>,
    /// 1 storage, 2 compute resources, 3 network, 4 the instance itself.
    pub step: u8,
    /// `WAITING`, `PROCESSING`, `COMPLETED` or `FAILED`.
    pub status: String,
    /// What the step does, and what it is doing at present.
    #[serde(default)]
    pub description: String,
    /// The same text.
    #[serde(default)]
    pub step_description: String,
}

/// A way to reach a notebook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointRes {
    /// `NOTEBOOK`.
    pub service: String,
    /// The same word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_service: Option<String>,
    /// Where.
    #[serde(default)]
    pub uri: String,
    /// The key pairs that open it; for SSH only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_pair_names: Vec<String>,
    /// The same names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// The addresses that may connect; for SSH only, empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_access_ips: Vec<String>,
}

/// A notebook's volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeRes {
    /// `EVS`: an own block volume. `EFS`: one that several notebooks have.
    pub category: String,
    /// `MANAGED`: it is made and destroyed with the notebooks that have it. `DEDICATED`: it is the operator's.
    pub ownership: String,
    /// GiB; that of `DEDICATED` ones is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Of `DEDICATED` ones: the id that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of `DEDICATED` ones: the address, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Where it is in the notebook.
    #[serde(default)]
    pub mount_path: String,
    /// Whether nothing can be written to it.
    #[serde(default)]
    pub read_only: bool,
    /// `RESIZING` while it grows; the notebook can be used meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The account it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A page of notebooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookPage {
    /// The page's number, from 0.
    pub current: u32,
    /// The records.
    pub data: Vec<Notebook>,
    /// How many pages there are.
    pub pages: u64,
    /// Records to a page: the limit in force.
    pub size: u64,
    /// Records in all.
    pub total: u64,
}

/// A request for a new notebook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookCreateRequest {
    /// 1 to 128 letters, digits, `-`, `_` or Chinese characters.
    pub name: String,
    /// At most 512 characters, none of `& < > " ' /`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `NOTEBOOK`, which is also the default, or `DEFAULT` for the free instance, in a free flavor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// The id of the flavor; required without `custom_spec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// A size in place of a flavor; with `pool_id` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_spec: Option<NotebookCustomSpec>,
    /// The id of the pool that it shall be in; in none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// The id of the image.
    #[schema(format = "uuid")]
    pub image_id: String,
    /// The volume.
    pub volume: VolumeReq,
    /// Milliseconds to run; −1 for no automatic stop. When given, the values in `lease` do not count, and the type is
    /// `TIMING`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// The automatic stop; one hour when neither is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseReq>,
    /// `0`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// Ways to reach the notebook; `NOTEBOOK` is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<EndpointReq>>,
    /// What is run in it at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<CustomHooks>,
    /// What to hang on it, at most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

/// A wish for the free instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunCodeLabRequest {
    /// The id of the image of a new one; the built-in image when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub image_id: Option<String>,
}

/// A change of a notebook. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotebookUpdateRequest {
    /// 1 to 128 letters, digits, `-`, `_` or Chinese characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most 512 characters, none of `& < > " /`; an empty text clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The id of the flavor from the next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// A size in place of a flavor, from the next start on; in a pool only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_spec: Option<NotebookCustomSpec>,
    /// The id of the image from the next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub image_id: Option<String>,
    /// GiB of the volume: the size that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_new_size: Option<u32>,
    /// What is run in it at each start, from the next one on, in place of all that was before; `{}` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<CustomHooks>,
    /// Ways to reach the notebook; `NOTEBOOK` is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<EndpointReq>>,
}

/// A wish for a way to reach a notebook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointReq {
    /// `NOTEBOOK`.
    pub service: String,
}

/// A wish for a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeReq {
    /// `EVS` for a volume of its own, `EFS` (or `SFS`) for one that several notebooks have.
    pub category: String,
    /// `MANAGED`; with `EFS` also `DEDICATED`, for a folder of the operator's.
    pub ownership: String,
    /// GiB, 5 to 4096; 5 when absent. A shared one has the size that the server gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Of `DEDICATED` ones: the address, `host:/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Of `DEDICATED` ones: the id of the file share, a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
