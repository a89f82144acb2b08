//! Driving operations to their end.
//!
//! At most one task drives a notebook. It takes the oldest unfinished operation, applies its steps in order, records
//! each, and looks again until none is left. Between two steps there is one commit: it records the step that is done
//! and the one that begins. A failed step turns the operation round: its begun steps are taken back, last one first.
//!
//! A deletion interrupts: the step under way is broken off (every call of a runtime may be), and the deletion's own
//! steps take down whatever is there.

use std::time::Instant;

use atelier_core::event::NotebookEvent;
use atelier_core::hook::Mode;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::observe::{OperationSeen, StartPath, StepResult, StepSeen};
use atelier_core::operation::{Operation, OperationKind, OperationState, StepName, StepState};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Event;
use atelier_core::volume::VolumeKind;
use atelier_runtime::Way;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::steps::Brought;
use crate::write::Change;
use crate::{Engine, failpoint};

/// How the driving of one operation ended.
enum Driven {
    /// It ended, or was given up for another: look for the next one.
    Ended,
    /// The engine shuts down, or the store failed: leave it as it is.
    Left,
}

/// Why a record was not written.
enum NotRecorded {
    /// The operation was given up meanwhile.
    GivenUp,
    /// The store failed.
    Failed,
}

/// What a record adds to the states of notebook and operation.
#[derive(Default)]
struct Noted {
    event: Option<NotebookEvent>,
    into_trash: bool,
}

const HOUR_MS: i64 = 60 * 60 * 1000;

impl Engine {
    /// Lets a task drive what is unfinished for this notebook.
    pub(crate) fn drive(&self, id: NotebookId) {
        self.engage(id, None);
    }

    /// Lets a task take away what is left of this notebook at rest, and then drive what is unfinished. As it holds the
    /// driver's place meanwhile, it never meets a start half-way. `turn` is given back as soon as that is done.
    pub(crate) fn tidy(&self, id: NotebookId, turn: OwnedSemaphorePermit) {
        self.engage(id, Some(turn));
    }

    fn engage(&self, id: NotebookId, turn: Option<OwnedSemaphorePermit>) {
        if self.waits_for_aftermath(id) {
            return;
        }
        let engine = self.clone();
        let since = self.now();
        let Some(mut place) = self.inner.drivers.enter(id, since) else { return };
        self.inner.tasks.spawn(async move {
            if let Some(turn) = turn {
                engine.collect_left_overs(id).await;
                drop(turn);
            }
            loop {
                match engine.drive_next(id).await {
                    Some(Driven::Left) => return,
                    None if place.leave() => return,
                    Some(Driven::Ended) | None => {}
                }
            }
        });
    }

    /// Breaks off the step under way for this notebook.
    pub(crate) fn interrupt(&self, id: NotebookId) {
        self.inner.drivers.interrupt(id);
    }

    /// Drives the oldest unfinished operation; `None` when there is none.
    async fn drive_next(&self, id: NotebookId) -> Option<Driven> {
        let interrupt = self.inner.drivers.fresh_interrupt(id);
        let operation = match self.inner.store.unfinished_operations_of(id).await {
            Ok(operations) => operations.into_iter().next()?,
            Err(error) => {
                tracing::error!(notebook = %id, "cannot read the operations of notebook {id}: {error}");
                return Some(self.pause().await);
            }
        };
        let driven = match operation.state {
            OperationState::Undoing => self.drive_back(operation).await,
            _ => self.drive_forward(operation, &interrupt).await,
        };
        self.set_note(id, None);
        Some(match driven {
            Ok(driven) => driven,
            Err(NotRecorded::GivenUp) => Driven::Ended,
            Err(NotRecorded::Failed) => self.pause().await,
        })
    }

    /// The store failed: wait a little before the next try, unless the engine shuts down.
    async fn pause(&self) -> Driven {
        tokio::select! {
            () = self.inner.stopping.cancelled() => Driven::Left,
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => Driven::Ended,
        }
    }

    async fn drive_forward(
        &self,
        mut operation: Operation,
        interrupt: &CancellationToken,
    ) -> Result<Driven, NotRecorded> {
        let kind = operation.kind.as_str();
        let mut turn = tokio::select! {
            biased;
            () = self.inner.stopping.cancelled() => return Ok(Driven::Left),
            () = interrupt.cancelled() => return Ok(Driven::Ended),
            turn = self.inner.revivals.turn_of(&operation) => turn,
        };
        let mut notebook = self
            .record(&mut operation, |engine, notebook, operation| {
                engine.begin_next(notebook, operation);
                Ok(Noted::default())
            })
            .await?;
        let mut brought = None;
        while let Some(at) = operation.next_step() {
            let step = operation.steps[at].name;
            let first = operation.steps[at].attempts == 1;
            let began = Instant::now();
            if step == StepName::InitializeInstance && notebook.hooks.of(Mode::Block).next().is_some() {
                // A hook may take minutes, in which the others would wait for nothing.
                drop(turn.take());
            }
            let applied = tokio::select! {
                biased;
                () = self.inner.stopping.cancelled() => Err(Driven::Left),
                () = interrupt.cancelled() => Err(Driven::Ended),
                applied = self.apply(&notebook, operation.kind, step, first) => Ok(applied),
            };
            let result = match &applied {
                Ok(Ok(_)) => StepResult::Done,
                Ok(Err(_)) => StepResult::Failed,
                Err(_) => StepResult::Interrupted,
            };
            self.tell_step(&operation, step, result, began);
            let applied = match applied {
                Ok(applied) => applied,
                Err(driven) => return Ok(driven),
            };
            self.set_note(notebook.id, None);
            match applied {
                Ok(news) => brought = news.or(brought),
                Err(reason) => {
                    tracing::warn!(notebook = %notebook.id, operation = %operation.id, step = %step,
                    "step {step} of the {kind} of notebook {} failed: {reason}", notebook.id);
                    self.record(&mut operation, |engine, notebook, operation| {
                        operation.state = OperationState::Undoing;
                        operation.error = Some(reason.clone());
                        operation.steps[at].state = StepState::Failed;
                        operation.steps[at].ended_at = Some(engine.now());
                        operation.steps[at].note = Some(reason.clone());
                        mirror(notebook, operation);
                        Ok(Noted::default())
                    })
                    .await?;
                    return self.drive_back(operation).await;
                }
            }
            failpoint::reach("op", kind, step.as_str(), "effect");
            notebook = self.record(&mut operation, |e, n, o| e.done(n, o, at, brought.as_ref())).await?;
            failpoint::reach("op", kind, step.as_str(), "record");
        }
        self.tell_end(&operation, brought.as_ref().and_then(Brought::way));
        if matches!(brought, Some(Brought::VolumeAside)) && self.lacks_room().await.is_some() {
            // Deleting is how people make room.
            self.inner.stopping.run_until_cancelled(self.empty_trash()).await;
        }
        Ok(Driven::Ended)
    }

    /// Records that the next step begins.
    fn begin_next(&self, notebook: &mut Notebook, operation: &mut Operation) {
        let now = self.now();
        if let Some(at) = operation.next_step() {
            let step = &mut operation.steps[at];
            step.state = StepState::Began;
            step.attempts += 1;
            step.began_at.get_or_insert(now);
        }
        mirror(notebook, operation);
    }

    /// Records that step `at` is done, and that the next one begins or the operation ends.
    fn done(
        &self,
        notebook: &mut Notebook,
        operation: &mut Operation,
        at: usize,
        brought: Option<&Brought>,
    ) -> Result<Noted, Refusal> {
        let way = brought.and_then(Brought::way);
        let now = self.now();
        let step = &mut operation.steps[at];
        step.state = StepState::Done;
        step.ended_at = Some(now);
        if step.name == StepName::InitializeInstance {
            step.note = way.map(Way::to_string);
        }
        if operation.next_step().is_some() {
            self.begin_next(notebook, operation);
            return Ok(Noted::default());
        }
        operation.state = OperationState::Done;
        operation.ended_at = Some(now);
        notebook.progress.clear();
        match operation.kind {
            OperationKind::Create | OperationKind::Start => {
                notebook.apply(Event::Ready, now)?;
                notebook.ever_ran = true;
                if Self::grants_anew(operation) {
                    notebook.lease = notebook.lease.rewritten(now, notebook.lease.grant(), notebook.lease.kind());
                }
            }
            OperationKind::Stop | OperationKind::Delete => notebook.apply(Event::Gone, now)?,
        }
        let millis = now.millis_since(operation.began_at);
        let why = match brought {
            Some(Brought::Server(way)) => format!("after {millis} ms; the notebook server was {way}"),
            Some(Brought::VolumeAside) => {
                let hours = self.inner.config.trash_ms / HOUR_MS;
                let what = match notebook.volume.kind {
                    VolumeKind::Own(_) => "its volume rests",
                    VolumeKind::Shared { .. } => "it rests, with its shared volume if it was the last that had it,",
                    VolumeKind::Dedicated(_) => "it rests, without the folder that was its volume,",
                };
                format!("after {millis} ms; {what} in the trash for {hours} h")
            }
            None => format!("after {millis} ms"),
        };
        let event = self.event(notebook, &operation.origin, &format!("{}.done", operation.kind), why);
        Ok(Noted { event: Some(event), into_trash: matches!(brought, Some(Brought::VolumeAside)) })
    }

    /// Takes the begun steps of a failed operation back, and ends it.
    async fn drive_back(&self, mut operation: Operation) -> Result<Driven, NotRecorded> {
        let kind = operation.kind.as_str();
        // The last one that began, and not the one whose state says so: after a crash on the way back it is undone.
        let failed = operation.steps.iter().rev().find(|s| s.began_at.is_some()).map(|s| s.name);
        let mut left = false;
        while let Some(at) = operation.next_undo() {
            let step = operation.steps[at].name;
            let began = Instant::now();
            // What could not be stopped for one step cannot be for another, nor can its storage be discarded.
            let undone = if left {
                Ok(())
            } else {
                tokio::select! {
                    biased;
                    () = self.inner.stopping.cancelled() => return Ok(Driven::Left),
                    undone = self.undo(operation.notebook_id, operation.kind, step, failed) => undone,
                }
            };
            let result = if undone.is_ok() && !left { StepResult::Undone } else { StepResult::NotUndone };
            self.tell_step(&operation, step, result, began);
            if let Err(reason) = undone {
                // Every failed status allows a deletion, and what is left is looked for again without one, too.
                left = true;
                tracing::error!(notebook = %operation.notebook_id, operation = %operation.id, step = %step,
                    "undoing step {step} of the {kind} of notebook {} failed: {reason}", operation.notebook_id);
            }
            failpoint::reach("undo", kind, step.as_str(), "effect");
            self.record(&mut operation, move |_, _, operation| {
                operation.steps[at].state = StepState::Undone;
                Ok(Noted::default())
            })
            .await?;
            failpoint::reach("undo", kind, step.as_str(), "record");
        }
        self.record(&mut operation, |e, n, o| e.failed(n, o, failed)).await?;
        self.tell_end(&operation, None);
        Ok(Driven::Ended)
    }

    fn tell_step(&self, operation: &Operation, step: StepName, result: StepResult, began: Instant) {
        self.watcher().step(&StepSeen {
            notebook: operation.notebook_id,
            operation: operation.id,
            kind: operation.kind,
            origin: &operation.origin,
            step,
            result,
            began,
        });
    }

    /// Tells of an operation that has ended, and was recorded to have. `way`: how the notebook server came to run.
    pub(crate) fn tell_end(&self, operation: &Operation, way: Option<&Way>) {
        let millis = operation.ended_at.map_or(0, |end| end.millis_since(operation.began_at));
        self.watcher().operation(&OperationSeen {
            notebook: operation.notebook_id,
            operation: operation.id,
            kind: operation.kind,
            origin: &operation.origin,
            state: operation.state,
            millis,
        });
        let path = match way {
            Some(Way::Forked) => Some(StartPath::Zygote),
            Some(Way::CommandLine { .. }) => Some(StartPath::CommandLine),
            // An earlier call had got so far; how long this took says nothing of any way.
            Some(Way::Already) | None => None,
        };
        if let Some(path) = path.filter(|_| operation.state == OperationState::Done) {
            self.watcher().started(path, millis);
        }
    }

    /// Records the end of a failed operation, with its reason.
    fn failed(
        &self,
        notebook: &mut Notebook,
        operation: &mut Operation,
        failed: Option<StepName>,
    ) -> Result<Noted, Refusal> {
        let now = self.now();
        let reason = operation.error.clone().unwrap_or_else(|| "unknown".into());
        let event = match (operation.kind, failed) {
            (OperationKind::Create, Some(StepName::InitializeInstance)) => Event::ServerFailed,
            _ => Event::Broke,
        };
        notebook.apply(event, now)?;
        notebook.fail_reason = Some(reason.clone());
        notebook.progress.clear();
        operation.state = OperationState::Failed;
        operation.ended_at = Some(now);
        let event = self.event(notebook, &operation.origin, &format!("{}.failed", operation.kind), reason);
        Ok(Noted { event: Some(event), into_trash: false })
    }

    /// Writes what `decide` makes of notebook and operation, unless the operation was given up meanwhile.
    async fn record(
        &self,
        operation: &mut Operation,
        mut decide: impl FnMut(&Self, &mut Notebook, &mut Operation) -> Result<Noted, Refusal> + Send,
    ) -> Result<Notebook, NotRecorded> {
        let (id, state) = (operation.id, operation.state);
        let mut kept = None;
        let written = self
            .change_with_operations(operation.notebook_id, |mut notebook, operations| {
                let Some(mut current) = operations.into_iter().find(|o| o.id == id && o.state == state) else {
                    // Given up for a deletion, or turned round by somebody.
                    return Err(Refusal::new(Code::Conflict, "the operation was taken out of these hands"));
                };
                let Noted { event, into_trash } = decide(self, &mut notebook, &mut current)?;
                kept = Some(current.clone());
                let events = event.into_iter().collect();
                Ok(Change { operations: vec![current], events, into_trash, ..Change::of(notebook) })
            })
            .await;
        match written {
            Ok(notebook) => {
                if let Some(kept) = kept {
                    *operation = kept;
                }
                Ok(notebook)
            }
            Err(refusal) if matches!(refusal.code(), Code::Internal | Code::Unavailable) => Err(NotRecorded::Failed),
            Err(refusal) => {
                tracing::debug!(operation = %id, "operation {id} goes no further: {refusal}");
                Err(NotRecorded::GivenUp)
            }
        }
    }
}

/// Shows the steps of a creation or a start in the notebook, for `action_progress`.
pub(crate) fn mirror(notebook: &mut Notebook, operation: &Operation) {
    if matches!(operation.kind, OperationKind::Create | OperationKind::Start) {
        notebook.progress.clone_from(&operation.steps);
    }
}
