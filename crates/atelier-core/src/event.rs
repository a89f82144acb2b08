//! Events: who did what to a notebook, when and why. An event is written with the change it describes, in the same
//! transaction, so that the history never says more or less than happened.

use crate::caller::Origin;
use crate::clock::Timestamp;
use crate::id::{EventId, NotebookId, ProjectId};

/// One entry in a notebook's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookEvent {
    /// Its id.
    pub id: EventId,
    /// The notebook; the event outlives it.
    pub notebook_id: NotebookId,
    /// The notebook's project.
    pub project_id: ProjectId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, as a stable word such as `stop.asked`.
    pub what: String,
    /// Who caused it.
    pub origin: Origin,
    /// Why, as a sentence for people.
    pub why: String,
}
