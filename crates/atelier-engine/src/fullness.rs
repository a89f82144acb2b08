//! How full the volumes of running notebooks are.
//!
//! The reconciler's look at each of them measures its volume, too. Whoever rises over a mark ([`atelier_core::filling`])
//! gets an event, once until it has fallen below it again. What was told lives in memory; after a restart of the server,
//! or of the notebook, the first look at a full volume asks the history, so that nobody is told the same twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atelier_core::caller::Origin;
use atelier_core::filling::{Filling, Fullness};
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::status::Status;
use atelier_runtime::RuntimeError;
use atelier_store::{Commit, StoreError};

use crate::Engine;
use crate::hands::Errand;

/// How long the measuring may take.
const MEASURE_LIMIT: Duration = Duration::from_secs(5);
/// How much of the history is read at once.
pub(crate) const EVENTS: u32 = 1_000;

/// What is known of volumes in use: how full they were at the last look, and what of it was told.
#[derive(Debug, Default)]
pub(crate) struct Fillings(Mutex<HashMap<NotebookId, (Filling, Fullness)>>);

impl Fillings {
    fn all(&self) -> MutexGuard<'_, HashMap<NotebookId, (Filling, Fullness)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget(&self, id: NotebookId) {
        self.all().remove(&id);
    }
}

fn what(fullness: Fullness) -> String {
    format!("volume.{}", fullness.as_str())
}

impl Engine {
    /// How full the volume of a running notebook was at the last look.
    pub fn filling(&self, id: NotebookId) -> Option<Filling> {
        self.inner.fillings.all().get(&id).map(|(filling, _)| *filling)
    }

    /// How many volumes in use are how full.
    pub fn fullness_census(&self) -> HashMap<Fullness, u64> {
        self.inner.fillings.all().values().fold(HashMap::new(), |mut census, (filling, _)| {
            *census.entry(filling.fullness()).or_default() += 1;
            census
        })
    }

    /// Measures the volume of a notebook that runs, and tells when it is over a mark.
    pub(crate) async fn look_at_volume(&self, notebook: &Notebook) {
        let id = notebook.id;
        if notebook.volume.uri().is_some() {
            // It is the operator's, who looks after it.
            return;
        }
        let filling = match self.measure(id).await {
            Ok(filling) => filling,
            Err(error) => {
                return tracing::debug!(notebook = %id, "the volume of notebook {id} is not measured: {error}");
            }
        };
        match self.tell_of_filling(notebook, filling).await {
            Ok(told) => {
                self.inner.fillings.all().insert(id, (filling, told));
            }
            Err(error) => tracing::warn!(notebook = %id, "how full the volume of {id} is was not told yet: {error}"),
        }
        if self.inner.routes.status(id) != Some(Status::Running) {
            // It ended meanwhile.
            self.inner.fillings.forget(id);
        }
    }

    async fn measure(&self, id: NotebookId) -> Result<Filling, RuntimeError> {
        let runtime = self.inner.runtime.clone();
        let errand = Errand { notebook: id, what: "measure the volume", limit: MEASURE_LIMIT };
        self.call(errand, async move || runtime.filling(id).await).await
    }

    /// What is told by now.
    async fn tell_of_filling(&self, notebook: &Notebook, filling: Filling) -> Result<Fullness, StoreError> {
        let fullness = filling.fullness();
        let told = self.inner.fillings.all().get(&notebook.id).map(|(_, told)| *told);
        let told = match told {
            Some(told) => told,
            None if fullness == Fullness::Roomy => fullness,
            None => self.told_before(notebook.id).await?,
        };
        if fullness > told {
            let cure = if notebook.volume.is_shared() {
                "all of your notebooks that share it have to make room"
            } else {
                "`storage_new_size` makes it larger, also while the notebook runs"
            };
            let why = format!("{filling}; {cure}");
            tracing::warn!(notebook = %notebook.id, "the volume of notebook {}: {why}", notebook.id);
            let events = vec![self.event(notebook, &Origin::system(), &what(fullness), why)];
            self.inner.store.commit(Commit { events, ..Commit::default() }).await?;
        }
        Ok(fullness)
    }

    /// What the history says.
    async fn told_before(&self, id: NotebookId) -> Result<Fullness, StoreError> {
        let of = |text: &str| Fullness::ALL.into_iter().find(|fullness| what(*fullness) == text);
        let (mut told, mut after) = (Fullness::default(), None);
        loop {
            let page = self.inner.store.events(id, after, EVENTS).await?;
            let Some(last) = page.last() else { return Ok(told) };
            after = Some(last.id);
            told = page.iter().rev().find_map(|event| of(&event.what)).unwrap_or(told);
        }
    }
}
