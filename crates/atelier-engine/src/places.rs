//! Commands that people run in notebooks: who may, and how many at a time.
//!
//! A command takes a place of its notebook before anything is started, and gives it back when its [`CommandPlace`] is
//! dropped. What runs in a place is work: whoever drives it says so with [`Engine::person_worked`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_core::caller::Caller;
use atelier_core::id::NotebookId;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::{Exec, ExecSpec, RuntimeError, RuntimeKind};

use crate::Engine;

/// How long a command may take to begin.
const BEGIN_LIMIT_MS: i64 = 10_000;

/// How many places of each notebook are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<NotebookId, u32>>>);

/// A place of a notebook, until this is dropped.
#[derive(Debug)]
pub struct CommandPlace {
    notebook: NotebookId,
    places: Places,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<NotebookId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, when fewer than `most` are taken.
    fn take(&self, notebook: NotebookId, most: u32) -> Option<CommandPlace> {
        let mut all = self.taken();
        let taken = all.entry(notebook).or_insert(0);
        let has_room = *taken < most;
        if has_room {
            *taken += 1;
        } else if *taken == 0 {
            all.remove(&notebook);
        }
        drop(all);
        has_room.then(|| CommandPlace { notebook, places: self.clone() })
    }
}

impl CommandPlace {
    /// Whose place it is.
    pub const fn notebook(&self) -> NotebookId {
        self.notebook
    }
}

impl Drop for CommandPlace {
    fn drop(&mut self) {
        let mut all = self.places.taken();
        if let Some(taken) = all.get_mut(&self.notebook) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.notebook);
            }
        }
    }
}

impl Engine {
    /// A place for a command in one of the caller's running notebooks.
    pub async fn place_for_command(&self, caller: &Caller, id: NotebookId) -> Result<CommandPlace, Refusal> {
        let notebook = self.show(caller, id).await?;
        if self.inner.runtime.kind() == RuntimeKind::Simulated {
            return Err(Refusal::unsupported("running commands in notebooks of the simulated runtime"));
        }
        if notebook.status() != Status::Running {
            let status = notebook.status();
            let message = format!("notebook is {status}; commands run only in one that is RUNNING");
            return Err(Refusal::new(Code::NotRunning, message));
        }
        let most = self.inner.config.commands_per_notebook;
        let place = self.inner.places.take(id, most);
        place.ok_or_else(|| Refusal::new(Code::QuotaExceeded, format!("notebook may run {most} commands at a time")))
    }

    /// Runs a command in its place.
    pub async fn exec(&self, place: &CommandPlace, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        self.person_worked(place.notebook);
        tokio::select! {
            biased;
            begun = self.inner.runtime.exec(place.notebook, spec) => begun,
            () = self.pass(BEGIN_LIMIT_MS) => Err(RuntimeError::Transient("the command does not begin in time".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_had_again_when_it_was_given_back() {
        let (one, other): (NotebookId, NotebookId) = (
            "01a20091-ce99-746d-afa5-16065d56497f".parse().unwrap(),
            "01a20091-ce99-746d-afa5-16065d564980".parse().unwrap(),
        );
        let places = Places::default();
        let first = places.take(one, 2).unwrap();
        let _second = places.take(one, 2).unwrap();
        assert!(places.take(one, 2).is_none());
        assert!(places.take(other, 2).is_some());
        assert!(places.take(other, 0).is_none());
        drop(first);
        assert_eq!(places.take(one, 2).unwrap().notebook(), one);
        assert_eq!(places.taken().len(), 1, "only the notebook with a command is remembered");
    }
}
