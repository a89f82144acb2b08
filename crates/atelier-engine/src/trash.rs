//! The trash: deleted notebooks whose volumes can still be had back.
//!
//! The last step of a deletion sets the volume aside instead of removing it, as is done with volumes that nobody knows
//! ([`mod@crate::orphans`]), and the commit that ends the deletion keeps the whole notebook in the store's trash. A notebook
//! that never ran has nothing in its volume, and leaves at once.
//!
//! *Restoring* is one commit: the notebook is there again, STOPPED, with its old id and whatever it was; its next start
//! finds the volume where it was set aside. *Leaving* is two: after the first it cannot be restored any more, then the
//! volume is removed, and after the second nobody knows of it. Whatever was interrupted between them is resumed by the
//! next round. So no moment lets a volume be restored that is being removed, and none loses sight of one.
//!
//! A notebook leaves when its time is over, when somebody says so, and, the oldest first, while the disk has less room
//! than is kept back: somebody who is told to delete notebooks to make room must be able to. The time is counted like
//! that of leases, and errs to the longer side: a clock that is set forward moves it along, and one that is set back
//! begins it anew.

use std::collections::HashMap;
use std::sync::PoisonError;

use atelier_core::Timestamp;
use atelier_core::audit::{AuditRecord, FieldChange};
use atelier_core::caller::{Caller, Origin};
use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::notebook::{Notebook, check_name};
use atelier_core::operation::StepName;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Event;
use atelier_core::volume::VolumeKind;
use atelier_runtime::RuntimeError;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, Sharing, StoreError, TrashQuery, Trashed};

use crate::commands::own;
use crate::hands::Errand;
use crate::operations::Whose;
use crate::shared_volumes::Known;
use crate::steps::limit;
use crate::write::{Called, hidden};
use crate::{Engine, failpoint};

/// How many leave in one round.
const AT_A_TIME: u32 = 1000;

/// A notebook in the trash, for people.
#[derive(Clone, Debug)]
pub struct InTrash {
    /// The notebook, as it was when it was deleted.
    pub notebook: Notebook,
    /// When it was deleted.
    pub since: Timestamp,
    /// When it leaves, unless the disk becomes full before.
    pub until: Timestamp,
    /// It leaves just now.
    pub leaves: bool,
    /// What of it takes room on the disk, in bytes; `None` where nothing is to be found. A shared volume that rests as well
    /// is counted once, with that of its notebooks that was deleted last.
    pub bytes: Option<u64>,
}

/// What of notebooks in the trash is on the disk, in bytes.
struct Resting {
    /// Their own volumes.
    own: HashMap<NotebookId, u64>,
    /// The shared ones that no notebook uses.
    shared: HashMap<VolumeId, u64>,
}

impl Resting {
    /// Whether anything is freed once this notebook, and all others of its volume, have left.
    fn holds(&self, notebook: &Notebook) -> bool {
        let shares = notebook.volume.is_shared() && self.shared.contains_key(&notebook.volume.id);
        self.own.contains_key(&notebook.id) || shares
    }

    /// What there is of a notebook, its shared volume included unless that was taken before.
    fn take(&mut self, notebook: &Notebook) -> Option<u64> {
        let shared = notebook.volume.is_shared().then(|| self.shared.remove(&notebook.volume.id));
        self.own.remove(&notebook.id).into_iter().chain(shared.flatten()).reduce(|one, other| one + other)
    }
}

impl Engine {
    /// What the trash holds of the caller's, or everybody's.
    pub async fn trash(&self, caller: &Caller, whose: Whose) -> Result<Vec<InTrash>, Refusal> {
        let of = match whose {
            Whose::Own => Some((caller.project_id.clone(), caller.user_id.clone())),
            Whose::Everybodys => None,
        };
        let query = TrashQuery { of, limit: u32::MAX, ..TrashQuery::default() };
        let trashed = self.inner.store.trash(&query).await.map_err(|e| hidden(&e))?;
        let mut resting = self.resting().await?;
        // From the last one on, with which a shared volume leaves.
        let in_trash = trashed.into_iter().rev().map(|Trashed { notebook, since, leaves }| InTrash {
            bytes: resting.take(&notebook),
            until: since.plus_millis(self.inner.config.trash_ms),
            notebook,
            since,
            leaves,
        });
        let mut in_trash: Vec<_> = in_trash.collect();
        in_trash.reverse();
        Ok(in_trash)
    }

    /// What rests on the disk.
    async fn resting(&self) -> Result<Resting, Refusal> {
        let own = self.set_aside_volumes().await?.into_iter().map(|lost| (lost.notebook, lost.bytes)).collect();
        let shared = self.shared_storage().await?.into_iter().filter(|(_, known)| known.rests());
        Ok(Resting { own, shared: shared.map(|(id, known)| (id, known.storage.bytes)).collect() })
    }

    /// How many volumes were set aside, and what they took of the disk together, when the last round ended.
    pub fn set_aside_census(&self) -> (u64, u64) {
        *self.inner.set_aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be listed is held to be what it was.
    async fn count_set_aside(&self) {
        if let (Ok(aside), Ok(shared)) = (self.set_aside_volumes().await, self.shared_storage().await) {
            let shared =
                shared.values().filter(|known| known.rests() || known.is_lost()).map(|known| known.storage.bytes);
            let all: Vec<_> = aside.iter().map(|lost| lost.bytes).chain(shared).collect();
            let census = (all.len() as u64, all.iter().sum());
            *self.inner.set_aside.lock().unwrap_or_else(PoisonError::into_inner) = census;
        }
    }

    /// Makes a deleted notebook be there again, STOPPED, under its name or another one.
    pub async fn restore(
        &self,
        caller: &Caller,
        whose: Whose,
        request_id: &str,
        id: NotebookId,
        name: Option<String>,
    ) -> Result<Notebook, Refusal> {
        if let Some(name) = &name {
            check_name(name)?;
        }
        let (engine, by) = (self.clone(), Called::new(caller, request_id, "PostVolumesRestore"));
        self.detached(async move { engine.take_out(&by, whose, id, name).await }).await
    }

    async fn take_out(
        &self,
        by: &Called,
        whose: Whose,
        id: NotebookId,
        name: Option<String>,
    ) -> Result<Notebook, Refusal> {
        let resting = self.rests(&by.caller, whose, id).await?.notebook;
        // Without a lock: the runtime may take its time.
        if !self.is_still_there(&resting).await? {
            let message = format!("the volume of notebook `{id}` is not in its place any more; it cannot be restored");
            return Err(Refusal::new(Code::NotFound, message));
        }
        let _shared = self.inner.frame.read().await;
        let _one_at_a_time = self.inner.locks.lock(id).await;
        let before = self.rests(&by.caller, whose, id).await?.notebook;
        let mut notebook = before.clone();
        notebook.apply(Event::Restored, self.now())?;
        notebook.name = name.unwrap_or(notebook.name);
        notebook.token = self.new_token();
        notebook.upstream_secret = self.new_token();
        let origin = by.origin();
        let why = format!("{} restored notebook `{}` from the trash", origin.actor, notebook.name);
        let commit = Commit {
            events: vec![self.event(&notebook, &origin, "volume.restored", why)],
            audit: vec![self.audited(by, Some(&before), &notebook)],
            conditions: self.conditions_of_return(&notebook),
            notebook: Some(NotebookWrite::Restore(Box::new(notebook.clone()))),
            operations: Vec::new(),
        };
        match self.commit(commit).await.map_err(|e| hidden(&e))? {
            Committed::Written(generation) => {
                notebook.generation = generation;
                self.follow(&notebook);
                Ok(notebook)
            }
            Committed::Lost | Committed::Missing => Err(not_in_trash(id)),
            unmet => Err(self.unmet(unmet, &notebook)),
        }
    }

    /// What must hold for one that comes back: all that must for a new one, but that it needs no compute.
    fn conditions_of_return(&self, notebook: &Notebook) -> Vec<Condition> {
        let share = self.inner.shares.of_notebook(notebook);
        let one_share = notebook.volume.is_shared().then_some(Condition::OneShare(Sharing::Returns));
        let quotas = self.quotas(notebook.feature, share.map(AsRef::as_ref)).chain(one_share);
        quotas.chain([Condition::NameIsFree]).collect()
    }

    /// The caller's notebook in the trash, where it can be restored from.
    async fn rests(&self, caller: &Caller, whose: Whose, id: NotebookId) -> Result<Trashed, Refusal> {
        let found = self.find_in_trash(id).await?;
        let theirs = found.filter(|found| whose == Whose::Everybodys || own(caller, &found.notebook).is_ok());
        let trashed = theirs.ok_or_else(|| not_in_trash(id))?;
        if trashed.leaves {
            return Err(Refusal::new(
                Code::Conflict,
                format!("the volume of notebook `{id}` is being removed just now"),
            ));
        }
        Ok(trashed)
    }

    async fn find_in_trash(&self, id: NotebookId) -> Result<Option<Trashed>, Refusal> {
        let query = TrashQuery { id: Some(id), limit: 1, ..TrashQuery::default() };
        Ok(self.inner.store.trash(&query).await.map_err(|e| hidden(&e))?.pop())
    }

    /// Whether the notebook is there, or in the trash. Under its lock, as every commit that moves it between the two.
    pub(crate) async fn is_known(&self, id: NotebookId) -> Result<bool, Refusal> {
        let _one_at_a_time = self.inner.locks.lock(id).await;
        Ok(self.kept(id).await?.is_some() || self.find_in_trash(id).await?.is_some())
    }

    /// Whether the files of a notebook in the trash can be had back. Of what is not only its own, its packages are no files.
    async fn is_still_there(&self, notebook: &Notebook) -> Result<bool, Refusal> {
        match &notebook.volume.kind {
            VolumeKind::Own(_) => self.is_set_aside(notebook.id).await,
            VolumeKind::Shared { .. } => Ok(self.shared_storage().await?.contains_key(&notebook.volume.id)),
            VolumeKind::Dedicated(_) => Ok(true),
        }
    }

    async fn is_set_aside(&self, id: NotebookId) -> Result<bool, Refusal> {
        Ok(self.set_aside_volumes().await?.iter().any(|lost| lost.notebook == id))
    }

    /// Removes a volume for good. One that rests in the trash is removed by a later round when it cannot be at once. For
    /// everybody's also one that nobody knows, which stays when it cannot be removed.
    pub async fn discard_volume(
        &self,
        caller: &Caller,
        whose: Whose,
        request_id: &str,
        id: NotebookId,
    ) -> Result<(), Refusal> {
        let (engine, by) = (self.clone(), Called::new(caller, request_id, "DeleteVolumes"));
        self.detached(async move {
            match engine.rests(&by.caller, whose, id).await {
                Ok(trashed) => engine.discard_trashed(&by, &trashed.notebook).await,
                Err(refusal) if whose == Whose::Everybodys && refusal.code() == Code::NotFound => {
                    engine.discard_lost(&by, id).await
                }
                Err(refusal) => Err(refusal),
            }
        })
        .await
    }

    async fn discard_trashed(&self, called: &Called, notebook: &Notebook) -> Result<(), Refusal> {
        let why = format!("{} asked for it", called.origin().actor);
        if !self.let_leave(notebook, why, Some(called)).await.map_err(|e| hidden(&e))? {
            return Err(not_in_trash(notebook.id));
        }
        self.see_off(notebook.id).await;
        Ok(())
    }

    /// Removes a volume that nobody knows, and tells of it.
    async fn discard_lost(&self, called: &Called, id: NotebookId) -> Result<(), Refusal> {
        let _alone = self.inner.removing.lock().await;
        let shared = VolumeId::from_uuid(*id.as_uuid());
        let removed = if self.shared_storage().await?.get(&shared).is_some_and(Known::is_lost) {
            self.remove_shared_volume(shared).await
        } else if self.is_known(id).await? || !self.is_set_aside(id).await? {
            return Err(not_in_trash(id));
        } else {
            self.remove_for_good(id).await
        };
        removed.map_err(|error| {
            tracing::error!(notebook = %id, "the volume of notebook {id} cannot be removed: {error}");
            Refusal::internal()
        })?;
        let origin = called.origin();
        let why = format!("{} asked for its volume to be removed", origin.actor);
        let commit = Commit {
            events: vec![self.event_of(id, self.former_project(id).await, &origin, "orphan.removed", why)],
            audit: vec![self.removal(called, id, Some(shared))],
            ..Commit::default()
        };
        self.commit(commit).await.map_err(|e| hidden(&e)).map(drop)
    }

    /// The record of a call that removed a volume, or of another one what was the notebook's own.
    fn removal(&self, called: &Called, id: NotebookId, volume: Option<VolumeId>) -> AuditRecord {
        let Called { caller, request_id, operation } = called;
        let (field, before) = match volume {
            Some(volume) => ("volume.id", volume.to_string()),
            None => ("id", id.to_string()),
        };
        let removed = FieldChange { field: field.into(), before: Some(before), after: None };
        AuditRecord { changes: vec![removed], ..AuditRecord::of_call(caller, request_id, operation, id, self.now()) }
    }

    /// From now on it cannot be restored; `false` when it rests there no more. `why`, and whose call it was, for people.
    async fn let_leave(&self, notebook: &Notebook, why: String, called: Option<&Called>) -> Result<bool, StoreError> {
        let id = notebook.id;
        tracing::info!(notebook = %id, "notebook {id} (`{}`) leaves the trash: {why}", notebook.name);
        let origin = called.map_or_else(Origin::system, Called::origin);
        let own = matches!(notebook.volume.kind, VolumeKind::Own(_)).then_some(notebook.volume.id);
        let audit = called.map(|called| self.removal(called, id, own));
        // A folder of the operator's stays, and so does a shared volume while anybody needs it.
        let what = if own.is_some() { "volume.removed" } else { "packages.removed" };
        let commit = Commit {
            notebook: Some(NotebookWrite::Discard(id)),
            events: vec![self.event(notebook, &origin, what, why)],
            audit: audit.into_iter().collect(),
            ..Commit::default()
        };
        Ok(matches!(self.commit(commit).await?, Committed::Written(_)))
    }

    /// Removes the volume of one that leaves. Whatever fails, the next round does it again.
    async fn see_off(&self, id: NotebookId) {
        failpoint::reach("trash", "discard", "volume", "record");
        if let Err(error) = self.remove_for_good(id).await {
            tracing::warn!(notebook = %id, "the volume of notebook {id} in the trash is still there: {error}");
            return;
        }
        failpoint::reach("trash", "discard", "volume", "effect");
        let forget = Commit { notebook: Some(NotebookWrite::Forget(id)), ..Commit::default() };
        let forgotten = async {
            self.inner.store.commit(forget).await?;
            self.remove_left_shared_volumes().await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(notebook = %id, "the volume of notebook {id} is gone, which is not written yet: {error}");
        }
    }

    async fn remove_for_good(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let runtime = self.inner.runtime.clone();
        let errand = Errand { notebook: id, what: "remove the volume", limit: limit(StepName::RemoveStorage) };
        self.call(errand, async move || runtime.remove(id).await).await
    }

    /// Lets leave whose time is over, and while the disk has too little room the oldest of the others.
    pub async fn empty_trash(&self) {
        let _alone = self.inner.emptying.lock().await;
        let emptied = async {
            for id in self.let_leave_in_time().await? {
                self.see_off(id).await;
            }
            self.remove_left_shared_volumes().await?;
            self.make_room().await
        };
        if let Err(error) = emptied.await {
            tracing::warn!("the trash cannot be looked through: {error}");
        }
        self.count_set_aside().await;
    }

    /// While the disk has too little room, the oldest leave, one after the other. One that cannot keeps no other, and one of
    /// which nothing is on the disk stays: that would free nothing.
    async fn make_room(&self) -> Result<(), StoreError> {
        if self.lacks_room().await.is_none() {
            return Ok(());
        }
        // What cannot be listed, of which the log tells, may free something.
        let resting = self.resting().await.ok();
        let frees = |trashed: &&Trashed| resting.as_ref().is_none_or(|resting| resting.holds(&trashed.notebook));
        let query = TrashQuery { limit: u32::MAX, ..TrashQuery::default() };
        let trashed = self.inner.store.trash(&query).await?;
        for oldest in trashed.iter().filter(frees).take(AT_A_TIME as usize) {
            let Some(why) = self.lacks_room().await else { break };
            if self.leaves(oldest, format!("it is the oldest in the trash, and {why}")).await? {
                self.see_off(oldest.notebook.id).await;
            }
        }
        Ok(())
    }

    /// Those that leave, because of their time or since before. Not while the clock is being set: half of what is
    /// compared would be of the one clock and half of the other.
    async fn let_leave_in_time(&self) -> Result<Vec<NotebookId>, StoreError> {
        let _shared = self.inner.frame.read().await;
        let due = Some(self.now().plus_millis(-self.inner.config.trash_ms));
        let query = TrashQuery { due, limit: AT_A_TIME, ..TrashQuery::default() };
        let mut leaving = Vec::new();
        for trashed in self.inner.store.trash(&query).await? {
            if self.leaves(&trashed, "its time in the trash is over".into()).await? {
                leaving.push(trashed.notebook.id);
            }
        }
        Ok(leaving)
    }

    /// Whether it leaves: from now on if not before.
    async fn leaves(&self, trashed: &Trashed, why: String) -> Result<bool, StoreError> {
        Ok(trashed.leaves || self.let_leave(&trashed.notebook, why, None).await?)
    }
}

fn not_in_trash(id: NotebookId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no volume of notebook `{id}` in the trash"))
}
