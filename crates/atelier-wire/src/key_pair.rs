//! Key pairs, in the shapes of the vendor's key pair service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a new key pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairCreateRequest {
    /// What is wanted.
    pub keypair: KeyPairReq,
}

/// What a new key pair shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairReq {
    /// 1 to 255 letters, digits, `-` or `_`.
    #[schema(max_length = 255, pattern = "^[A-Za-z0-9_-]{1,255}$")]
    pub name: String,
    /// `ssh`, which is also the default.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What to make, when no public key is given: `ED25519`, which is also the default, `RSA_2048`, `RSA_3072` or
    /// `RSA_4096`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The public half of a pair that was made elsewhere, as a line of an `authorized_keys` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// `user`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whose it shall be: the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// The answer to a creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairMadeAnswer {
    /// The pair.
    pub keypair: KeyPairMade,
}

/// A key pair that was just made or imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairMade {
    /// Its name.
    pub name: String,
    /// `ssh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its public half.
    pub public_key: String,
    /// Its private half, in OpenSSH's own form. Only where it was made here, only now, and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Whose it is.
    pub user_id: String,
}

/// A page of key pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairsAnswer {
    /// The pairs, by name.
    pub keypairs: Vec<ListedKeyPair>,
    /// Where the page lies.
    pub page_info: KeyPairPageInfo,
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedKeyPair {
    /// The pair.
    pub keypair: KeyPairSummary,
}

/// A key pair, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairSummary {
    /// Its name.
    pub name: String,
    /// `ssh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `user`.
    pub scope: String,
    /// Its public half.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Whether its private half is kept here: never.
    pub is_key_protection: bool,
    /// `0`: not frozen.
    pub frozen_state: String,
}

/// Where a page lies among the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairPageInfo {
    /// The `marker` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// The `marker` of the page before, empty for the first one; absent where there is none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_marker: Option<String>,
    /// Pairs on this page.
    pub current_count: u64,
}

/// One key pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairAnswer {
    /// The pair.
    pub keypair: KeyPairDetail,
}

/// A key pair, with everything that is known of it. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairDetail {
    /// A number that no other pair has.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `ssh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `user`.
    pub scope: String,
    /// Its public half.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// What kind of key it is, for example `ssh-ed25519`.
    pub algorithm: String,
    /// Whether its private half is kept here: never.
    pub is_key_protection: bool,
    /// Whether it was removed; then it is not shown.
    pub deleted: bool,
    /// 0: not frozen.
    pub frozen_state: i64,
    /// What people say about it.
    pub description: String,
    /// Whose it is.
    pub user_id: String,
    /// When it was made or imported.
    pub create_time: i64,
    /// When it was last described anew.
    pub update_time: i64,
}

/// A request to describe a key pair anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairUpdateRequest {
    /// The change.
    pub keypair: KeyPairUpdate,
}

/// What can be changed of a key pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPairUpdate {
    /// At most 255 characters.
    #[schema(max_length = 255)]
    pub description: String,
}
