//! The routes: what the gateway has to know of each notebook, in memory.
//!
//! The table is changed in one place, right after a commit, by the only process that writes the store. So it is never
//! stale: a token that was replaced, or a notebook that was stopped, is refused from the next request on. Readers take
//! a lock for the length of one look-up.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use atelier_core::id::{NotebookId, ProjectId, UserId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::StepRecord;
use atelier_core::status::Status;
use secrecy::SecretString;
use tokio::sync::watch;

/// What the gateway needs to know of a notebook.
#[derive(Clone, Debug)]
pub struct Route {
    /// The notebook.
    pub id: NotebookId,
    /// The project it is in.
    pub project_id: ProjectId,
    /// Whose it is.
    pub owner: UserId,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// Why it failed, when it did.
    pub fail_reason: Option<String>,
    /// The steps of the creation or start under way, for the page that visitors see meanwhile; empty otherwise.
    pub progress: Vec<StepRecord>,
    /// What a visitor must show.
    pub token: SecretString,
    /// What the notebook server must be shown.
    pub upstream_secret: SecretString,
}

/// The table of all routes.
#[derive(Debug)]
pub(crate) struct Routes {
    by_id: RwLock<HashMap<NotebookId, Route>>,
    changes: watch::Sender<u64>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { by_id: RwLock::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn get(&self, id: NotebookId) -> Option<Route> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The notebooks that rest in RUNNING.
    pub(crate) fn running(&self) -> Vec<NotebookId> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().filter(|r| r.status == Status::Running).map(|r| r.id).collect()
    }

    /// How many there are in each status.
    pub(crate) fn census(&self) -> HashMap<Status, u64> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().fold(HashMap::new(), |mut census, route| {
            *census.entry(route.status).or_default() += 1;
            census
        })
    }

    /// The notebooks that hold compute, or may: those whose lease counts.
    pub(crate) fn holding(&self) -> Vec<NotebookId> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().filter(|r| r.status.holds_compute()).map(|r| r.id).collect()
    }

    /// The notebooks that do not rest.
    pub(crate) fn under_way(&self) -> Vec<NotebookId> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().filter(|r| !r.status.is_stable()).map(|r| r.id).collect()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes over what was just committed. Returns without waking anybody when nothing that routes depend on changed.
    pub(crate) fn put(&self, notebook: &Notebook) {
        let route = Route {
            id: notebook.id,
            project_id: notebook.project_id.clone(),
            owner: notebook.owner.user_id.clone(),
            name: notebook.name.clone(),
            status: notebook.status(),
            fail_reason: notebook.fail_reason.clone(),
            progress: notebook.progress.clone(),
            token: notebook.token.clone(),
            upstream_secret: notebook.upstream_secret.clone(),
        };
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(notebook.id, route);
        self.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn remove(&self, id: NotebookId) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.changes.send_modify(|n| *n += 1);
    }
}
