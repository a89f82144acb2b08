//! Operations as people see and steer them: what is under way, who drives it and until when, what comes next; turning
//! one round, and asking once more for what failed.
//!
//! A user sees the operations on the notebooks that they have; an administrator sees all of them and may turn any round.
//! Asking again is the owner's alone: it is the same command as the first time, with the same conditions.

use std::time::Duration;

use atelier_core::Timestamp;
use atelier_core::caller::Caller;
use atelier_core::id::{NotebookId, OperationId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::{Operation, OperationKind, OperationState, StepName, StepState};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_store::OperationQuery;

use crate::commands::own;
use crate::drive::mirror;
use crate::steps::longest;
use crate::write::{Called, Change, hidden};
use crate::{Engine, HangingCall};

/// Whose operations are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The caller's own.
    Own,
    /// Everybody's. For administrators; who may say so is not decided here.
    Everybodys,
}

/// An operation, and what is known of it besides.
#[derive(Clone, Debug)]
pub struct OperationView {
    /// The operation.
    pub operation: Operation,
    /// The name of its notebook; `None` when that is gone.
    pub notebook_name: Option<String>,
    /// The status of its notebook.
    pub status: Option<Status>,
    /// Since when this server drives it; `None` when nobody does.
    pub driven_since: Option<Timestamp>,
    /// When the step under way is given up at the latest.
    pub step_deadline: Option<Timestamp>,
    /// When the last step is done or given up at the latest, if each of them takes as long as it may.
    pub deadline: Option<Timestamp>,
    /// What happens next, or what somebody can do.
    pub next: String,
    /// Calls for the notebook that were given up and have not returned.
    pub hanging: Vec<HangingCall>,
}

fn no_operation(id: OperationId) -> Refusal {
    Refusal::new(Code::NotFound, format!("operation `{id}` does not exist"))
}

/// `seen` is the state as it was read last; what has ended meanwhile ended in some other way.
fn not_running(seen: OperationState) -> Refusal {
    let state = if seen == OperationState::Running { "over by now" } else { seen.as_str() };
    Refusal::new(Code::Conflict, format!("the operation is {state}; only one that is running can be cancelled"))
}

impl Engine {
    /// A page of operations, newest first.
    pub async fn operations(
        &self,
        caller: &Caller,
        whose: Whose,
        mut query: OperationQuery,
    ) -> Result<Vec<OperationView>, Refusal> {
        if whose == Whose::Own {
            query.of = Some((caller.project_id.clone(), caller.user_id.clone()));
        }
        let mut views = Vec::new();
        for operation in self.inner.store.operations(&query).await.map_err(|e| hidden(&e))? {
            let notebook = self.kept(operation.notebook_id).await?;
            views.push(self.view(operation, notebook.as_ref()));
        }
        Ok(views)
    }

    /// One operation.
    pub async fn operation(&self, caller: &Caller, whose: Whose, id: OperationId) -> Result<OperationView, Refusal> {
        let (operation, notebook) = self.visible(caller, whose, id).await?;
        Ok(self.view(operation, notebook.as_ref()))
    }

    /// Turns an operation round: what it has begun is taken back, and its notebook rests in the failed status.
    pub async fn cancel_operation(
        &self,
        caller: &Caller,
        whose: Whose,
        request_id: &str,
        id: OperationId,
    ) -> Result<OperationView, Refusal> {
        let (found, _) = self.visible(caller, whose, id).await?;
        let (engine, notebook_id) = (self.clone(), found.notebook_id);
        let by = Called::new(caller, request_id, "CancelOperation");
        let origin = by.origin();
        self.detached(async move {
            let why = format!("cancelled by {}", origin.actor);
            engine
                .change_with_operations(notebook_id, |mut notebook, operations| {
                    let Some(mut operation) = operations.into_iter().find(|o| o.id == id) else {
                        return Err(not_running(found.state));
                    };
                    if operation.state != OperationState::Running {
                        return Err(not_running(operation.state));
                    }
                    operation.state = OperationState::Undoing;
                    operation.error = Some(why.clone());
                    mirror(&mut notebook, &operation);
                    let what = format!("{}.cancel.asked", operation.kind);
                    let event = engine.event(&notebook, &origin, &what, why.clone());
                    let change = Change { operations: vec![operation], events: vec![event], ..Change::of(notebook) };
                    Ok(change.called(&by))
                })
                .await?;
            engine.interrupt(notebook_id);
            engine.drive(notebook_id);
            Ok(())
        })
        .await?;
        self.operation(caller, whose, id).await
    }

    /// Asks once more for what a failed operation was to do. The new operation is answered.
    pub async fn retry_operation(
        &self,
        caller: &Caller,
        request_id: &str,
        id: OperationId,
    ) -> Result<OperationView, Refusal> {
        let (found, notebook) = self.visible(caller, Whose::Own, id).await?;
        if found.state != OperationState::Failed {
            let message = format!("the operation is {}; only a failed one can be tried again", found.state.as_str());
            return Err(Refusal::new(Code::Conflict, message));
        }
        let status = notebook.map(|n| n.status());
        let at = found.notebook_id;
        match found.kind {
            OperationKind::Create if status == Some(Status::CreateFailed) => {
                let message = "a creation that failed holds nothing any more; delete the notebook and create it anew";
                return Err(Refusal::new(Code::Conflict, message));
            }
            OperationKind::Create | OperationKind::Start => self.start(caller, request_id, at, None, None).await?,
            OperationKind::Stop => self.stop(caller, request_id, at).await?,
            OperationKind::Delete => self.delete(caller, request_id, at).await?,
        };
        let newest = OperationQuery { notebook_id: Some(at), limit: 1, ..OperationQuery::default() };
        let newest = self.inner.store.operations(&newest).await.map_err(|e| hidden(&e))?.pop();
        let notebook = self.kept(at).await?;
        Ok(self.view(newest.unwrap_or(found), notebook.as_ref()))
    }

    pub(crate) async fn kept(&self, id: NotebookId) -> Result<Option<Notebook>, Refusal> {
        self.inner.store.notebook(id).await.map_err(|e| hidden(&e))
    }

    /// The operation, when the caller may see it; else it does not exist.
    async fn visible(
        &self,
        caller: &Caller,
        whose: Whose,
        id: OperationId,
    ) -> Result<(Operation, Option<Notebook>), Refusal> {
        let found = self.inner.store.operation(id).await.map_err(|e| hidden(&e))?;
        let operation = found.ok_or_else(|| no_operation(id))?;
        let notebook = self.kept(operation.notebook_id).await?;
        let mine = notebook.as_ref().is_some_and(|n| own(caller, n).is_ok());
        if mine || whose == Whose::Everybodys { Ok((operation, notebook)) } else { Err(no_operation(id)) }
    }

    fn view(&self, operation: Operation, notebook: Option<&Notebook>) -> OperationView {
        let id = operation.notebook_id;
        let driven_since = if operation.state.is_ended() { None } else { self.inner.drivers.since(id) };
        let hooks = notebook.map_or(Duration::ZERO, |notebook| self.longest_hooks(&notebook.hooks));
        OperationView {
            notebook_name: notebook.map(|n| n.name.clone()),
            status: notebook.map(Notebook::status),
            step_deadline: driven_since.and_then(|since| step_deadline(&operation, since, hooks)),
            deadline: driven_since.and_then(|since| deadline(&operation, since, hooks)),
            next: next(&operation, driven_since.is_some()).into(),
            hanging: self.inner.hands.hanging(id),
            driven_since,
            operation,
        }
    }
}

/// The tries of a step are counted by the server that drives it, and so begin with it.
fn step_deadline(operation: &Operation, since: Timestamp, hooks: Duration) -> Option<Timestamp> {
    let step = operation.steps.iter().find(|s| s.state == StepState::Began)?;
    let begun = step.began_at.map_or(since, |at| at.max(since));
    Some(begun.plus_millis(longest_ms(step.name, hooks)))
}

/// Of the whole operation: every step that is still to come may take as long as the one under way. Nothing is said of an
/// operation that is taken back; that is tried once, and ends it.
fn deadline(operation: &Operation, since: Timestamp, hooks: Duration) -> Option<Timestamp> {
    let coming = operation.steps.iter().filter(|step| step.state == StepState::Waiting);
    let coming: i64 = coming.map(|step| longest_ms(step.name, hooks)).sum();
    (operation.state == OperationState::Running)
        .then(|| step_deadline(operation, since, hooks).map(|end| end.plus_millis(coming)))
        .flatten()
}

/// `hooks`: how long the step that runs them may wait for them.
fn longest_ms(step: StepName, hooks: Duration) -> i64 {
    let hooks = if step == StepName::InitializeInstance { hooks } else { Duration::ZERO };
    i64::try_from((longest(step) + hooks).as_millis()).unwrap_or(i64::MAX)
}

const fn next(operation: &Operation, driven: bool) -> &'static str {
    match (operation.state, operation.kind) {
        (OperationState::Running | OperationState::Undoing, _) if !driven => {
            "nobody drives it; it is driven again within 15 s"
        }
        (OperationState::Running, _) => "the step under way ends, or is given up at its deadline and taken back",
        (OperationState::Undoing, _) => "what was begun is taken back, then the notebook rests in its failed status",
        (OperationState::Failed, OperationKind::Create) => {
            "start the notebook where it is START_FAILED, else delete it"
        }
        (OperationState::Failed, _) => "it can be tried again",
        (OperationState::Done | OperationState::Cancelled, _) => "nothing",
    }
}
