//! What the runtime has and nobody needs.
//!
//! **Orphans** are instances that the store does not know at all: left by a crash that no operation remembers, by a call
//! that hung and ended after its notebook was deleted, or by a database that was put back from a backup. They are found
//! by comparing what the runtime lists with what the store knows. What runs of an orphan is stopped at once: nobody can
//! reach it, and it holds what others need. Its volume is somebody's work, and is never deleted here: after a time of
//! grace it is *set aside* for the operator, and comes back by itself when a notebook of that id does (a newer backup).
//! Both are said in the log, as events of that notebook, and by `atelier operations orphans`. Volumes of deleted notebooks
//! are set aside in the same place, and do leave it: [`mod@crate::trash`].
//!
//! **Left-overs** belong to notebooks that are known and at rest: something could not be taken back when their operation
//! failed. Whoever is seen in a failed status is a suspect, however it became known: by a commit, at the start, or by
//! reading again what a commit without an answer has left. They are stopped, and after a failed creation discarded, by a task in the driver's place, which therefore never
//! meets a start half-way.
//!
//! *Unknown is not absent*: when the runtime cannot list, or the store cannot be read, nothing is decided. The runtime is
//! asked before the store, because a notebook is in the store before anything of it is made; and once more after it,
//! because a deletion takes the instance away before the row.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atelier_core::Timestamp;
use atelier_core::caller::Origin;
use atelier_core::id::{NotebookId, ProjectId};
use atelier_core::refusal::Refusal;
use atelier_core::status::Status;
use atelier_runtime::{Lost, Observed, RuntimeError};
use atelier_store::{Commit, TrashQuery};
use tokio::sync::Semaphore;

use crate::Engine;
use crate::hands::Errand;
use crate::write::hidden;

/// How often the runtime is compared with the store.
pub(crate) const ROUND_MS: i64 = 30_000;
/// How long a volume is left where it is before it is set aside.
pub(crate) const GRACE_MS: i64 = 600_000;
/// How long the runtime may take to list what it has.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// An instance that the store does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The notebook that it was.
    pub notebook: NotebookId,
    /// When it was found.
    pub since: Timestamp,
    /// Nothing of it runs any more.
    pub stopped: bool,
    /// Why the last try to collect it failed.
    pub trouble: Option<String>,
}

/// How many left-overs are looked at beside each other.
const AT_A_TIME: usize = 16;

/// The orphans that are there.
#[derive(Debug)]
pub(crate) struct Strangers {
    all: Mutex<HashMap<NotebookId, Orphan>>,
    /// Held by the round under way.
    round: tokio::sync::Mutex<()>,
    /// One for each left-over that is looked at.
    turns: Arc<Semaphore>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { all: Mutex::default(), round: tokio::sync::Mutex::default(), turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Strangers {
    fn all(&self) -> MutexGuard<'_, HashMap<NotebookId, Orphan>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that are not there any more, and answers all that are.
    fn found(&self, ids: &[NotebookId], now: Timestamp) -> Vec<Orphan> {
        let mut all = self.all();
        all.retain(|id, _| ids.contains(id));
        for &id in ids {
            all.entry(id).or_insert(Orphan { notebook: id, since: now, stopped: false, trouble: None });
        }
        all.values().cloned().collect()
    }

    fn set(&self, orphan: Orphan) {
        self.all().insert(orphan.notebook, orphan);
    }
}

/// Notebooks at rest of which something may be left, each with how many were suspected before it.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<(HashMap<NotebookId, u64>, u64)>);

impl Suspects {
    fn all(&self) -> MutexGuard<'_, (HashMap<NotebookId, u64>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, id: NotebookId) {
        let (all, count) = &mut *self.all();
        *count += 1;
        all.insert(id, *count);
    }

    fn clear(&self, id: NotebookId) {
        self.all().0.remove(&id);
    }

    fn seen(&self) -> Vec<(NotebookId, u64)> {
        self.all().0.iter().map(|(id, at)| (*id, *at)).collect()
    }

    /// Unless it was suspected again since it was seen.
    fn clear_as_seen(&self, id: NotebookId, at: u64) {
        let all = &mut self.all().0;
        if all.get(&id) == Some(&at) {
            all.remove(&id);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.all().0.is_empty()
    }
}

impl Engine {
    pub(crate) fn spawn_collector(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.collect() => {}
                }
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.empty_trash() => {}
                }
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.pass(ROUND_MS) => {}
                }
            }
        });
    }

    /// One round: left-overs, then orphans.
    pub async fn collect(&self) {
        let _alone = self.inner.strangers.round.lock().await;
        // Seen before the list, so that of whoever is suspected since nothing is decided from it.
        let suspects = self.inner.suspects.seen();
        let listed = self.listed().await;
        for id in self.with_something(suspects, listed.as_ref()) {
            let Ok(turn) = self.inner.strangers.turns.clone().acquire_owned().await else { return };
            self.tidy(id, turn);
        }
        let Some(listed) = listed else { return };
        for orphan in self.strangers(listed).await.unwrap_or_default() {
            self.collect_orphan(orphan).await;
        }
    }

    /// The suspects that have to be looked at one by one: those of which the runtime has anything, and those that have a
    /// call hanging, which may still make something. After a start that is one list instead of a question for each of
    /// very many.
    fn with_something(
        &self,
        mut suspects: Vec<(NotebookId, u64)>,
        listed: Option<&HashSet<NotebookId>>,
    ) -> Vec<NotebookId> {
        if let Some(listed) = listed {
            suspects.retain(|&(id, at)| {
                let something = listed.contains(&id) || !self.inner.hands.hanging(id).is_empty();
                if !something {
                    self.inner.suspects.clear_as_seen(id, at);
                }
                something
            });
        }
        suspects.into_iter().map(|(id, _)| id).collect()
    }

    /// The orphans that were found and are still there.
    pub fn orphans(&self) -> Vec<Orphan> {
        let mut all: Vec<_> = self.inner.strangers.all().values().cloned().collect();
        all.sort_by_key(|o| (o.since, o.notebook));
        all
    }

    /// The volumes that were set aside and belong to no notebook, be it in the trash.
    pub async fn lost(&self) -> Result<Vec<Lost>, Refusal> {
        let aside = self.set_aside_volumes().await?;
        let everything = TrashQuery { limit: u32::MAX, ..TrashQuery::default() };
        let trashed = self.inner.store.trash(&everything).await.map_err(|e| hidden(&e))?;
        let trashed: HashSet<_> = trashed.into_iter().map(|trashed| trashed.notebook.id).collect();
        let mut lost = Vec::new();
        for volume in aside {
            if !trashed.contains(&volume.notebook) && !self.is_known(volume.notebook).await? {
                lost.push(volume);
            }
        }
        Ok(lost)
    }

    /// All volumes that were set aside.
    pub(crate) async fn set_aside_volumes(&self) -> Result<Vec<Lost>, Refusal> {
        let runtime = self.inner.runtime.clone();
        let listed = self.call(nobodys("list what was set aside"), async move || runtime.lost().await).await;
        listed.map_err(|error| {
            tracing::error!("the volumes that were set aside cannot be listed: {error}");
            Refusal::internal()
        })
    }

    /// Every notebook of which the runtime has anything.
    pub(crate) async fn list_instances(&self) -> Result<Vec<NotebookId>, RuntimeError> {
        let runtime = self.inner.runtime.clone();
        self.call(nobodys("list"), async move || runtime.list().await).await
    }

    async fn listed(&self) -> Option<HashSet<NotebookId>> {
        match self.list_instances().await {
            Ok(ids) => Some(ids.into_iter().collect()),
            Err(error) => {
                tracing::warn!("the runtime cannot list what it has, so no orphan is looked for: {error}");
                None
            }
        }
    }

    /// What of that which the runtime has the store does not know; `None` when either cannot be asked.
    async fn strangers(&self, listed: HashSet<NotebookId>) -> Option<Vec<Orphan>> {
        let mut unknown = Vec::new();
        for id in listed {
            if self.inner.routes.status(id).is_some() {
                continue;
            }
            match self.inner.store.notebook(id).await {
                Ok(Some(_)) => {}
                Ok(None) => unknown.push(id),
                Err(error) => {
                    tracing::warn!("the store cannot be read, so no orphan is looked for: {error}");
                    return None;
                }
            }
        }
        if !unknown.is_empty() {
            let still = self.listed().await?;
            unknown.retain(|id| still.contains(id));
        }
        Some(self.inner.strangers.found(&unknown, self.now()))
    }

    async fn collect_orphan(&self, mut orphan: Orphan) {
        orphan.trouble = match self.try_collect(&mut orphan).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(notebook = %orphan.notebook,
                    "an instance that the store does not know cannot be collected: {error}");
                Some(error.to_string())
            }
        };
        self.inner.strangers.set(orphan);
    }

    async fn try_collect(&self, orphan: &mut Orphan) -> Result<(), RuntimeError> {
        let id = orphan.notebook;
        if !orphan.stopped {
            let ran = self.observe(id).await? != Observed::Absent;
            self.stop_instance(id).await?;
            orphan.stopped = true;
            if ran {
                self.say_of_orphan(id, "orphan.stopped", "it ran, but the store does not know it".into()).await;
            }
        }
        if self.now().millis_since(orphan.since) >= GRACE_MS {
            let runtime = self.inner.runtime.clone();
            let errand = Errand { notebook: id, what: "set the volume aside", limit: LIST_LIMIT };
            let kept = self.call(errand, async move || runtime.set_aside(id).await).await?;
            let (what, why) = match kept {
                Some(place) => ("orphan.kept", format!("its volume was set aside: `{place}`")),
                None => ("orphan.removed", "nothing of it was worth keeping: it had no volume".to_owned()),
            };
            self.say_of_orphan(id, what, why).await;
        }
        Ok(())
    }

    async fn say_of_orphan(&self, id: NotebookId, what: &str, why: String) {
        tracing::warn!(notebook = %id, what, "orphan {id}: {why}");
        let event = self.event_of(id, self.former_project(id).await, &Origin::system(), what, why);
        let commit = Commit { events: vec![event], ..Commit::default() };
        if let Err(error) = self.inner.store.commit(commit).await {
            tracing::warn!(notebook = %id, "this was not written to the history of {id}: {error}");
        }
    }

    /// The project that the notebook was in, if its history is known; else one of zeros, which nobody is in.
    pub(crate) async fn former_project(&self, id: NotebookId) -> ProjectId {
        let history = self.inner.store.events(id, None, 1).await.unwrap_or_default();
        match history.into_iter().next() {
            Some(event) => event.project_id,
            None => ProjectId::generate(&Zeros),
        }
    }

    /// Takes away what is left of a notebook at rest. To be called in its driver's place.
    pub(crate) async fn collect_left_overs(&self, id: NotebookId) {
        let Ok(notebook) = self.inner.store.notebook(id).await else { return };
        let status = notebook.map_or(Status::Deleted, |n| n.status());
        if !matches!(status, Status::Stopped) && !status.is_failed() {
            self.inner.suspects.clear(id);
            return;
        }
        if !self.inner.hands.hanging(id).is_empty() {
            // It would wait for the one that hangs. When that has returned, there is something to look at.
            return;
        }
        match self.take_left_overs(id, status).await {
            Ok(what) => {
                self.inner.suspects.clear(id);
                if let Some(why) = what {
                    self.say_of_left_overs(id, why).await;
                }
            }
            Err(error) => tracing::warn!(notebook = %id, "what is left of notebook {id} is still there: {error}"),
        }
    }

    /// What was taken away; `None` when nothing was there.
    async fn take_left_overs(&self, id: NotebookId, status: Status) -> Result<Option<&'static str>, RuntimeError> {
        if status == Status::CreateFailed {
            let listed = self.listed().await.ok_or_else(|| RuntimeError::Transient("it cannot be listed".into()))?;
            if !listed.contains(&id) {
                return Ok(None);
            }
            self.discard(id).await?;
            return Ok(Some("what was left of the failed creation is gone"));
        }
        if self.observe(id).await? == Observed::Absent {
            return Ok(None);
        }
        self.stop_instance(id).await?;
        Ok(Some("an instance that was left running is stopped"))
    }

    async fn say_of_left_overs(&self, id: NotebookId, why: &str) {
        tracing::info!(notebook = %id, "left-overs of notebook {id}: {why}");
        let Ok(Some(notebook)) = self.inner.store.notebook(id).await else { return };
        let event = self.event(&notebook, &Origin::system(), "left-overs.collected", why.into());
        let commit = Commit { events: vec![event], ..Commit::default() };
        if let Err(error) = self.inner.store.commit(commit).await {
            tracing::warn!(notebook = %id, "this was not written to the history of {id}: {error}");
        }
    }
}

pub(crate) fn nobodys(what: &'static str) -> Errand {
    Errand { notebook: NotebookId::from_uuid(uuid::Uuid::nil()), what, limit: LIST_LIMIT }
}

/// For the id that stands for no project.
struct Zeros;

impl atelier_core::Entropy for Zeros {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}
