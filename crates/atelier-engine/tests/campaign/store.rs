//! The real store behind a wall of faults.
//!
//! The store works on threads of its own, and whoever asks it stands still meanwhile. So nothing of the machine's speed
//! reaches the engine: which task goes on next depends on the seed alone, and the paused clock never moves on while
//! somebody waits for a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::clock::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Held;
use atelier_core::gpu::HeldGpus;
use atelier_core::id::{EventId, NotebookId, OperationId, ProjectId, UserId, VolumeId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::pool::Part;
use atelier_core::status::Status;
use atelier_core::volume::Volume;
use atelier_store::{
    Commit, Committed, NotebookPage, NotebookQuery, NotebookStore, OperationQuery, SharedVolume, Standing, StoreError,
    TrashQuery, Trashed,
};
use atelier_store_sqlite::{Sealer, SqliteStore};

use crate::injector::{Injector, Trouble};
use crate::plan::Deed;
use crate::time::VirtualTime;

/// Where stores work.
static WORKSHOP: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// As long as the real store waits for somebody else who holds the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store without faults, for the engine's wrapper and for the campaign's own questions.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<SqliteStore>);

impl Shelf {
    pub(crate) fn open(path: &Path, sealer: Sealer) -> Self {
        let path = path.to_owned();
        Self(Arc::new(stand_still(async move { SqliteStore::open(&path, sealer).await }).unwrap()))
    }

    /// Asks, and stands still until the answer is there.
    pub(crate) fn ask<T, F>(&self, question: impl FnOnce(Arc<SqliteStore>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        stand_still(question(self.0.clone()))
    }

    pub(crate) fn notebook(&self, id: NotebookId) -> Option<Notebook> {
        self.ask(|store| async move { store.notebook(id).await.unwrap() })
    }

    pub(crate) fn statuses(&self) -> Vec<(NotebookId, Status)> {
        self.ask(|store| async move { store.notebook_ids().await.unwrap() })
    }

    pub(crate) fn unfinished(&self) -> Vec<Operation> {
        self.ask(|store| async move { store.unfinished_operations().await.unwrap() })
    }

    pub(crate) fn operations_of(&self, id: NotebookId) -> Vec<Operation> {
        self.ask(|store| async move { store.operations_of(id).await.unwrap() })
    }

    pub(crate) fn events(&self, id: NotebookId, after: Option<EventId>) -> Vec<NotebookEvent> {
        self.ask(move |store| async move { store.events(id, after, 10_000).await.unwrap() })
    }

    pub(crate) fn held(&self) -> Held {
        self.ask(|store| async move { store.held(&Part::everything()).await.unwrap() })
    }

    pub(crate) fn trash(&self) -> Vec<Trashed> {
        let everything = TrashQuery { limit: u32::MAX, ..TrashQuery::default() };
        self.ask(|store| async move { store.trash(&everything).await.unwrap() })
    }

    pub(crate) fn close(&self) {
        self.ask(|store| async move { store.close().await });
    }
}

fn stand_still<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (answer, answered) = mpsc::channel();
    WORKSHOP.spawn(async move { answer.send(work.await) });
    answered.recv().unwrap()
}

/// What the engine takes for its store.
pub(crate) struct FaultyStore {
    pub(crate) shelf: Shelf,
    pub(crate) injector: Arc<Injector>,
    pub(crate) time: Arc<VirtualTime>,
    /// When the round began, for troubles that last.
    pub(crate) round_began: Arc<std::sync::atomic::AtomicI64>,
}

impl FaultyStore {
    async fn read<T, F>(&self, question: impl FnOnce(Arc<SqliteStore>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = if self.injector.at_read() {
            Err(StoreError::Engine("injected: the row cannot be read now".into()))
        } else {
            self.shelf.ask(question)
        };
        self.injector.gate().await;
        answer
    }

    /// A full disk, or one that somebody else writes to.
    async fn refused(&self) -> Option<StoreError> {
        let passed = self.time.passed() - self.round_began.load(std::sync::atomic::Ordering::SeqCst);
        match self.injector.trouble(passed)? {
            Trouble::DiskFull => Some(StoreError::Full("injected".into())),
            Trouble::Locked => {
                tokio::time::sleep(PATIENCE).await;
                Some(StoreError::Engine("injected: (code: 5) database is locked".into()))
            }
        }
    }

    fn commit_now(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.shelf.ask(|store| async move { store.commit(commit).await })
    }

    async fn try_commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if let Some(refused) = self.refused().await {
            return Err(refused);
        }
        match self.injector.at_commit() {
            None => self.commit_now(commit),
            Some(Deed::DieBefore) => self.injector.die().await,
            Some(Deed::DieAfter) => {
                let _ = self.commit_now(commit);
                self.injector.die().await
            }
            Some(Deed::LostReply) => {
                let _ = self.commit_now(commit);
                Err(StoreError::Engine("injected: the answer is lost".into()))
            }
            Some(Deed::Delay(ms)) => {
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
                self.commit_now(commit)
            }
            Some(_) => Err(StoreError::Engine("injected: nothing was written".into())),
        }
    }
}

#[async_trait]
impl NotebookStore for FaultyStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.injector.gate().await;
        let answer = self.try_commit(commit).await;
        self.injector.gate().await;
        answer
    }

    async fn notebook(&self, id: NotebookId) -> Result<Option<Notebook>, StoreError> {
        self.read(|store| async move { store.notebook(id).await }).await
    }

    async fn notebooks(&self, query: &NotebookQuery) -> Result<NotebookPage, StoreError> {
        let query = query.clone();
        self.read(|store| async move { store.notebooks(&query).await }).await
    }

    async fn notebook_ids(&self) -> Result<Vec<(NotebookId, Status)>, StoreError> {
        self.read(|store| async move { store.notebook_ids().await }).await
    }

    async fn every_standing(&self, visit: &mut (dyn FnMut(Standing) + Send)) -> Result<(), StoreError> {
        let read = self.read(|store| async move {
            let mut all = Vec::new();
            store.every_standing(&mut |standing| all.push(standing)).await.map(|()| all)
        });
        read.await.map(|all| all.into_iter().for_each(visit))
    }

    async fn tag_values(
        &self,
        project_id: &ProjectId,
        workspace_id: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let (project_id, workspace_id) = (project_id.clone(), workspace_id.map(str::to_owned));
        self.read(|store| async move { store.tag_values(&project_id, workspace_id.as_deref()).await }).await
    }

    async fn lease_ends(&self) -> Result<Vec<(NotebookId, Timestamp)>, StoreError> {
        self.read(|store| async move { store.lease_ends().await }).await
    }

    async fn held(&self, part: &Part) -> Result<Held, StoreError> {
        let part = part.clone();
        self.read(|store| async move { store.held(&part).await }).await
    }

    async fn held_gpus(&self) -> Result<HeldGpus, StoreError> {
        self.read(|store| async move { store.held_gpus().await }).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        self.read(move |store| async move { store.operation(id).await }).await
    }

    async fn operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError> {
        self.read(move |store| async move { store.operations_of(id).await }).await
    }

    async fn unfinished_operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError> {
        self.read(move |store| async move { store.unfinished_operations_of(id).await }).await
    }

    async fn operations(&self, query: &OperationQuery) -> Result<Vec<Operation>, StoreError> {
        let query = query.clone();
        self.read(|store| async move { store.operations(&query).await }).await
    }

    async fn unfinished_operations(&self) -> Result<Vec<Operation>, StoreError> {
        self.read(|store| async move { store.unfinished_operations().await }).await
    }

    async fn events(
        &self,
        id: NotebookId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError> {
        self.read(move |store| async move { store.events(id, after, limit).await }).await
    }

    async fn project_events(
        &self,
        project_id: &ProjectId,
        owner: Option<&UserId>,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError> {
        let (project, owner) = (project_id.clone(), owner.cloned());
        self.read(move |store| async move { store.project_events(&project, owner.as_ref(), after, limit).await }).await
    }

    async fn prune(&self, moment: Timestamp) -> Result<u64, StoreError> {
        self.read(move |store| async move { store.prune(moment).await }).await
    }

    async fn trash(&self, query: &TrashQuery) -> Result<Vec<Trashed>, StoreError> {
        let query = query.clone();
        self.read(|store| async move { store.trash(&query).await }).await
    }

    async fn shift_trash(&self, ms: i64, latest: Timestamp) -> Result<(), StoreError> {
        self.read(move |store| async move { store.shift_trash(ms, latest).await }).await
    }

    async fn shared_volumes(&self) -> Result<Vec<SharedVolume>, StoreError> {
        self.read(|store| async move { store.shared_volumes().await }).await
    }

    async fn share_of(
        &self,
        project_id: &ProjectId,
        user_id: &UserId,
        workspace_id: &str,
    ) -> Result<Option<Volume>, StoreError> {
        let (project, user, workspace) = (project_id.clone(), user_id.clone(), workspace_id.to_owned());
        self.read(move |store| async move { store.share_of(&project, &user, &workspace).await }).await
    }

    async fn forget_shared_volume(&self, id: VolumeId, event: Option<NotebookEvent>) -> Result<(), StoreError> {
        self.read(move |store| async move { store.forget_shared_volume(id, event).await }).await
    }

    async fn remembered(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read(|store| async move { store.remembered(&name).await }).await
    }

    async fn remember(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.injector.gate().await;
        if let Some(refused) = self.refused().await {
            return Err(refused);
        }
        let (name, text) = (name.to_owned(), text.to_owned());
        let answer = self.shelf.ask(|store| async move { store.remember(&name, &text).await });
        self.injector.gate().await;
        answer
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.read(|store| async move { store.check().await }).await
    }
}
