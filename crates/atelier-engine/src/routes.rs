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
use atelier_store::{Resting, StoreError};
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
    by_id: RwLock<HashMap<NotebookId, Place>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
enum Place {
    Known(Box<Route>),
    /// As it was when the server started; nobody has come since.
    Resting(Box<Resting>),
}

impl Place {
    fn status(&self) -> Status {
        match self {
            Self::Known(route) => route.status,
            Self::Resting(resting) => resting.status,
        }
    }

    fn route(&self) -> Result<Route, StoreError> {
        let resting = match self {
            Self::Known(route) => return Ok(Route::clone(route)),
            Self::Resting(resting) => resting,
        };
        let (token, upstream_secret) = resting.secrets.open()?;
        Ok(Route {
            id: resting.id,
            project_id: resting.project_id.clone(),
            owner: resting.user_id.clone(),
            name: resting.name.clone(),
            status: resting.status,
            fail_reason: resting.fail_reason.clone(),
            progress: Vec::new(),
            token,
            upstream_secret,
        })
    }
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { by_id: RwLock::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn get(&self, id: NotebookId) -> Option<Route> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&id)?.route().inspect_err(|error| tracing::error!(notebook = %id, "{error}")).ok()
    }

    /// The status of a notebook.
    pub(crate) fn status(&self, id: NotebookId) -> Option<Status> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Place::status)
    }

    /// The notebooks that rest in RUNNING.
    pub(crate) fn running(&self) -> Vec<NotebookId> {
        self.those(|status| status == Status::Running)
    }

    /// How many there are in each status.
    pub(crate) fn census(&self) -> HashMap<Status, u64> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().fold(HashMap::new(), |mut census, place| {
            *census.entry(place.status()).or_default() += 1;
            census
        })
    }

    /// The notebooks that hold compute, or may: those whose lease counts.
    pub(crate) fn holding(&self) -> Vec<NotebookId> {
        self.those(Status::holds_compute)
    }

    /// The notebooks that do not rest.
    pub(crate) fn under_way(&self) -> Vec<NotebookId> {
        self.those(|status| !status.is_stable())
    }

    fn those(&self, wanted: impl Fn(Status) -> bool) -> Vec<NotebookId> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.iter().filter(|(_, place)| wanted(place.status())).map(|(id, _)| *id).collect()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes over what rests at the start of a server.
    pub(crate) fn put_resting(&self, resting: Resting) {
        let (id, place) = (resting.id, Place::Resting(Box::new(resting)));
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(id, place);
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
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(notebook.id, Place::Known(Box::new(route)));
        self.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn remove(&self, id: NotebookId) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.changes.send_modify(|n| *n += 1);
    }
}
