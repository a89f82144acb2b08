//! Looking after notebooks at rest: what runs is compared with what is kept, when the runtime says that something
//! changed, and every so often besides.

use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::{Event, Status};
use atelier_runtime::{Observed, RuntimeError};

use crate::Engine;
use crate::hands::Errand;
use crate::plan::{Action, Seen, plan};

/// How long nothing is looked at when nobody says that something changed.
const SLOW_POLL: Duration = Duration::from_secs(30);

/// How long a look at one notebook may take.
const LOOK_LIMIT: Duration = Duration::from_secs(15);

impl Engine {
    pub(crate) fn spawn_reconciler(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stopping = engine.inner.stopping.clone();
            loop {
                // Wait for the news before looking, so that none between the look and the wait is missed.
                let changed = engine.inner.runtime.changed();
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = engine.reconcile() => {}
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = changed => {}
                    () = tokio::time::sleep(SLOW_POLL) => {}
                }
            }
        });
    }

    /// Looks at every running notebook once. While a reboot is not written, those that are kept as RUNNING ran before it.
    pub async fn reconcile(&self) {
        if self.inner.aftermath.is_pending() {
            return;
        }
        let _one_at_a_time = self.inner.looking.lock().await;
        for id in self.inner.routes.running() {
            self.reconcile_one(id).await;
        }
    }

    /// What the runtime shows of a notebook. Not being able to ask, in time, is an error like any other.
    pub(crate) async fn observe(&self, id: NotebookId) -> Result<Observed, RuntimeError> {
        let runtime = self.inner.runtime.clone();
        let errand = Errand { notebook: id, what: "observe", limit: LOOK_LIMIT };
        self.call(errand, async move || runtime.observe(id).await).await
    }

    async fn reconcile_one(&self, id: NotebookId) {
        let seen = match self.observe(id).await {
            Ok(observed) => Seen::Is(observed),
            Err(error) => {
                tracing::warn!(notebook = %id, "notebook {id} cannot be observed: {error}");
                Seen::Unknown
            }
        };
        let Ok(Some(notebook)) = self.inner.store.notebook(id).await else { return };
        let notebook = self.with_activity(notebook);
        match plan(notebook.status(), notebook.lease, &seen, self.now()) {
            Action::Wait if seen == Seen::Is(Observed::Serving) => self.look_at_volume(&notebook).await,
            Action::Wait => {}
            Action::StopByLease => self.stop_by_lease(id).await,
            Action::ServeAgain => self.serve_again(id),
            Action::Fault(reason) => self.fault(id, |now| now.generation == notebook.generation, reason).await,
        }
    }

    /// Records a fault of a running notebook, if it still is the one that was judged.
    pub(crate) async fn fault(
        &self,
        id: NotebookId,
        is_current: impl Fn(&Notebook) -> bool + Send + Sync,
        reason: String,
    ) {
        let recorded = self
            .change(id, |mut notebook| {
                if !is_current(&notebook) || notebook.status() != Status::Running {
                    return Err(Refusal::new(Code::Conflict, "the notebook has changed"));
                }
                notebook.apply(Event::Broke, self.now())?;
                notebook.fail_reason = Some(reason.clone());
                Ok(self.with_event(notebook, "fault", reason.clone()))
            })
            .await;
        if recorded.is_ok() {
            tracing::warn!(notebook = %id, "notebook {id} is in ERROR: {reason}");
        }
    }
}
