//! After a reboot of the machine.
//!
//! The store remembers the boot that it was last used in. When the runtime names another one at the start, every
//! instance of before is gone, whatever the records say, and nobody is to blame: so this is no fault.
//!
//! * RUNNING becomes STARTING while the lease still runs, and STOPPED when it is over. What is started again keeps its
//!   lease to the millisecond (a reboot gives nobody more time) and its visitors' token (nobody asked for a new one).
//! * A creation or a start under way begins its steps anew: those that were done are undone by the reboot.
//! * A stop or a deletion goes on: its steps find nothing that runs.
//!
//! The boot is remembered after the last of these was written. A crash in between repeats the rest, and finds nothing
//! left to do for the first part, because a notebook that was moved does not rest in RUNNING before the server drives
//! it. Not all of them are started at once: each start costs seconds of CPU, and a machine that starts a hundred
//! notebook servers together answers for none of them in time. [`Revivals`] lets them in a few at a time.
//!
//! A disk without room, on which none of this can be written, is no reason to stay away: people have to come in to
//! delete something. The aftermath is then *pending* ([`Aftermath`]), and tried again by itself. Until it is written:
//!
//! * No notebook that is kept as RUNNING is judged: that nothing runs of it says nothing about it.
//! * No creation and no start is begun or goes on. So nothing runs in a boot that the store does not remember, and the
//!   next start of the server may judge all that is kept as RUNNING again.
//! * Stops and deletions go on; they are what makes room.

use std::sync::atomic::{AtomicBool, Ordering};

use atelier_core::caller::{Actor, Origin};
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::{Operation, OperationKind, OperationState, StepState};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::{Event, Status};
use atelier_store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::drive::mirror;
use crate::write::Change;
use crate::{Engine, OpenError};

/// What the store remembers the boot under.
const BOOT: &str = "boot";
/// The word for it in a notebook's history.
const REBOOTED: &str = "host.rebooted";

/// How long to wait before a disk without room is tried again.
pub(crate) const AGAIN_MS: i64 = 2_000;

/// Whether what follows from a reboot still has to be written.
#[derive(Debug, Default)]
pub(crate) struct Aftermath(AtomicBool);

impl Aftermath {
    pub(crate) fn is_pending(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn set_pending(&self, pending: bool) {
        self.0.store(pending, Ordering::SeqCst);
    }
}

/// How many notebooks are started again side by side.
#[derive(Debug)]
pub(crate) struct Revivals(Semaphore);

impl Revivals {
    /// Two for each CPU.
    pub(crate) fn new(cpu_millis: u64) -> Self {
        Self(Semaphore::new(usize::try_from(cpu_millis / 500).unwrap_or(2).clamp(2, 64)))
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }

    /// Waits for the operation's turn. Starts that somebody waits for do not stand in this queue.
    pub(crate) async fn turn_of(&self, operation: &Operation) -> Option<SemaphorePermit<'_>> {
        if operation.origin.actor != Actor::System || operation.kind != OperationKind::Start {
            return None;
        }
        self.turn().await
    }
}

impl Engine {
    /// Finds out whether the machine was rebooted, and writes what follows from it. Drives nothing yet. On a disk without
    /// room it is left pending.
    pub(crate) async fn follow_reboot(&self) -> Result<(), OpenError> {
        let boot = self.inner.runtime.boot_id().await?;
        match self.write_reboot(&boot).await {
            Err(StoreError::Full(why)) => {
                tracing::error!("the machine was rebooted, and there is no room to write what follows from it: {why}");
                self.inner.aftermath.set_pending(true);
                self.spawn_aftermath(boot);
                Ok(())
            }
            written => Ok(written?),
        }
    }

    async fn write_reboot(&self, boot: &str) -> Result<(), StoreError> {
        match self.inner.store.remembered(BOOT).await? {
            Some(before) if before == boot => return Ok(()),
            Some(_) => self.rebooted().await?,
            None => {}
        }
        self.inner.store.remember(BOOT, boot).await
    }

    /// Tries again until it is written, and lets everything go on then.
    fn spawn_aftermath(&self, boot: String) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = engine.pass(AGAIN_MS) => {}
                }
                match engine.write_reboot(&boot).await {
                    Ok(()) => break,
                    Err(why) => tracing::debug!("what follows from the reboot is still not written: {why}"),
                }
            }
            tracing::warn!("what follows from the reboot is written now");
            engine.inner.aftermath.set_pending(false);
            // Also what cannot be read now: the watchdog drives whatever nobody does.
            if let Err(error) = engine.resume().await {
                tracing::warn!("what is unfinished is not known yet: {error}");
            }
        });
    }

    /// Whether an operation has to wait until the reboot is written: one that would let something run.
    pub(crate) fn waits_for_aftermath(&self, id: NotebookId) -> bool {
        let begins = |status| matches!(status, Status::Creating | Status::Starting);
        self.inner.aftermath.is_pending() && self.inner.routes.status(id).is_some_and(begins)
    }

    async fn rebooted(&self) -> Result<(), StoreError> {
        tracing::warn!("the machine was rebooted; notebooks whose lease still runs are started again");
        for (id, status) in self.inner.store.notebook_ids().await? {
            if !matches!(status, Status::Running | Status::Creating | Status::Starting) {
                continue;
            }
            let written = self.change_with_operations(id, |n, o| self.after_reboot(n, o)).await;
            match written {
                Err(refusal) if refusal.code() == Code::Internal => {
                    return Err(StoreError::Engine(format!("what the reboot did to notebook {id} was not written")));
                }
                Err(refusal) if refusal.code() == Code::Unavailable => {
                    return Err(StoreError::Full(refusal.message().to_owned()));
                }
                Err(refusal) => tracing::debug!(notebook = %id, "the reboot changed nothing: {refusal}"),
                Ok(notebook) => {
                    tracing::info!(notebook = %id, "after the reboot notebook {id} is {}", notebook.status());
                }
            }
        }
        Ok(())
    }

    fn after_reboot(&self, notebook: Notebook, operations: Vec<Operation>) -> Result<Change, Refusal> {
        match notebook.status() {
            Status::Running if notebook.lease.is_over(self.now()) => self.stopped_by_reboot(notebook),
            Status::Running => self.started_again(notebook),
            Status::Creating | Status::Starting => self.begun_anew(notebook, operations),
            _ => Err(Refusal::new(Code::Conflict, "nothing of it ran")),
        }
    }

    fn stopped_by_reboot(&self, mut notebook: Notebook) -> Result<Change, Refusal> {
        notebook.apply(Event::RebootedAfterLease, self.now())?;
        let why = "the machine was rebooted, and the lease was over by then: the notebook is stopped";
        Ok(self.with_event(notebook, REBOOTED, why.into()))
    }

    fn started_again(&self, mut notebook: Notebook) -> Result<Change, Refusal> {
        let now = self.now();
        notebook.apply(Event::RebootedInLease, now)?;
        notebook.upstream_secret = self.new_token();
        let left = notebook.lease.remaining_ms(now).map_or("has no end".into(), |ms| format!("has {ms} ms left"));
        let why = format!("the machine was rebooted; the lease {left}, so the notebook is started again");
        let mut change = self.asked(notebook, OperationKind::Start, &Origin::system(), why.clone());
        change.events.insert(0, self.event(&change.notebook, &Origin::system(), REBOOTED, why));
        Ok(change)
    }

    /// What the steps had made is gone: they are applied once more. One that was being taken back goes on.
    fn begun_anew(&self, mut notebook: Notebook, mut operations: Vec<Operation>) -> Result<Change, Refusal> {
        operations.retain(|o| o.state == OperationState::Running);
        for operation in &mut operations {
            for step in operation.steps.iter_mut().filter(|s| s.state == StepState::Done) {
                step.state = StepState::Began;
                step.ended_at = None;
            }
            mirror(&mut notebook, operation);
        }
        if operations.is_empty() {
            return Err(Refusal::new(Code::Conflict, "it is being taken back"));
        }
        let why = "the machine was rebooted; what is under way begins anew".into();
        Ok(Change { operations, ..self.with_event(notebook, REBOOTED, why) })
    }

    /// Whether the lease is written anew when this operation has brought its notebook to RUNNING.
    pub(crate) fn grants_anew(operation: &Operation) -> bool {
        operation.origin.actor != Actor::System
    }
}
