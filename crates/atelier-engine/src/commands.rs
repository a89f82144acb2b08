//! The commands: what a caller can ask for. Each mutating one is a single commit, answers after it, and then lets the
//! operation be driven.
//!
//! A command runs in a task of its own: a client that goes away in the middle neither stops it between its commit and
//! the driving, nor leaves the routes stale.

use std::sync::Arc;
use std::time::Duration;

use atelier_core::caller::{Actor, Caller, Origin};
use atelier_core::event::NotebookEvent;
use atelier_core::feature::Feature;
use atelier_core::flavor::Flavor;
use atelier_core::id::{EventId, NotebookId, OperationId, UserId};
use atelier_core::image::{self, Image};
use atelier_core::lease::{Grant, Lease, LeaseKind, Terms};
use atelier_core::notebook::{NewNotebook, Notebook, Owner};
use atelier_core::operation::{Operation, OperationKind, OperationState};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::{Event, Status};
use atelier_core::volume::Volume;
use atelier_runtime::RuntimeError;
use atelier_store::{Commit, Committed, Condition, NotebookPage, NotebookQuery, NotebookWrite};
use secrecy::SecretString;

use crate::broken::{Broken, is_left_out};
use crate::shares::{Share, pool_is_gone};
use crate::update::find_image;
use crate::write::{AGAIN_MS, Called, Change, hidden};
use crate::{CreateNotebook, Engine, ListNotebooks};

/// How long the machine may take to say something of itself.
pub(crate) const SAID_WITHIN: Duration = Duration::from_secs(5);

/// What an interface demands of the status of a notebook before a command, in its own words, beyond what the status table
/// does.
pub type Demand = fn(Status) -> Result<(), Refusal>;

/// The notebook is refused as not there when it is not the caller's own.
pub(crate) fn own(caller: &Caller, notebook: &Notebook) -> Result<(), Refusal> {
    if notebook.project_id == caller.project_id && notebook.owner.user_id == caller.user_id {
        Ok(())
    } else {
        Err(Refusal::no_notebook(&notebook.id.to_string()))
    }
}

impl Engine {
    /// Makes a notebook and starts it. Answers with the status CREATING and four steps that wait.
    pub async fn create(&self, caller: &Caller, request_id: &str, new: CreateNotebook) -> Result<Notebook, Refusal> {
        self.create_by(&Called::new(caller, request_id, "CreateNotebook"), new, None).await
    }

    /// The same, as this call and on this further condition.
    pub(crate) async fn create_by(
        &self,
        by: &Called,
        new: CreateNotebook,
        condition: Option<Condition>,
    ) -> Result<Notebook, Refusal> {
        let image = find_image(&self.images().await?, new.image_id)?;
        let share = Arc::clone(self.inner.shares.asked(new.pool_id.as_deref())?);
        let flavor = share.flavor(&new.size)?;
        if !new.feature.allows(&flavor) {
            let message = format!("flavor `{}` is not free; `feature` {} takes only free ones", flavor.id, new.feature);
            return Err(Refusal::new(Code::FlavorDoesNotSupportFeature, message));
        }
        let gpus = self.gpus_for(&flavor).await;
        let flavor = share.with_kind(flavor, &gpus);
        if share.is_too_small_for(&flavor, &gpus) || self.memory_is_short().await {
            return Err(sold_out(&flavor.id));
        }
        self.needs_room(Code::StorageSoldOut).await?;
        self.check_volume(&new.volume).await?;
        let room = share.has_room(&flavor, &gpus);
        let conditions = self.quotas(new.feature, Some(&share)).chain(room).chain(condition).collect();
        let (engine, by) = (self.clone(), by.clone());
        self.detached(async move { engine.insert(&by, new, image, flavor, &share, conditions).await }).await
    }

    async fn insert(
        &self,
        called: &Called,
        new: CreateNotebook,
        image: Image,
        flavor: Flavor,
        share: &Share,
        conditions: Vec<Condition>,
    ) -> Result<Notebook, Refusal> {
        let _shared = self.inner.frame.read().await;
        let (origin, wanted) = (called.origin(), new.volume.clone());
        let (volume, mut sharing) = self.volume_of(&called.caller, &new.workspace_id, &wanted).await?;
        let (mut notebook, operation) =
            self.new_notebook(&called.caller, &origin, new, volume, (image, flavor), share)?;
        let event = self.event(&notebook, &origin, "create.asked", operation.why.clone());
        let committed = loop {
            let commit = Commit {
                notebook: Some(NotebookWrite::Insert(Box::new(notebook.clone()))),
                operations: vec![operation.clone()],
                events: vec![event.clone()],
                conditions: conditions.iter().cloned().chain(sharing.map(Condition::OneShare)).collect(),
                audit: vec![self.audited(called, None, &notebook)],
            };
            match self.commit(commit).await.map_err(|e| hidden(&e))? {
                // Somebody was quicker: the other volume is the one to share.
                Committed::OtherShare => {
                    let found = self.volume_of(&called.caller, &notebook.workspace_id, &wanted).await?;
                    (notebook.volume, sharing) = found;
                }
                committed => break committed,
            }
        };
        match committed {
            Committed::Written(generation) => {
                notebook.generation = generation;
                self.follow(&notebook);
                self.drive(notebook.id);
                Ok(notebook)
            }
            Committed::NoCapacity => Err(sold_out(&notebook.flavor.id)),
            Committed::Lost | Committed::Missing => {
                tracing::error!(notebook = %notebook.id, "a fresh id was taken");
                Err(Refusal::internal())
            }
            unmet => Err(self.unmet(unmet, &notebook)),
        }
    }

    /// How many notebooks there may be, as conditions for one more.
    pub(crate) fn quotas(&self, feature: Feature, share: Option<&Share>) -> impl Iterator<Item = Condition> + use<> {
        let quota = Condition::FewerNotebooksThan(self.inner.config.notebooks_per_user);
        let pool = share.and_then(|share| share.pool.as_ref());
        let in_pool = pool.and_then(|pool| pool.notebooks_per_user).map(Condition::FewerInPoolThan);
        let one = (feature == Feature::Free).then_some(Condition::OnlyOneOfItsFeature);
        one.into_iter().chain([quota]).chain(in_pool)
    }

    fn new_notebook(
        &self,
        caller: &Caller,
        origin: &Origin,
        new: CreateNotebook,
        volume: Volume,
        (image, flavor): (Image, Flavor),
        share: &Share,
    ) -> Result<(Notebook, Operation), Refusal> {
        let now = self.now();
        let entropy = &*self.inner.entropy;
        let id = NotebookId::generate(now, entropy);
        let why = format!("{} asked for notebook `{}` with flavor `{}`", origin.actor, new.name, flavor.id);
        let operation = self.new_operation(id, OperationKind::Create, origin, why);
        let mut notebook = Notebook::from(NewNotebook {
            id,
            project_id: caller.project_id.clone(),
            owner: Owner {
                user_id: caller.user_id.clone(),
                user_name: caller.user_name.clone(),
                domain_id: caller.domain_id.clone(),
                domain_name: caller.domain_name.clone(),
            },
            name: new.name,
            description: new.description,
            feature: new.feature,
            tags: new.tags,
            flavor,
            pool: share.in_pool(),
            image,
            volume,
            hooks: new.hooks,
            workspace_id: new.workspace_id,
            lease: Lease::written(now, now, new.grant, new.lease_kind),
            legacy: new.legacy,
            token: self.new_token(),
            upstream_secret: self.new_token(),
            progress: operation.steps.clone(),
            create_at: now,
        });
        notebook.apply(Event::Begin, now)?;
        Ok((notebook, operation))
    }

    /// One of the caller's notebooks.
    pub async fn show(&self, caller: &Caller, id: NotebookId) -> Result<Notebook, Refusal> {
        let found = self.inner.store.notebook(id).await.map_err(|e| hidden(&e))?;
        let notebook = found.ok_or_else(|| Refusal::no_notebook(&id.to_string()))?;
        own(caller, &notebook)?;
        Ok(self.as_shown(notebook))
    }

    /// How many notebooks the caller may have in the project, and has.
    pub async fn quota(&self, caller: &Caller) -> Result<(u32, u64), Refusal> {
        let user_id = Some(caller.user_id.clone());
        let query = NotebookQuery { user_id, limit: 0, ..NotebookQuery::all_of(caller.project_id.clone()) };
        let page = self.inner.store.notebooks(&query).await.map_err(|e| hidden(&e))?;
        Ok((self.inner.config.notebooks_per_user, page.total))
    }

    /// A page of the caller's notebooks.
    pub async fn list(&self, caller: &Caller, wanted: ListNotebooks) -> Result<NotebookPage, Refusal> {
        self.page(caller, Some(caller.user_id.clone()), wanted).await
    }

    /// A page of everybody's notebooks in the caller's project, or of one user's. For administrators; who may say so is
    /// not decided here.
    pub async fn list_all(
        &self,
        caller: &Caller,
        owner: Option<UserId>,
        wanted: ListNotebooks,
    ) -> Result<NotebookPage, Refusal> {
        self.page(caller, owner, wanted).await
    }

    async fn page(
        &self,
        caller: &Caller,
        user_id: Option<UserId>,
        wanted: ListNotebooks,
    ) -> Result<NotebookPage, Refusal> {
        let query = NotebookQuery {
            user_id,
            filter: wanted.filter,
            sort_key: wanted.sort_key,
            then_by: wanted.then_by,
            descending: wanted.descending,
            offset: wanted.offset,
            limit: wanted.limit,
            ..NotebookQuery::all_of(caller.project_id.clone())
        };
        let mut page = self.inner.store.notebooks(&query).await.map_err(|e| hidden(&e))?;
        page.items = page.items.into_iter().map(|n| self.as_shown(n)).collect();
        Ok(page)
    }

    /// Starts a notebook. `grant` and `kind`: what was asked for; `None`: what was asked for the last time.
    pub async fn start(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        grant: Option<Grant>,
        kind: Option<LeaseKind>,
    ) -> Result<Notebook, Refusal> {
        let by = Called::new(caller, request_id, "StartNotebook");
        self.start_by(&by, id, (grant, kind), |_| Ok(())).await
    }

    /// The same, as this call and on this further demand.
    pub(crate) async fn start_by(
        &self,
        by: &Called,
        id: NotebookId,
        (grant, kind): (Option<Grant>, Option<LeaseKind>),
        demand: Demand,
    ) -> Result<Notebook, Refusal> {
        let origin = by.origin();
        let short = self.memory_is_short().await;
        let room = self.needs_room(Code::NoCapacity).await;
        let present = self.inner.store.notebook(id).await.map_err(|e| hidden(&e))?;
        // A driver may take seconds to answer, and most notebooks have nothing to ask it.
        let wants_some = present.is_some_and(|notebook| notebook.flavor.gpus.is_some());
        let gpus = if wants_some { Some(self.gpus().await) } else { None };
        let (engine, by) = (self.clone(), by.clone());
        self.detached(async move {
            let started = engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    demand(notebook.status())?;
                    let now = engine.now();
                    notebook.apply(Event::StartAsked, now)?;
                    let share = engine.inner.shares.of_notebook(&notebook).ok_or_else(|| pool_is_gone(&notebook))?;
                    if notebook.flavor.gpus.is_some() && gpus.is_none() {
                        let why = "the notebook was given a flavor with GPUs at the same time; start it again";
                        return Err(Refusal::new(Code::Conflict, why));
                    }
                    let gpus = gpus.clone().unwrap_or_default();
                    notebook.flavor = share.with_kind(notebook.flavor, &gpus);
                    if share.is_too_small_for(&notebook.flavor, &gpus) {
                        return Err(sold_out(&notebook.flavor.id));
                    }
                    room.clone()?;
                    if short {
                        return Err(Refusal::new(Code::NoCapacity, "the host has too little memory left for a start"));
                    }
                    let last = notebook.start_terms();
                    let asked = Terms { grant: grant.unwrap_or(last.grant), kind: kind.unwrap_or(last.kind) };
                    notebook.write_lease(now, asked);
                    notebook.token = engine.new_token();
                    notebook.upstream_secret = engine.new_token();
                    let why = format!("{} asked for a start", origin.actor);
                    let has_room = share.has_room(&notebook.flavor, &gpus);
                    let mut change = engine.asked(notebook, OperationKind::Start, &origin, why);
                    if !is_left_out(Broken::Check) {
                        change.conditions.extend(has_room);
                    }
                    Ok(change.called(&by))
                })
                .await?;
            engine.drive(id);
            Ok(started)
        })
        .await
    }

    /// Stops a notebook; its volume stays.
    pub async fn stop(&self, caller: &Caller, request_id: &str, id: NotebookId) -> Result<Notebook, Refusal> {
        self.stop_as(Called::new(caller, request_id, "StopNotebook"), id, |_| Ok(())).await
    }

    /// The same, as this call and on this further demand.
    pub(crate) async fn stop_as(&self, by: Called, id: NotebookId, demand: Demand) -> Result<Notebook, Refusal> {
        let origin = by.origin();
        let engine = self.clone();
        self.detached(async move {
            let why = format!("{} asked for a stop", origin.actor);
            let stopping = engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    demand(notebook.status())?;
                    notebook.apply(Event::StopAsked, engine.now())?;
                    Ok(engine.asked(notebook, OperationKind::Stop, &origin, why.clone()).called(&by))
                })
                .await?;
            engine.drive(id);
            Ok(stopping)
        })
        .await
    }

    /// Stops a notebook whose lease is over. Decides anew: the lease may have been renewed meanwhile.
    pub(crate) async fn stop_by_lease(&self, id: NotebookId) {
        let origin = Origin { actor: Actor::Lease, request_id: None };
        self.look_before_stop(id).await;
        let stopped = self
            .change(id, |notebook| {
                let now = self.now();
                let mut notebook = self.with_activity(notebook);
                if notebook.status() != Status::Running {
                    return Err(Refusal::new(Code::Conflict, "the notebook does not run"));
                }
                if !notebook.lease.is_over(now) {
                    // Renewed or active meanwhile, or the clock was set back: the queue has let go of it, so put it
                    // back.
                    self.inner.leases.set(id, notebook.lease.expiry());
                    return Err(Refusal::new(Code::Conflict, "the lease is not over"));
                }
                let why = self.why_it_ends(&notebook, now);
                notebook.apply(Event::StopAsked, now)?;
                Ok(self.asked(notebook, OperationKind::Stop, &origin, why))
            })
            .await;
        match stopped {
            Ok(notebook) => {
                let late = notebook.lease.expiry().map_or(0, |end| self.now().millis_since(end));
                self.watcher().lease_ended(late);
                tracing::info!(notebook = %id, late_ms = late, "the lease of notebook {id} is over; stopping it");
                self.drive(id);
            }
            Err(refusal) if matches!(refusal.code(), Code::Conflict | Code::NotFound) => {}
            // The store failed: look again soon, or the notebook would run on for ever.
            Err(_) => self.inner.leases.set(id, Some(self.now().plus_millis(AGAIN_MS))),
        }
    }

    /// Removes a notebook with its volume, whatever is under way. While it is being removed, the answer is the same.
    pub async fn delete(&self, caller: &Caller, request_id: &str, id: NotebookId) -> Result<Notebook, Refusal> {
        self.delete_as(Called::new(caller, request_id, "DeleteNotebook"), id, |_| Ok(())).await
    }

    /// The same, as this call and on this further demand.
    pub(crate) async fn delete_as(&self, by: Called, id: NotebookId, demand: Demand) -> Result<Notebook, Refusal> {
        let origin = by.origin();
        let engine = self.clone();
        self.detached(async move {
            let why = format!("{} asked for deletion", origin.actor);
            let mut given_up = Vec::new();
            let deleting = engine
                .change_with_operations(id, |mut notebook, operations| {
                    own(&by.caller, &notebook)?;
                    demand(notebook.status())?;
                    let already = notebook.status() == Status::Deleting;
                    notebook.apply(Event::DeleteAsked, engine.now())?;
                    if already {
                        return Ok(Change::of(notebook).called(&by));
                    }
                    let mut change = engine.asked(notebook, OperationKind::Delete, &origin, why.clone());
                    given_up = engine.cancelled(operations, &why);
                    change.operations.extend(given_up.iter().cloned());
                    Ok(change.called(&by))
                })
                .await?;
            for operation in &given_up {
                engine.tell_end(operation, None);
            }
            engine.interrupt(id);
            engine.drive(id);
            Ok(deleting)
        })
        .await
    }

    /// What is under way, given up.
    fn cancelled(&self, mut operations: Vec<Operation>, why: &str) -> Vec<Operation> {
        for operation in &mut operations {
            operation.state = OperationState::Cancelled;
            operation.ended_at = Some(self.now());
            operation.error = Some(why.to_owned());
        }
        operations
    }

    /// The lease, in every status.
    pub async fn lease(&self, caller: &Caller, id: NotebookId) -> Result<Lease, Refusal> {
        Ok(self.show(caller, id).await?.lease)
    }

    /// Writes a new lease from now on. Refused with 6327 unless the notebook is RUNNING.
    pub async fn renew(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        grant: Grant,
        kind: LeaseKind,
    ) -> Result<Lease, Refusal> {
        let by = Called::new(caller, request_id, "RenewLease");
        let (engine, origin) = (self.clone(), by.origin());
        self.detached(async move {
            let renewed = engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    if notebook.status() != Status::Running {
                        let message =
                            format!("notebook is {}; its lease can be renewed only while RUNNING", notebook.status());
                        return Err(Refusal::new(Code::NotRunning, message));
                    }
                    notebook.write_lease(engine.now(), Terms { grant, kind });
                    let why =
                        format!("{} renewed the lease: {} ms from now, type {kind}", origin.actor, grant.as_wire());
                    let event = engine.event(&notebook, &origin, "lease.renewed", why);
                    Ok(Change { events: vec![event], ..Change::of(notebook) }.called(&by))
                })
                .await?;
            Ok(renewed.lease)
        })
        .await
    }

    /// Gives a notebook a new token. What was opened with the old one ends; the notebook itself goes on.
    pub async fn replace_token(&self, caller: &Caller, request_id: &str, id: NotebookId) -> Result<Notebook, Refusal> {
        let by = Called::new(caller, request_id, "PostNotebooksToken");
        let (engine, origin) = (self.clone(), by.origin());
        self.detached(async move {
            engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    notebook.token = engine.new_token();
                    let why =
                        format!("{} replaced the token; what was opened with the old one has ended", origin.actor);
                    let event = engine.event(&notebook, &origin, "token.replaced", why);
                    Ok(Change { events: vec![event], ..Change::of(notebook) }.called(&by))
                })
                .await
        })
        .await
    }

    /// The images that notebooks can be made from.
    pub async fn images(&self) -> Result<Vec<Image>, Refusal> {
        let size_bytes = answered(self.inner.runtime.image_size(image::BUILT_IN)).await.unwrap_or_else(|error| {
            tracing::warn!("the size of the built-in image is not known: {error}");
            None
        });
        Ok(vec![Image::built_in(size_bytes)])
    }

    /// The history of one of the caller's notebooks.
    pub async fn events(
        &self,
        caller: &Caller,
        id: NotebookId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, Refusal> {
        self.show(caller, id).await?;
        self.inner.store.events(id, after, limit).await.map_err(|e| hidden(&e))
    }

    /// The history of any notebook, also of one that is gone: for a reader who was let in while it was there.
    pub async fn history(
        &self,
        id: NotebookId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, Refusal> {
        self.inner.store.events(id, after, limit).await.map_err(|e| hidden(&e))
    }

    /// What happened in the caller's project, oldest first: to their own notebooks, or with `everybodys` to all.
    pub async fn project_events(
        &self,
        caller: &Caller,
        everybodys: bool,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, Refusal> {
        let owner = (!everybodys).then_some(&caller.user_id);
        let events = self.inner.store.project_events(&caller.project_id, owner, after, limit).await;
        events.map_err(|e| hidden(&e))
    }

    /// Less of the host's memory is available than must be. Not being able to ask is not short.
    pub(crate) async fn memory_is_short(&self) -> bool {
        self.memory_available().await.is_some_and(|bytes| bytes < self.inner.capacity.memory_floor())
    }

    /// The bytes of the host's memory that are available, where that can be said soon.
    pub async fn memory_available(&self) -> Option<u64> {
        let available = answered(self.inner.runtime.memory_available()).await;
        available.inspect_err(|error| tracing::warn!("the available memory is not known: {error}")).ok()
    }

    /// A change by which an operation begins.
    pub(crate) fn asked(&self, mut notebook: Notebook, kind: OperationKind, origin: &Origin, why: String) -> Change {
        let operation = self.new_operation(notebook.id, kind, origin, why.clone());
        notebook.progress = match kind {
            OperationKind::Create | OperationKind::Start => operation.steps.clone(),
            OperationKind::Stop | OperationKind::Delete => Vec::new(),
        };
        let event = self.event(&notebook, origin, &format!("{kind}.asked"), why);
        Change { operations: vec![operation], events: vec![event], ..Change::of(notebook) }
    }

    fn new_operation(&self, id: NotebookId, kind: OperationKind, origin: &Origin, why: String) -> Operation {
        let now = self.now();
        Operation::new(OperationId::generate(now, &*self.inner.entropy), id, kind, origin.clone(), why, now)
    }

    /// A secret in the form of a random UUID, as the contract shows tokens.
    pub(crate) fn new_token(&self) -> SecretString {
        let mut random = [0; 16];
        self.inner.entropy.fill(&mut random);
        uuid::Builder::from_random_bytes(random).into_uuid().to_string().into()
    }

    /// The notebook with what is known of it besides what is kept.
    pub(crate) fn as_shown(&self, notebook: Notebook) -> Notebook {
        self.with_activity(self.with_note(notebook))
    }

    /// The notebook with what its present step is doing.
    fn with_note(&self, mut notebook: Notebook) -> Notebook {
        use atelier_core::operation::StepState;
        if let Some(step) = notebook.progress.iter_mut().find(|s| s.state == StepState::Began)
            && let Some(note) = self.note(notebook.id)
        {
            step.note = Some(note);
        }
        notebook
    }

    /// Runs to its end even when the caller goes away.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.inner.tasks.spawn(work).await.unwrap_or_else(|error| {
            tracing::error!("a command ended abnormally: {error}");
            Err(Refusal::internal())
        })
    }
}

/// What the machine says of itself, if it does so soon: somebody waits for the command.
pub(crate) async fn answered<T>(question: impl Future<Output = Result<T, RuntimeError>>) -> Result<T, RuntimeError> {
    let late = || RuntimeError::Transient(format!("no answer within {} s", SAID_WITHIN.as_secs()));
    tokio::time::timeout(SAID_WITHIN, question).await.unwrap_or_else(|_| Err(late()))
}

fn sold_out(flavor: &str) -> Refusal {
    Refusal::new(Code::FlavorSoldOut, format!("flavor `{flavor}` is sold out; see ListFlavors for others"))
}
