//! Durable operations: what is being done to a notebook, as rows that survive a crash.
//!
//! An operation is fixed before its first step: its kind, its notebook and who asked. Its steps are named; a name is
//! stored and never reused for something else. A step is *begun* before its effect and *done* after it, so after a
//! crash every begun step may or may not have had its effect: it is applied again, or undone, and both accept either.

use std::fmt;

use crate::caller::Origin;
use crate::clock::Timestamp;
use crate::id::{NotebookId, OperationId};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Makes a notebook and starts it.
    Create,
    /// Starts a stopped notebook.
    Start,
    /// Stops a running notebook; its volume stays.
    Stop,
    /// Removes a notebook with its volume.
    Delete,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Create, Self::Start, Self::Stop, Self::Delete];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Delete => "delete",
        }
    }

    /// The steps, in order.
    pub const fn steps(self) -> &'static [StepName] {
        use StepName as S;
        match self {
            Self::Create | Self::Start => {
                &[S::PrepareStorage, S::PrepareCompute, S::ConfigureNetwork, S::InitializeInstance]
            }
            Self::Stop => &[S::StopInstance],
            Self::Delete => &[S::StopInstance, S::RemoveStorage],
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepName {
    /// The volume exists. Step 1 of the documented `action_progress`.
    PrepareStorage,
    /// The image is there, the instance's container exists within its limits. Step 2.
    PrepareCompute,
    /// The instance has its network. Step 3.
    ConfigureNetwork,
    /// The notebook server answers. Step 4.
    InitializeInstance,
    /// Nothing of the instance runs any more.
    StopInstance,
    /// Volume and file system are gone.
    RemoveStorage,
}

impl StepName {
    /// Every name.
    pub const ALL: [Self; 6] = [
        Self::PrepareStorage,
        Self::PrepareCompute,
        Self::ConfigureNetwork,
        Self::InitializeInstance,
        Self::StopInstance,
        Self::RemoveStorage,
    ];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PrepareStorage => "prepare-storage",
            Self::PrepareCompute => "prepare-compute",
            Self::ConfigureNetwork => "configure-network",
            Self::InitializeInstance => "initialize-instance",
            Self::StopInstance => "stop-instance",
            Self::RemoveStorage => "remove-storage",
        }
    }

    /// The number in `action_progress`; `None` for steps that it does not show.
    pub const fn progress_number(self) -> Option<u8> {
        match self {
            Self::PrepareStorage => Some(1),
            Self::PrepareCompute => Some(2),
            Self::ConfigureNetwork => Some(3),
            Self::InitializeInstance => Some(4),
            Self::StopInstance | Self::RemoveStorage => None,
        }
    }

    /// What the step does, for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::PrepareStorage => "prepare storage",
            Self::PrepareCompute => "prepare compute resources",
            Self::ConfigureNetwork => "configure the network",
            Self::InitializeInstance => "initialize the instance",
            Self::StopInstance => "stop the instance",
            Self::RemoveStorage => "remove the storage",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Begun: its effect may or may not be there.
    Began,
    /// Its effect is there.
    Done,
    /// It could not be done.
    Failed,
    /// Its effect was taken back.
    Undone,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Began, Self::Done, Self::Failed, Self::Undone];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Began => "began",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }

    /// The word of `action_progress`.
    pub const fn progress_word(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Began => "PROCESSING",
            Self::Done => "COMPLETED",
            Self::Failed | Self::Undone => "FAILED",
        }
    }
}

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Which.
    pub name: StepName,
    /// How far.
    pub state: StepState,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was first begun.
    pub began_at: Option<Timestamp>,
    /// When it was done, failed or undone.
    pub ended_at: Option<Timestamp>,
    /// What it is doing at present, or why it failed, for people.
    pub note: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// Going forward.
    Running,
    /// Taking its steps back, because one failed.
    Undoing,
    /// Done.
    Done,
    /// Failed, with its steps taken back.
    Failed,
    /// Given up for a deletion, which takes everything back.
    Cancelled,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Running, Self::Undoing, Self::Done, Self::Failed, Self::Cancelled];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more will be done.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A durable operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The notebook; the operation's row outlives it.
    pub notebook_id: NotebookId,
    /// What it does.
    pub kind: OperationKind,
    /// Who asked for it.
    pub origin: Origin,
    /// Why, as a sentence for people.
    pub why: String,
    /// How far it is.
    pub state: OperationState,
    /// When it was asked for.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Why it failed, for people.
    pub error: Option<String>,
}

impl Operation {
    /// A new operation, asked for at `now`.
    pub fn new(
        id: OperationId,
        notebook_id: NotebookId,
        kind: OperationKind,
        origin: Origin,
        why: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        let steps = kind
            .steps()
            .iter()
            .map(|&name| StepRecord {
                name,
                state: StepState::Waiting,
                attempts: 0,
                began_at: None,
                ended_at: None,
                note: None,
            })
            .collect();
        Self {
            id,
            notebook_id,
            kind,
            origin,
            why: why.into(),
            state: OperationState::Running,
            began_at: now,
            ended_at: None,
            steps,
            error: None,
        }
    }

    /// The first step that is not done; `None` when all are.
    pub fn next_step(&self) -> Option<usize> {
        self.steps.iter().position(|s| s.state != StepState::Done)
    }

    /// The last step that was begun and not yet undone; `None` when all are taken back.
    pub fn next_undo(&self) -> Option<usize> {
        self.steps.iter().rposition(|s| matches!(s.state, StepState::Began | StepState::Done | StepState::Failed))
    }
}
