//! Who may still enter what is theirs. The gateway asks: a notebook's own token does not say who shows it, so whoever
//! owns the notebook answers for it.

use atelier_core::id::{ProjectId, UserId};
use tokio::sync::watch;

use crate::service::Iam;

/// Whether a user may enter a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    Welcome,
    /// They are switched off, or have no role there (any more).
    Barred,
    /// It cannot be known at the moment, and nothing is to be decided from that.
    Unknown,
}

impl Iam {
    /// Whether this user may enter this project. Costs no read of the store.
    pub fn standing(&self, user_id: &UserId, project_id: &ProjectId) -> Standing {
        let Ok(people) = self.inner.people() else { return Standing::Unknown };
        let enabled = people.user(user_id).is_some_and(|user| user.enabled);
        if enabled && people.project_of(user_id, project_id).is_some() { Standing::Welcome } else { Standing::Barred }
    }

    /// Wakes after every change of the directory; [`Iam::standing`] answers by it before the wake-up.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }
}
