//! Giving volumes their new size under notebooks that run.
//!
//! What was asked for is on the notebook's row, as the size that its volume grows to: that is the contract's status
//! RESIZING. It needs no operation of its own, because it is one call that may be made again at any time, and nothing has
//! to be taken back: a volume is never made smaller. Whoever runs with such a size, however it became known (a commit, the
//! server's start, a commit read again that was not answered), is in line here, so it cannot be forgotten. The line ends
//! each in one of three ways: the volume has its size; it could not grow, and keeps the one that it had, with an event that
//! says why; or the notebook left RUNNING, and its next start gives the volume its size.
//!
//! Growing makes no volume. A deletion may be quicker, and nothing must come back after it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::StepName;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::RuntimeError;

use crate::Engine;
use crate::hands::Errand;
use crate::steps::{limit, spec};
use crate::write::AGAIN_MS;

/// The notebooks whose volumes are being given a new size.
#[derive(Debug, Default)]
pub(crate) struct Growths(Mutex<HashSet<NotebookId>>);

impl Growths {
    fn all(&self) -> MutexGuard<'_, HashSet<NotebookId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Lets a volume grow that is waiting for it, unless that is under way already.
    pub(crate) fn look_at_growth(&self, notebook: &Notebook) {
        let id = notebook.id;
        if !is_waiting(notebook) || !self.inner.growths.all().insert(id) {
            return;
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = engine.inner.stopping.cancelled() => {}
                () = engine.grow(id) => {}
            }
            engine.inner.growths.all().remove(&id);
        });
    }

    /// Until nothing waits any more: another growth may have been asked for meanwhile.
    async fn grow(&self, id: NotebookId) {
        loop {
            match self.inner.store.notebook(id).await {
                Ok(Some(notebook)) if is_waiting(&notebook) => {
                    let grown = self.tried(id, StepName::PrepareStorage, |_| self.enlarge(&notebook)).await;
                    if !self.record_growth(&notebook, grown).await {
                        self.pass(AGAIN_MS).await;
                    }
                }
                Ok(_) => return,
                Err(_) => self.pass(AGAIN_MS).await,
            }
        }
    }

    async fn enlarge(&self, notebook: &Notebook) -> Result<(), RuntimeError> {
        let (runtime, spec) = (self.inner.runtime.clone(), spec(notebook));
        let errand = Errand { notebook: notebook.id, what: "grow the volume", limit: limit(StepName::PrepareStorage) };
        self.call(errand, async move || runtime.grow_storage(&spec).await).await
    }

    /// Writes what came of it; whether that is settled.
    async fn record_growth(&self, asked: &Notebook, grown: Result<(), String>) -> bool {
        let Some(wanted) = asked.volume.wanted_gib() else { return true };
        let recorded = self
            .change(asked.id, |mut notebook| {
                if !is_waiting(&notebook) || notebook.volume.wanted_gib() != Some(wanted) {
                    return Err(Refusal::new(Code::Conflict, "another size is wanted now"));
                }
                let (what, why) = match &grown {
                    Ok(()) => {
                        notebook.volume.settle();
                        ("volume.grown", format!("the volume has {wanted} GiB now"))
                    }
                    Err(reason) => {
                        let kept = asked.volume.capacity_gib().unwrap_or_default();
                        if let Some(size) = notebook.volume.size_mut() {
                            size.growing_to_gib = None;
                        }
                        ("volume.growth_failed", format!("the volume keeps its {kept} GiB: {reason}"))
                    }
                };
                Ok(self.with_event(notebook, what, why))
            })
            .await;
        match recorded {
            Ok(_) => true,
            Err(refusal) => matches!(refusal.code(), Code::Conflict | Code::NotFound),
        }
    }
}

fn is_waiting(notebook: &Notebook) -> bool {
    notebook.status() == Status::Running && notebook.volume.growing_to_gib().is_some()
}
