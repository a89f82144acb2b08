//! Running the hooks of notebooks.
//!
//! They belong to the last step of a creation or a start: one before the notebook server is started, one after it serves. A
//! hook that blocks is waited for, and the step fails when it fails. Any other is begun, and a task waits for it ([`Engine::follow_hook`]).
//! Either way its end becomes an event.
//!
//! * A runtime begins a hook once in the life of a container. So a step that is applied again, by a second try or by the
//!   next server, waits for the hook that it has begun; and a notebook server that is started again in its container runs
//!   none. A fresh container, after a crash that took the first one, runs them anew: *at least once* for each start.
//! * The runtime ends a hook that is over its time, also while no server runs. Who waits here waits a little longer than
//!   that, and no runtime can make it for ever.
//! * A wait is no call that a thread would be kept for ([`mod@crate::hands`]): there may be as many as notebooks.
//! * The runtime remembers that the end of a hook was told. So a server that starts tells what has ended meanwhile, and
//!   nothing twice unless it dies between the event and that.

use std::fmt::Write as _;
use std::time::Duration;

use atelier_core::hook::{Hook, Hooks, Mode, Moment};
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::StepName;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::{Fate, HookEnd, HookRun, RuntimeError};

use crate::Engine;
use crate::hands::Errand;
use crate::steps::spec;

/// How much longer than a hook may run its end is waited for.
const GRACE: Duration = Duration::from_secs(15);
/// How long what is no work for a runtime may take.
const PROMPT: Duration = Duration::from_secs(30);
/// Lines of what a hook has said that people are told, and characters.
const MOST_LINES: usize = 3;
const MOST_CHARS: usize = 400;

impl Engine {
    /// Runs the hook of this moment, as far as a start waits for it. The error is why the start fails.
    pub(crate) async fn run_hook(&self, notebook: &Notebook, moment: Moment) -> Result<(), String> {
        let Some(hook) = notebook.hooks.at(moment) else { return Ok(()) };
        let step = StepName::InitializeInstance;
        self.tried(notebook.id, step, |_| self.begin_hook(notebook, moment, hook)).await?;
        if hook.mode() == Mode::Async {
            self.follow_hook(notebook.id, moment);
            return Ok(());
        }
        self.set_note(notebook.id, Some(format!("running the hook `{}`", moment.as_str())));
        let ended = self.end_of_hook(notebook.id, moment).await;
        self.set_note(notebook.id, None);
        let end = ended.map_err(|e| format!("{}: the hook `{}`: {e}", step.description(), moment.as_str()))?;
        let (engine, id, told) = (self.clone(), notebook.id, end.clone());
        // Nothing that breaks the step off may break off a commit.
        let _ = self.inner.tasks.spawn(async move { engine.tell_of_hook(id, moment, &told).await }).await;
        if end.fate.is_success() { Ok(()) } else { Err(format!("{}: {}", step.description(), sentence(moment, &end))) }
    }

    async fn begin_hook(&self, notebook: &Notebook, moment: Moment, hook: &Hook) -> Result<(), RuntimeError> {
        let (runtime, spec) = (self.inner.runtime.clone(), spec(notebook));
        let hook = HookRun { moment, action: hook.action().clone(), limit: self.inner.config.hook_limit };
        let errand = Errand { notebook: notebook.id, what: "begin a hook", limit: PROMPT };
        self.call(errand, async move || runtime.begin_hook(&spec, &hook).await).await
    }

    /// Waits for the end of a hook that was begun.
    async fn end_of_hook(&self, id: NotebookId, moment: Moment) -> Result<HookEnd, RuntimeError> {
        let most = self.inner.config.hook_limit;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let patience = i64::try_from(millis(most + GRACE)).unwrap_or(i64::MAX);
        tokio::select! {
            biased;
            end = self.inner.runtime.hook_end(id, moment) => end,
            () = self.pass(patience) => {
                Ok(HookEnd { fate: Fate::OverLimit, millis: millis(most), said: String::new(), told: false })
            }
        }
    }

    /// Tells how a hook ends that nobody waits for.
    pub(crate) fn follow_hook(&self, id: NotebookId, moment: Moment) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = engine.inner.stopping.cancelled() => {}
                // When its container is stopped, there is nothing to tell.
                end = engine.end_of_hook(id, moment) => if let Ok(end) = end {
                    engine.tell_of_hook(id, moment, &end).await;
                },
            }
        });
    }

    /// Follows the hooks of a notebook that ran when this server started: they may have ended without a witness.
    pub(crate) fn follow_hooks(&self, notebook: &Notebook) {
        if notebook.status() == Status::Running {
            notebook.hooks.of(Mode::Async).for_each(|moment| self.follow_hook(notebook.id, moment));
        }
    }

    /// Writes the event, where nobody has. That it could not be written keeps no notebook from its start.
    async fn tell_of_hook(&self, id: NotebookId, moment: Moment, end: &HookEnd) {
        if end.told {
            return;
        }
        let what = if end.fate.is_success() { "hook.done" } else { "hook.failed" };
        let written = self.change(id, |notebook| {
            if matches!(notebook.status(), Status::Creating | Status::Starting | Status::Running | Status::Snapshotting)
            {
                Ok(self.with_event(notebook, what, sentence(moment, end)))
            } else {
                Err(Refusal::new(Code::Conflict, "the notebook was stopped meanwhile, and the hook with it"))
            }
        });
        match written.await {
            Ok(_) => self.remember_told(id, moment).await,
            Err(refusal) => tracing::debug!(notebook = %id, "no event `{what}` of notebook {id}: {refusal}"),
        }
    }

    async fn remember_told(&self, id: NotebookId, moment: Moment) {
        let runtime = self.inner.runtime.clone();
        let errand = Errand { notebook: id, what: "remember that a hook was told of", limit: PROMPT };
        if let Err(error) = self.call(errand, async move || runtime.hook_told(id, moment).await).await {
            tracing::debug!(notebook = %id, "the end of a hook of notebook {id} may be told again: {error}");
        }
    }

    /// How long a start may wait for the hooks of its notebook.
    pub(crate) fn longest_hooks(&self, hooks: &Hooks) -> Duration {
        hooks.of(Mode::Block).map(|_| self.inner.config.hook_limit + GRACE).sum()
    }
}

/// The end of a hook, for people, with the last of what it said.
fn sentence(moment: Moment, end: &HookEnd) -> String {
    let mut text = format!("the hook `{}` {}", moment.as_str(), end.fate);
    if end.fate != Fate::NotStarted {
        let _ = write!(text, " after {} ms", end.millis);
    }
    let said = last_of(&end.said);
    if !end.fate.is_success() && !said.is_empty() {
        let _ = write!(text, ": {said}");
    }
    text
}

/// The last lines of a text that the notebook has made: no sign in it moves the cursor of whoever reads it.
fn last_of(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<_> = lines.rev().take(MOST_LINES).collect();
    last.reverse();
    let joined: Vec<char> = last.join(" / ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    joined[joined.len().saturating_sub(MOST_CHARS)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_with_the_last_lines_and_nothing_that_a_terminal_obeys() {
        let end = |fate, said: &str| HookEnd { fate, millis: 7, said: said.to_owned(), told: false };
        let told = |fate, said| sentence(Moment::PreStart, &end(fate, said));
        assert_eq!(told(Fate::Status(0), "fine"), "the hook `pre_start` ended with status 0 after 7 ms");
        assert_eq!(
            told(Fate::Status(3), "a\nb\n\n\u{1b}[2Jc\r\n  d \n"),
            "the hook `pre_start` ended with status 3 after 7 ms: b /  [2Jc / d"
        );
        assert_eq!(told(Fate::NotStarted, "no file"), "the hook `pre_start` could not be started: no file");
        assert_eq!(told(Fate::OverLimit, ""), "the hook `pre_start` ran over its time and was killed after 7 ms");
        assert_eq!(last_of(&"é".repeat(1000)).chars().count(), MOST_CHARS);
    }
}
