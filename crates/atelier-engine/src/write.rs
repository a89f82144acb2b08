//! Changing a notebook: read, decide, write where the generation is the one that was read, and try again when somebody
//! else was quicker. What was committed is then followed by the routes and the lease clock.

use std::time::Instant;

use atelier_core::audit::AuditRecord;
use atelier_core::caller::{Actor, Caller, Origin};
use atelier_core::event::NotebookEvent;
use atelier_core::id::{EventId, NotebookId, ProjectId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, Resting, StoreError};

use crate::Engine;
use crate::broken::{Broken, is_left_out};

/// How long to wait before the store is asked again that has failed.
pub(crate) const AGAIN_MS: i64 = 1_000;

/// A decided change.
pub(crate) struct Change {
    pub(crate) notebook: Notebook,
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<NotebookEvent>,
    pub(crate) conditions: Vec<Condition>,
    /// A notebook that is DELETED goes into the trash: its volume was set aside.
    pub(crate) into_trash: bool,
    /// Whose call this is, where it is one: the audit gets a record in the same commit.
    pub(crate) called: Option<Called>,
}

impl Change {
    pub(crate) const fn of(notebook: Notebook) -> Self {
        Self {
            notebook,
            operations: Vec::new(),
            events: Vec::new(),
            conditions: Vec::new(),
            into_trash: false,
            called: None,
        }
    }

    /// The same, as the effect of a call.
    pub(crate) fn called(self, called: &Called) -> Self {
        Self { called: Some(called.clone()), ..self }
    }
}

/// A call, as the audit names it.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    /// The API's name of it.
    pub(crate) operation: &'static str,
}

impl Called {
    pub(crate) fn new(caller: &Caller, request_id: &str, operation: &'static str) -> Self {
        Self { caller: caller.clone(), request_id: request_id.to_owned(), operation }
    }

    /// Who asked, as operations and events name them.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            actor: Actor::User(self.caller.user_id.clone(), self.caller.user_name.clone()),
            request_id: Some(self.request_id.clone()),
        }
    }
}

/// Hides a failure of the store from the caller; the log has it. Of a full disk callers are told: it passes, and
/// somebody can do something about it.
pub(crate) fn hidden(error: &StoreError) -> Refusal {
    tracing::error!("{error}");
    match error {
        StoreError::Full(_) => Refusal::new(
            Code::Unavailable,
            "the data disk of the server is full: nothing was changed; free space on it (delete notebooks) and try again",
        ),
        StoreError::Disk(_) => Refusal::new(
            Code::Unavailable,
            "the data disk of the server refuses to work: nothing was changed; try again when it is cured",
        ),
        StoreError::Engine(_) | StoreError::Unreadable(_) => Refusal::internal(),
    }
}

impl Engine {
    /// Reads the notebook, lets `decide` make the change and writes it; again when the write lost a race. `decide` must
    /// have no effect of its own: it may run several times.
    ///
    /// A lock per notebook keeps commits and what follows them in one order, and lets callers of this process queue
    /// instead of racing; the generation guards against everybody else. Not to be dropped half-way: a commit that
    /// nothing follows leaves the routes stale.
    pub(crate) async fn change(
        &self,
        id: NotebookId,
        mut decide: impl FnMut(Notebook) -> Result<Change, Refusal> + Send,
    ) -> Result<Notebook, Refusal> {
        let _shared = self.inner.frame.read().await;
        self.change_seeing(id, false, |notebook, _| decide(notebook)).await
    }

    /// As [`Engine::change`], for who holds the frame of time alone.
    pub(crate) async fn change_alone(
        &self,
        id: NotebookId,
        mut decide: impl FnMut(Notebook) -> Result<Change, Refusal> + Send,
    ) -> Result<Notebook, Refusal> {
        self.change_seeing(id, false, |notebook, _| decide(notebook)).await
    }

    /// As [`Engine::change`], for decisions that depend on what is under way: the notebook's unfinished operations, read after it.
    pub(crate) async fn change_with_operations(
        &self,
        id: NotebookId,
        decide: impl FnMut(Notebook, Vec<Operation>) -> Result<Change, Refusal> + Send,
    ) -> Result<Notebook, Refusal> {
        let _shared = self.inner.frame.read().await;
        self.change_seeing(id, true, decide).await
    }

    async fn change_seeing(
        &self,
        id: NotebookId,
        see_operations: bool,
        mut decide: impl FnMut(Notebook, Vec<Operation>) -> Result<Change, Refusal> + Send,
    ) -> Result<Notebook, Refusal> {
        let _one_at_a_time = self.inner.locks.lock(id).await;
        loop {
            let read = self.inner.store.notebook(id).await.map_err(|e| hidden(&e))?;
            let read = read.ok_or_else(|| Refusal::no_notebook(&id.to_string()))?;
            let operations = if see_operations {
                self.inner.store.unfinished_operations_of(id).await.map_err(|e| hidden(&e))?
            } else {
                Vec::new()
            };
            let before = read.clone();
            let mut change = decide(read, operations)?;
            let audit = change.called.take().map(|called| self.audited(&called, Some(&before), &change.notebook));
            let write = match change.notebook.status() {
                Status::Deleted if change.into_trash => NotebookWrite::SetAside(Box::new(change.notebook.clone())),
                Status::Deleted => NotebookWrite::Remove(id, change.notebook.generation),
                _ => NotebookWrite::Update(Box::new(change.notebook.clone())),
            };
            let commit = Commit {
                notebook: Some(write),
                operations: change.operations,
                events: change.events,
                conditions: change.conditions,
                audit: audit.into_iter().collect(),
            };
            match self.commit(commit).await.map_err(|e| hidden(&e))? {
                Committed::Written(generation) => {
                    change.notebook.generation = generation;
                    self.follow(&change.notebook);
                    return Ok(change.notebook);
                }
                Committed::Lost => {}
                unmet => return Err(self.unmet(unmet, &change.notebook)),
            }
        }
    }

    /// Commits, and tells how long it took. A commit whose answer is an error may have been written all the same: what
    /// the store holds of the notebook is then read again.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let written = commit.notebook.as_ref().map(NotebookWrite::id);
        let of_event = commit.events.first().and_then(|event| event.origin.request_id.as_deref());
        let asked_by = of_event.or_else(|| commit.operations.first().and_then(|o| o.origin.request_id.as_deref()));
        let (asked_by, began) = (asked_by.map(str::to_owned), Instant::now());
        let committed = self.inner.store.commit(commit).await;
        let kept = matches!(committed, Ok(Committed::Written(_)));
        self.watcher().commit(asked_by.as_deref(), began, kept);
        if let (Err(_), Some(id)) = (&committed, written)
            && !is_left_out(Broken::Doubt)
        {
            self.read_again(id);
        }
        committed
    }

    /// Lets the routes and the lease clock follow what the store holds, as soon as it answers, and drives what it holds
    /// unfinished. Without that a notebook whose last commit was written, but answered with an error, would be shown as
    /// it was before, or would run on when its lease is over.
    fn read_again(&self, id: NotebookId) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.pass(AGAIN_MS) => {}
                }
                let one_at_a_time = engine.inner.locks.lock(id).await;
                let Ok(read) = engine.inner.store.notebook(id).await else { continue };
                match &read {
                    Some(notebook) => engine.follow(notebook),
                    None => engine.forget(id),
                }
                drop(one_at_a_time);
                if read.is_some_and(|notebook| !notebook.status().is_stable()) {
                    engine.drive(id);
                }
                return;
            }
        });
    }

    /// The record of a call that was accepted.
    pub(crate) fn audited(&self, called: &Called, before: Option<&Notebook>, after: &Notebook) -> AuditRecord {
        let Called { caller, request_id, operation } = called;
        AuditRecord::of_change(caller, request_id, operation, before, after, self.now())
    }

    /// The refusal for which a commit of this notebook was not written.
    pub(crate) fn unmet(&self, committed: Committed, notebook: &Notebook) -> Refusal {
        match committed {
            Committed::Written(_) | Committed::Lost | Committed::Missing => {
                Refusal::no_notebook(&notebook.id.to_string())
            }
            Committed::QuotaExhausted => {
                let limit = self.inner.config.notebooks_per_user;
                let message = format!("the quota of {limit} notebooks per user is used up; delete one first");
                Refusal::new(Code::QuotaExhausted, message)
            }
            Committed::PoolQuotaExhausted => self.pool_quota_exhausted(notebook),
            Committed::AlreadyOne => Refusal::new(
                Code::QuotaExhausted,
                "the quota of 1 free instance (`feature` DEFAULT) per user is used up; RunCodeLab opens the one that is there",
            ),
            Committed::OtherShare => Refusal::new(
                Code::Conflict,
                "its owner's notebooks in its workspace share another volume by now; delete those that do first",
            ),
            Committed::NameTaken => {
                let name = &notebook.name;
                Refusal::new(Code::NameTaken, format!("you have a notebook `{name}` already; take another name"))
            }
            Committed::NoCapacity => {
                let flavor = &notebook.flavor.id;
                let message = format!("there is no capacity left for flavor `{flavor}`; stop a notebook first");
                Refusal::new(Code::NoCapacity, message)
            }
        }
    }

    /// The refusal of one more notebook of its owner in its pool.
    fn pool_quota_exhausted(&self, notebook: &Notebook) -> Refusal {
        let pool = self.inner.shares.of_notebook(notebook).and_then(|share| share.pool.as_ref());
        let (id, limit) = pool.map(|pool| (pool.id.as_str(), pool.notebooks_per_user)).unwrap_or_default();
        let limit = limit.unwrap_or_default();
        let message = format!("the quota of {limit} notebooks per user in pool `{id}` is used up; delete one first");
        Refusal::new(Code::QuotaExhausted, message)
    }

    /// Lets the routes, the lease clock and the search for left-overs follow a commit.
    pub(crate) fn follow(&self, notebook: &Notebook) {
        self.inner.activities.follow(notebook, self.now());
        if notebook.status() == Status::Deleted {
            self.forget(notebook.id);
            return;
        }
        if notebook.status().is_failed() {
            self.inner.suspects.add(notebook.id);
        }
        if notebook.status() != Status::Running {
            self.inner.restarts.forget(notebook.id);
        }
        self.look_at_growth(notebook);
        self.inner.routes.put(notebook);
        if notebook.status() != Status::Running {
            // After the routes, which whoever measures asks last.
            self.inner.fillings.forget(notebook.id);
        }
        let lease = self.inner.activities.on(notebook.id, notebook.lease);
        let end = if notebook.status() == Status::Running { lease.expiry() } else { None };
        self.inner.leases.set(notebook.id, end);
    }

    /// The same for what rests at the start of a server: nobody watches it and its lease does not count.
    pub(crate) fn follow_resting(&self, resting: Resting) {
        if resting.status.is_failed() {
            self.inner.suspects.add(resting.id);
        }
        self.inner.routes.put_resting(resting);
    }

    /// The notebook is not there any more.
    fn forget(&self, id: NotebookId) {
        self.inner.restarts.forget(id);
        self.inner.shortages.forget(id);
        self.inner.routes.remove(id);
        self.inner.leases.set(id, None);
        self.inner.fillings.forget(id);
    }

    /// The notebook as it is here, and what happened to it by itself.
    pub(crate) fn with_event(&self, notebook: Notebook, what: &str, why: String) -> Change {
        let event = self.event(&notebook, &Origin::system(), what, why);
        Change { events: vec![event], ..Change::of(notebook) }
    }

    /// An event of this notebook, now.
    pub(crate) fn event(&self, notebook: &Notebook, origin: &Origin, what: &str, why: String) -> NotebookEvent {
        self.event_of(notebook.id, notebook.project_id.clone(), origin, what, why)
    }

    /// An event of a notebook in this project, now.
    pub(crate) fn event_of(
        &self,
        notebook_id: NotebookId,
        project_id: ProjectId,
        origin: &Origin,
        what: &str,
        why: String,
    ) -> NotebookEvent {
        let at = self.now();
        let id = EventId::generate(at, &*self.inner.entropy);
        NotebookEvent { id, notebook_id, project_id, at, what: what.into(), origin: origin.clone(), why }
    }
}

/// One lock per notebook, nearly: notebooks share a fixed number of locks, chosen by id.
pub(crate) struct NotebookLocks(Vec<tokio::sync::Mutex<()>>);

impl Default for NotebookLocks {
    fn default() -> Self {
        Self((0..256).map(|_| tokio::sync::Mutex::default()).collect())
    }
}

impl NotebookLocks {
    /// The last byte of an id is random, so the locks are used evenly.
    pub(crate) async fn lock(&self, id: NotebookId) -> tokio::sync::MutexGuard<'_, ()> {
        self.0[usize::from(id.as_uuid().as_bytes()[15])].lock().await
    }
}
