//! The steps: what each name does to the runtime, within its time, and how it is taken back.
//!
//! | step | applied | taken back |
//! |---|---|---|
//! | prepare-storage | the volume exists | after a failed creation the volume is discarded; after a failed start, or when only the server did not come up, it is kept |
//! | prepare-compute | the image is there, the container exists | the instance is stopped |
//! | configure-network | the container has its network | the instance is stopped |
//! | initialize-instance | the notebook server answers | the instance is stopped |
//! | stop-instance | nothing of the instance runs | nothing: what is stopped stays stopped |
//! | remove-storage | nothing is left | nothing |

use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::{OperationKind, StepName};
use atelier_runtime::{InstanceSpec, Reporter, RuntimeError};

use crate::{Engine, failpoint};

/// How often a step is tried when trying again may help.
const TRIES: u32 = 3;

/// How long an image may take to be built or fetched.
const IMAGE_LIMIT: Duration = Duration::from_mins(30);

/// How long one try of a step may take.
const fn limit(step: StepName) -> Duration {
    Duration::from_secs(match step {
        // A stop: ten seconds of grace for the notebook server, and what the kernel needs to take down the rest.
        StepName::PrepareStorage | StepName::RemoveStorage | StepName::StopInstance => 30,
        StepName::PrepareCompute => 60,
        StepName::ConfigureNetwork => 10,
        StepName::InitializeInstance => 120,
    })
}

/// Passes the news of a long step on.
struct Notes<'a>(&'a Engine, NotebookId);

impl Reporter for Notes<'_> {
    fn report(&self, text: &str) {
        self.0.set_note(self.1, Some(text.to_owned()));
    }
}

fn spec(notebook: &Notebook) -> InstanceSpec {
    InstanceSpec {
        notebook: notebook.id,
        volume: notebook.volume,
        image: notebook.image.id,
        cpu_millis: notebook.flavor.cpu_millis,
        memory_bytes: notebook.flavor.memory_bytes(),
        upstream_secret: notebook.upstream_secret.clone(),
    }
}

impl Engine {
    /// Applies a step; the error is its reason, for people. `first`: it was never begun before.
    pub(crate) async fn apply(
        &self,
        notebook: &Notebook,
        kind: OperationKind,
        step: StepName,
        first: bool,
    ) -> Result<(), String> {
        let mut tried = 1;
        loop {
            let reason = match self.try_once(notebook, kind, step, first && tried == 1).await {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_transient() => return Err(format!("{}: {error}", step.description())),
                Err(error) => error,
            };
            if tried == TRIES {
                return Err(format!("{}: {reason} (tried {TRIES} times)", step.description()));
            }
            tracing::warn!(notebook = %notebook.id, step = %step, "step {step} is tried again: {reason}");
            tokio::time::sleep(Duration::from_millis(100) * tried).await;
            tried += 1;
        }
    }

    async fn try_once(
        &self,
        notebook: &Notebook,
        kind: OperationKind,
        step: StepName,
        first: bool,
    ) -> Result<(), RuntimeError> {
        if step == StepName::PrepareCompute {
            let notes = Notes(self, notebook.id);
            let image = self.inner.runtime.prepare_image(notebook.image.id, &notes);
            tokio::time::timeout(IMAGE_LIMIT, image).await.map_err(|_| over(IMAGE_LIMIT))??;
            self.set_note(notebook.id, None);
        }
        let limit = limit(step);
        tokio::time::timeout(limit, self.act(notebook, kind, step, first)).await.map_err(|_| over(limit))?
    }

    async fn act(
        &self,
        notebook: &Notebook,
        kind: OperationKind,
        step: StepName,
        first: bool,
    ) -> Result<(), RuntimeError> {
        let (runtime, id) = (&self.inner.runtime, notebook.id);
        if let Some(reason) = failpoint::fault(kind.as_str(), step.as_str()) {
            return Err(RuntimeError::Permanent(reason));
        }
        match step {
            StepName::PrepareStorage => {
                // A start after a fault: what is left of the former instance goes first.
                if kind == OperationKind::Start && first {
                    runtime.stop(id).await?;
                }
                runtime.prepare_storage(&spec(notebook)).await
            }
            StepName::PrepareCompute => runtime.prepare_compute(&spec(notebook)).await,
            StepName::ConfigureNetwork => runtime.configure_network(&spec(notebook)).await,
            StepName::InitializeInstance => runtime.initialize(&spec(notebook)).await,
            StepName::StopInstance => runtime.stop(id).await,
            StepName::RemoveStorage => runtime.remove(id).await,
        }
    }

    /// Takes a step back. `failed` is the step that made the operation fail.
    pub(crate) async fn undo(
        &self,
        id: NotebookId,
        kind: OperationKind,
        step: StepName,
        failed: Option<StepName>,
    ) -> Result<(), String> {
        let runtime = &self.inner.runtime;
        let undone = match step {
            StepName::PrepareStorage
                if kind == OperationKind::Create && failed != Some(StepName::InitializeInstance) =>
            {
                tokio::time::timeout(limit(step), runtime.discard_storage(id)).await
            }
            StepName::PrepareCompute | StepName::ConfigureNetwork | StepName::InitializeInstance => {
                tokio::time::timeout(limit(StepName::StopInstance), runtime.stop(id)).await
            }
            StepName::PrepareStorage | StepName::StopInstance | StepName::RemoveStorage => return Ok(()),
        };
        undone.map_err(|_| over(limit(step))).flatten().map_err(|e| e.to_string())
    }
}

fn over(limit: Duration) -> RuntimeError {
    RuntimeError::Transient(format!("not done within {} s", limit.as_secs()))
}
