//! Nothing stays under way without somebody who drives it.
//!
//! Every status that is not stable has an owner (the task that drives its operation), a deadline (the limits of the
//! steps) and a next action. Owners can be lost: a task may end by a defect, or by a failure of the store between two
//! steps. So the watchdog looks at what is unfinished every few seconds:
//!
//! * An operation that nobody drives is driven.
//! * A notebook that is under way without an operation (no code writes this, but a damaged or restored store may hold
//!   it) ends in its failed status, with that as the reason.

use atelier_core::id::NotebookId;
use atelier_core::operation::Operation;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Event;

use crate::Engine;

/// How often it looks.
pub(crate) const LOOK_MS: i64 = 15_000;

impl Engine {
    pub(crate) fn spawn_watchdog(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.pass(LOOK_MS) => engine.look_after_drivers().await,
                }
            }
        });
    }

    /// Looks once.
    pub(crate) async fn look_after_drivers(&self) {
        if self.inner.aftermath.is_pending() {
            return;
        }
        let unfinished = match self.inner.store.unfinished_operations().await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::warn!("the watchdog cannot read the operations: {error}");
                return;
            }
        };
        for operation in &unfinished {
            if self.inner.drivers.since(operation.notebook_id).is_none() {
                self.take_over(operation);
            }
        }
        for id in self.inner.routes.under_way() {
            if !unfinished.iter().any(|o| o.notebook_id == id) && self.inner.drivers.since(id).is_none() {
                self.end_stranded(id).await;
            }
        }
    }

    fn take_over(&self, operation: &Operation) {
        tracing::warn!(notebook = %operation.notebook_id, operation = %operation.id, kind = %operation.kind,
            "nobody drove the {} of notebook {}; it is driven again", operation.kind, operation.notebook_id);
        self.drive(operation.notebook_id);
    }

    /// Decides anew: an operation may have begun since the look.
    async fn end_stranded(&self, id: NotebookId) {
        let ended = self
            .change_with_operations(id, |mut notebook, operations| {
                if notebook.status().is_stable() || !operations.is_empty() {
                    return Err(Refusal::new(Code::Conflict, "it is driven"));
                }
                let reason = format!("it was {} without an operation", notebook.status());
                notebook.apply(Event::Broke, self.now())?;
                notebook.fail_reason = Some(reason.clone());
                notebook.progress.clear();
                Ok(self.with_event(notebook, "stranded", reason))
            })
            .await;
        if let Ok(notebook) = ended {
            tracing::error!(notebook = %id, "notebook {id} was under way without an operation; it is {} now",
                notebook.status());
        }
    }
}
