//! What is worth measuring, told by those who know it to whoever keeps figures and traces.
//!
//! The crates inside know no format of figures and no collector. They hold a [`Watcher`] and tell it what ended, when it
//! began and how; by default nobody listens. What is told never decides anything, and telling must cost next to
//! nothing: an implementation neither waits nor writes.
//!
//! Lengths of time are measured on the monotonic clock ([`Instant`]) and not on the injected one, because nothing
//! depends on them: they are figures about this machine.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::activity::Verdict;
use crate::caller::Origin;
use crate::id::{NotebookId, OperationId};
use crate::operation::{OperationKind, OperationState, StepName};

/// Whoever keeps figures. Every method has an empty body, so that one can listen to a part.
pub trait Observer: Send + Sync {
    /// One try of a step ended, forwards or back.
    fn step(&self, _step: &StepSeen<'_>) {}

    /// An operation ended.
    fn operation(&self, _operation: &OperationSeen<'_>) {}

    /// A notebook became RUNNING, `millis` after it was asked for.
    fn started(&self, _path: StartPath, _millis: i64) {}

    /// A notebook was stopped at the end of its lease, so many milliseconds after it.
    fn lease_ended(&self, _late_millis: i64) {}

    /// It was judged whether a notebook is idle.
    fn idle_verdict(&self, _verdict: IdleVerdict) {}

    /// A notebook server that had ended by itself was started again, or could not be.
    fn server_started_again(&self, _serves: bool) {}

    /// A process of a notebook was killed because memory ran out: a kernel, or another one.
    fn out_of_memory(&self, _kernel: bool) {}

    /// Something was found that belongs to no notebook, and was taken away.
    fn orphan(&self) {}

    /// A change of a notebook was committed, or failed to be; the request that asked for it, where one did.
    fn commit(&self, _request_id: Option<&str>, _began: Instant, _kept: bool) {}

    /// The store was asked.
    fn store(&self, _call: StoreCall, _began: Instant, _answered: bool) {}
}

/// One try of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepSeen<'a> {
    /// The notebook.
    pub notebook: NotebookId,
    /// The operation that the step is part of.
    pub operation: OperationId,
    /// What the operation does.
    pub kind: OperationKind,
    /// Who asked for it.
    pub origin: &'a Origin,
    /// The step.
    pub step: StepName,
    /// How it went.
    pub result: StepResult,
    /// When it began.
    pub began: Instant,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepResult {
    /// Its effect is there.
    Done,
    /// It could not be done.
    Failed,
    /// It was broken off, by a deletion or the end of the server.
    Interrupted,
    /// Its effect was taken back.
    Undone,
    /// Its effect could not be taken back.
    NotUndone,
}

impl StepResult {
    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Undone => "undone",
            Self::NotUndone => "not-undone",
        }
    }
}

/// An operation that ended.
#[derive(Clone, Copy, Debug)]
pub struct OperationSeen<'a> {
    /// The notebook.
    pub notebook: NotebookId,
    /// The operation.
    pub operation: OperationId,
    /// What it did.
    pub kind: OperationKind,
    /// Who asked for it.
    pub origin: &'a Origin,
    /// How it ended.
    pub state: OperationState,
    /// Milliseconds from being asked for to its end, by the wall clock: it may have begun in another process.
    pub millis: i64,
}

/// How a notebook server comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartPath {
    /// From its command line.
    CommandLine,
    /// Forked from a process that has it loaded.
    Zygote,
}

impl StartPath {
    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CommandLine => "command-line",
            Self::Zygote => "zygote",
        }
    }
}

/// What was found about a notebook's activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdleVerdict {
    /// Somebody works, or something computes.
    Active,
    /// Neither.
    Idle,
    /// It could not be found out.
    Unknown,
}

impl From<&Verdict> for IdleVerdict {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Active(_) => Self::Active,
            Verdict::Idle(_) => Self::Idle,
            Verdict::Unknown(_) => Self::Unknown,
        }
    }
}

impl IdleVerdict {
    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
        }
    }
}

/// What the store was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreCall {
    /// A durable change: from asking to being on disk.
    Commit,
    /// A read that the engine had to answer.
    Read,
}

impl StoreCall {
    /// The name in figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Read => "read",
        }
    }
}

/// The one who is told; by default nobody.
#[derive(Clone)]
pub struct Watcher(Arc<dyn Observer>);

impl Watcher {
    /// This one is told.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self(observer)
    }
}

impl Deref for Watcher {
    type Target = dyn Observer;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self(Arc::new(Nobody))
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

struct Nobody;

impl Observer for Nobody {}
