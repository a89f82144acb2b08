//! The steps: what each name does to the runtime, within its time, and how it is taken back.
//!
//! | step | applied | taken back |
//! |---|---|---|
//! | prepare-storage | the volume exists | after a failed creation the volume is discarded; after a failed start, or when only the server did not come up, it is kept |
//! | prepare-compute | the image is there, the container exists | the instance is stopped |
//! | configure-network | the container has its network | the instance is stopped |
//! | initialize-instance | the notebook server answers, and no hook is waited for | the instance is stopped |
//! | stop-instance | nothing of the instance runs | nothing: what is stopped stays stopped |
//! | remove-storage | nothing is left, or the volume was set aside for the trash | nothing |
//!
//! Each try has a limit, tries are counted, and making an image has a budget of its own, so a step always ends. Undoing
//! is tried once: what it leaves is looked for again later ([`mod@crate::orphans`]).

use std::time::Duration;

use atelier_core::hook::Moment;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::{OperationKind, StepName};
use atelier_runtime::{InstanceSpec, Reporter, RuntimeError, Way};

use crate::broken::{Broken, is_left_out};
use crate::hands::Errand;
use crate::{Engine, failpoint};

/// How often a step is tried when trying again may help.
const TRIES: u32 = 3;
/// The pause before the second try; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(100);

/// How long an image may take to be built or fetched, all tries together.
const IMAGE_LIMIT: Duration = Duration::from_mins(30);

/// How long one try of a step may take.
pub(crate) const fn limit(step: StepName) -> Duration {
    Duration::from_secs(match step {
        // A stop: ten seconds of grace for the notebook server, and what the kernel needs to take down the rest.
        StepName::PrepareStorage | StepName::RemoveStorage | StepName::StopInstance => 30,
        StepName::PrepareCompute => 60,
        StepName::ConfigureNetwork => 10,
        StepName::InitializeInstance => 120,
    })
}

/// How long a step may take with all its tries; what a notebook's hooks take comes on top
/// ([`Engine::longest_hooks`]).
pub(crate) fn longest(step: StepName) -> Duration {
    let tries = (limit(step) + Duration::from_secs(1)) * TRIES;
    if step == StepName::PrepareCompute { tries + IMAGE_LIMIT } else { tries }
}

/// What a step brought about that its operation has to tell.
#[derive(Clone, Debug)]
pub(crate) enum Brought {
    /// The notebook server runs, and how it came to.
    Server(Way),
    /// The volume was set aside.
    VolumeAside,
}

impl Brought {
    pub(crate) const fn way(&self) -> Option<&Way> {
        match self {
            Self::Server(way) => Some(way),
            Self::VolumeAside => None,
        }
    }
}

/// Passes the news of a long step on.
struct Notes(Engine, NotebookId);

impl Reporter for Notes {
    fn report(&self, text: &str) {
        self.0.set_note(self.1, Some(text.to_owned()));
    }
}

pub(crate) fn spec(notebook: &Notebook) -> InstanceSpec {
    let mut volume = notebook.volume.clone();
    volume.settle();
    InstanceSpec {
        notebook: notebook.id,
        volume,
        image: notebook.image.id,
        cpu_millis: notebook.flavor.cpu_millis,
        memory_bytes: notebook.flavor.memory_bytes(),
        gpus: notebook.flavor.gpus.clone(),
        hook_first: notebook.hooks.at(Moment::PreStart).is_some(),
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
    ) -> Result<Option<Brought>, String> {
        if step == StepName::PrepareCompute {
            let tries = self.tried(notebook.id, step, |_| self.image(notebook));
            let budget = i64::try_from(IMAGE_LIMIT.as_millis()).unwrap_or(i64::MAX);
            tokio::select! {
                made = tries => made?,
                () = self.pass(budget) => return Err(format!("{}: the image is not there", step.description())),
            }
            self.set_note(notebook.id, None);
        }
        if step == StepName::InitializeInstance {
            self.run_hook(notebook, Moment::PreStart).await?;
        }
        let brought = self.tried(notebook.id, step, |n| self.act(notebook, kind, step, first && n == 1)).await?;
        if step == StepName::InitializeInstance {
            self.run_hook(notebook, Moment::PostStart).await?;
        }
        Ok(brought)
    }

    /// Tries until it is done, cannot be done, or was tried often enough.
    pub(crate) async fn tried<T, F>(
        &self,
        id: NotebookId,
        step: StepName,
        attempt: impl Fn(u32) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, RuntimeError>>,
    {
        let mut tried = 1;
        loop {
            let reason = match attempt(tried).await {
                Ok(done) => return Ok(done),
                Err(error) if !error.is_transient() => return Err(format!("{}: {error}", step.description())),
                Err(error) => error,
            };
            if tried == TRIES {
                return Err(format!("{}: {reason} (tried {TRIES} times)", step.description()));
            }
            tracing::warn!(notebook = %id, step = %step, "step {step} is tried again: {reason}");
            tokio::time::sleep(PAUSE * tried).await;
            tried += 1;
        }
    }

    async fn image(&self, notebook: &Notebook) -> Result<(), RuntimeError> {
        let (runtime, image) = (self.inner.runtime.clone(), notebook.image.id);
        let notes = Notes(self.clone(), notebook.id);
        let errand = Errand { notebook: notebook.id, what: "prepare the image", limit: IMAGE_LIMIT };
        self.call(errand, async move || runtime.prepare_image(image, &notes).await).await
    }

    async fn act(
        &self,
        notebook: &Notebook,
        kind: OperationKind,
        step: StepName,
        first: bool,
    ) -> Result<Option<Brought>, RuntimeError> {
        if let Some(reason) = failpoint::fault(kind.as_str(), step.as_str()) {
            return Err(RuntimeError::Permanent(reason));
        }
        // What never ran has nothing in its own volume; in a shared one there may be what others have left there.
        let shared = notebook.volume.is_shared();
        let keeps = self.inner.config.trash_ms > 0 && (notebook.ever_ran || shared);
        let (runtime, spec) = (self.inner.runtime.clone(), spec(notebook));
        let errand = Errand { notebook: notebook.id, what: step.description(), limit: limit(step) };
        self.call(errand, async move || match step {
            StepName::PrepareStorage => {
                // A start after a fault: what is left of the former instance goes first.
                if kind == OperationKind::Start && first {
                    runtime.stop(spec.notebook).await?;
                }
                runtime.prepare_storage(&spec).await.map(|()| None)
            }
            StepName::PrepareCompute => runtime.prepare_compute(&spec).await.map(|()| None),
            StepName::ConfigureNetwork => runtime.configure_network(&spec).await.map(|()| None),
            StepName::InitializeInstance => runtime.initialize(&spec).await.map(|way| Some(Brought::Server(way))),
            StepName::StopInstance => runtime.stop(spec.notebook).await.map(|()| None),
            StepName::RemoveStorage if keeps => {
                let aside = runtime.set_aside(spec.notebook).await?;
                Ok((aside.is_some() || shared).then_some(Brought::VolumeAside))
            }
            StepName::RemoveStorage => runtime.remove(spec.notebook).await.map(|()| None),
        })
        .await
    }

    /// Takes a step back. `failed` is the step that made the operation fail.
    pub(crate) async fn undo(
        &self,
        id: NotebookId,
        kind: OperationKind,
        step: StepName,
        failed: Option<StepName>,
    ) -> Result<(), String> {
        let undone = match step {
            StepName::PrepareStorage
                if kind == OperationKind::Create && failed != Some(StepName::InitializeInstance) =>
            {
                if is_left_out(Broken::Undo) {
                    return Ok(());
                }
                self.discard(id).await
            }
            StepName::PrepareCompute | StepName::ConfigureNetwork | StepName::InitializeInstance => {
                self.stop_instance(id).await
            }
            StepName::PrepareStorage | StepName::StopInstance | StepName::RemoveStorage => return Ok(()),
        };
        undone.map_err(|e| e.to_string())
    }

    /// Nothing of the instance runs afterwards.
    pub(crate) async fn stop_instance(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let runtime = self.inner.runtime.clone();
        let step = StepName::StopInstance;
        let errand = Errand { notebook: id, what: step.description(), limit: limit(step) };
        self.call(errand, async move || runtime.stop(id).await).await
    }

    /// Nothing of a creation that failed is left afterwards.
    pub(crate) async fn discard(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let runtime = self.inner.runtime.clone();
        let errand = Errand { notebook: id, what: "discard the storage", limit: limit(StepName::PrepareStorage) };
        self.call(errand, async move || runtime.discard_storage(id).await).await
    }

    /// Calls the runtime by a hand that may hang.
    pub(crate) async fn call<T, F>(
        &self,
        errand: Errand,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RuntimeError>> + Send,
    {
        self.inner.hands.call(&self.inner.time, errand, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_ends_in_bounded_time() {
        for step in StepName::ALL {
            assert!(longest(step) >= limit(step) * TRIES);
            assert!(longest(step) <= IMAGE_LIMIT + Duration::from_mins(7), "{step}");
        }
        assert_eq!(longest(StepName::ConfigureNetwork), Duration::from_secs(33));
    }
}
