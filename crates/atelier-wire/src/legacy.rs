//! Instances: notebooks in the shapes of the legacy API.
//!
//! They differ from [`notebook`](crate::notebook) in their habits: durations are seconds, times of creation and change
//! are milliseconds in a *text*, and some members are `null` where they do not apply, because the documented answers
//! print them so. No answer has the documented member `error_code`: there are clients that take every body with one for a
//! refusal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyInstance {
    /// `DE-` and the id of the notebook.
    #[schema(examples("DE-7d558ef8-c73d-11ea-964c-0255ac100033"))]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Where it is in its life, in the words of the legacy API.
    pub status: String,
    /// When it was made: milliseconds since 1970 UTC, as a text.
    pub creation_timestamp: String,
    /// When its status last changed: milliseconds since 1970 UTC, as a text.
    pub latest_update_timestamp: String,
    /// What it was made from.
    pub profile: LegacyProfile,
    /// The id of its flavor.
    pub flavor: String,
    /// Its flavor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor_details: Option<LegacyFlavorDetails>,
    /// What it is made of.
    pub spec: LegacyNotebookSpec,
    /// The pool that it is in; absent where it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<LegacyPool>,
    /// The workspace it is in.
    pub workspace: LegacyRef,
    /// `default-ai-project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai_project: Option<LegacyRef>,
    /// Whose it is.
    pub user: LegacyUser,
}

/// A share of the machine that is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyPool {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `USER_DEFINED`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A reference by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyRef {
    /// The id.
    #[serde(default)]
    pub id: String,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyUser {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A profile: an image by the name that the legacy API has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyProfile {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// `Notebook`.
    pub de_type: String,
    /// `CPU` or `GPU`.
    pub flavor_type: String,
    /// How it is deployed.
    pub provision: LegacyProvision,
    /// `null`.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// How a profile is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyProvision {
    /// `Docker`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The image.
    pub spec: LegacyProvisionSpec,
    /// `category`, `flavor` and `type`.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What a profile is deployed from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyProvisionSpec {
    /// `CCE`.
    pub engine: String,
    /// The image.
    pub params: LegacyDockerParams,
}

/// An image, by its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyDockerParams {
    /// The organisation.
    pub namespace: String,
    /// The name.
    pub image_name: String,
    /// The version.
    pub image_tag: String,
    /// `null`.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A flavor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyFlavorDetails {
    /// Its id.
    pub name: String,
    /// `onSale` or `soldOut`.
    pub status: String,
    /// `CPU` or `GPU`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The storage that it can have: `evs`.
    #[serde(default)]
    pub storage_list: Vec<String>,
    /// Whether the caller may use it.
    pub is_permitted: bool,
    /// What it has: `CPU`, processors, and `memory`, for example `8GiB`.
    pub params: BTreeMap<String, serde_json::Value>,
    /// `Free` or `NoDiscount`.
    pub promo_type: String,
    /// Hours that an inactive instance is kept; −1 for ever.
    pub store_time: i64,
    /// What it is charged as.
    pub billing_flavor: String,
    /// How many of those.
    pub billing_params: i64,
}

/// What an instance is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyNotebookSpec {
    /// Where it keeps its files.
    pub storage: LegacyStorage,
    /// `null`.
    #[serde(default)]
    pub extend_storage: Option<Vec<LegacyStorage>>,
    /// Its automatic stop.
    pub auto_stop: LegacyAutoStop,
    /// `url` and `target_domain`, once it ran.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Why it failed, where it did.
    #[serde(default)]
    pub failed_reasons: Option<LegacyFailedReasons>,
    /// `null`.
    #[serde(default)]
    pub extend_params: Option<BTreeMap<String, String>>,
    /// `null`.
    #[serde(default)]
    pub repository: Option<BTreeMap<String, String>>,
}

/// Where an instance keeps its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyStorage {
    /// `evs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where and how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LegacyLocation>,
}

/// A place for files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyLocation {
    /// Where it is in the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How large it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<u32>,
    /// `GB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<String>,
}

/// An automatic stop. Durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyAutoStop {
    /// Whether it is stopped by itself, from its next start on.
    pub enable: bool,
    /// How long it runs after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// Whether a console should remind people of it.
    pub prompt: bool,
    /// When it stops: milliseconds since 1970 UTC. Only while it runs and will be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timestamp: Option<i64>,
    /// What is left until then. Only while it runs and will be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remain_time: Option<i64>,
}

/// Why an instance failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyFailedReasons {
    /// A text code.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Nothing more.
    #[serde(default)]
    pub detail: BTreeMap<String, String>,
}

/// A list of instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyInstanceList {
    /// How many there are on all pages.
    pub total_count: u64,
    /// The page.
    pub instances: Vec<LegacyInstance>,
}

/// A request for a new instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyInstanceCreateRequest {
    /// 1 to 64 letters, digits, `-` or `_`, unlike every other name of the caller's.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub name: String,
    /// The id of a profile, or of an image.
    pub profile_id: String,
    /// The id of the flavor.
    pub flavor: String,
    /// What it shall be made of.
    pub spec: LegacyCreateSpec,
    /// At most 512 characters, none of `& < > " ' /`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The pool that it shall be in; in none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<LegacyPool>,
    /// `0`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<LegacyRef>,
    /// `default-ai-project`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai_project: Option<LegacyRef>,
}

/// What a new instance shall be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyCreateSpec {
    /// Where it shall keep its files: `evs`, with a `volume_size` of 5 to 4096.
    pub storage: LegacyStorage,
    /// Its automatic stop; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_stop: Option<LegacyAutoStopRequest>,
}

/// A wish for an automatic stop. Durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyAutoStopRequest {
    /// Whether it shall be stopped by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// 3600 to 86400; required with `enable` true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// Whether a console should remind people of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<bool>,
}

/// A change of an instance; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyInstanceUpdateRequest {
    /// At most 512 characters, none of `& < > " ' /`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The automatic stop, from the next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<LegacyUpdateSpec>,
    /// The same, where some clients say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_stop: Option<LegacyAutoStopRequest>,
}

/// What can be changed of what an instance is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyUpdateSpec {
    /// The automatic stop, from the next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_stop: Option<LegacyAutoStopRequest>,
}

/// A request to start or to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyActionRequest {
    /// `start` or `stop`.
    pub action: String,
}

/// What a start or a stop has done. The names are not alike; so they are documented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyActionResult {
    /// Where it is now.
    pub current_status: String,
    /// Where it was.
    pub previous_state: String,
}

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyDeleteResult {
    /// Its id.
    pub instance_id: String,
}

/// What opens an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegacyTokenResult {
    /// The token.
    pub token: String,
}
