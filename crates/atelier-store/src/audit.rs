//! The audit's side of the store's contract.
//!
//! The audit is append-only, and every engine enforces that itself: nothing that speaks its language changes or removes
//! a record. Each record holds a hash over itself and its predecessor, so that whoever changes the file by other means
//! has to write everything anew that follows, and whoever noted the last hash elsewhere sees it.
//!
//! One thing removes records: the pruning of those that are older than the configuration says. It removes the oldest
//! ones only, in whole, and leaves a record of itself with the hash that the rest hangs on.

use async_trait::async_trait;
use atelier_core::audit::AuditRecord;
use atelier_core::clock::Timestamp;
use atelier_core::id::{NotebookId, ProjectId, UserId};

use crate::StoreError;

/// The operation that a pruning is recorded as.
pub const PRUNED: &str = "PruneAudit";

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place: 1, 2, 3, … without gaps.
    pub seq: u64,
    /// The record.
    pub record: AuditRecord,
    /// The hash over it and everything before it.
    pub hash: [u8; 32],
}

/// Which records to read. Conditions join with *and*; the newest come first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// In this project, and those in none.
    pub project_id: Option<ProjectId>,
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Of the user with this name at that time.
    pub user_name: Option<String>,
    /// About this notebook.
    pub notebook_id: Option<NotebookId>,
    /// Of this operation.
    pub operation: Option<String>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Before this place: for the next page.
    pub before: Option<u64>,
    /// Records at most.
    pub limit: u32,
}

/// What the chain of hashes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditVerdict {
    /// Records that were looked at.
    pub records: u64,
    /// The place of the oldest one, when there is one.
    pub first: Option<u64>,
    /// The place and hash of the newest one, when there is one.
    pub head: Option<(u64, [u8; 32])>,
    /// Where the chain is broken first, and how; nothing when it is whole.
    pub broken: Option<(u64, String)>,
}

/// What is kept about who did what.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Appends a record, unless one of the same request is there already; durable when it answers.
    async fn append_audit(&self, record: AuditRecord) -> Result<(), StoreError>;

    /// A page of records, newest first.
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;

    /// Reads the whole chain and checks every hash.
    async fn verify_audit(&self) -> Result<AuditVerdict, StoreError>;

    /// Removes the oldest records, those before `before`, and leaves a record of that at `now`. Answers how many.
    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;
}
