//! Notebook servers that ended by themselves, while their containers live, are started again.
//!
//! The notebook stays RUNNING and keeps its lease, its token and its container; what a user has left in the background there
//! goes on. Kernels end with their server. Each end, each new start and each failure of one is an event.
//!
//! The first attempt comes at once, the next ones after growing pauses. A server that has used up its attempts within the
//! window is broken for a reason that no further start cures: the notebook is in ERROR then, with that reason. Attempts
//! that did not bring the server up count however long ago they were, or one that takes its whole time limit to fail would
//! be tried for ever.
//!
//! * One task for each notebook at most, entered by [`Restarts::enter`]. It looks itself before it acts: what the
//!   reconciler saw may be over.
//! * It ends as soon as a commit says that the notebook does not run any more, in the middle of a pause or of a start
//!   ([`Restarts::forget`], called under the notebook's lock). So it never starts a server beside an operation.
//! * Attempts are not kept. A server of ours that is started anew sees that the notebook server does not run, and begins
//!   with the first one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_core::id::NotebookId;
use atelier_core::operation::StepName;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::{Observed, RuntimeError, Way};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::hands::Errand;
use crate::steps::{limit, spec};
use crate::time::Timekeeper as _;
use crate::write::AGAIN_MS;

/// The pauses before the first attempts; later ones wait as long as the last of these.
const PAUSES_MS: [i64; 5] = [0, 1_000, 4_000, 15_000, 60_000];

/// How often a notebook server that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartConfig {
    /// So many times at most; 0 never does.
    pub most: u32,
    /// Within so many milliseconds.
    pub within_ms: i64,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self { most: 5, within_ms: 600_000 }
    }
}

/// One start of a server that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    number: usize,
    most: u32,
    pause_ms: i64,
    /// When it is due, in elapsed time.
    due: i64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pause_ms {
            0 => f.write_str("it is started again at once")?,
            ms => write!(f, "it is started again in {} s", ms / 1000)?,
        }
        write!(f, " (attempt {} of {})", self.number, self.most)
    }
}

/// What is known of one notebook since it runs.
#[derive(Debug, Default)]
struct Course {
    /// When the attempts that count were made, in elapsed time.
    attempts: VecDeque<i64>,
    /// Ends the task that starts the server again, while there is one.
    task: Option<CancellationToken>,
    /// Somebody wants the task to look again before it ends: the server may have ended once more.
    again: bool,
}

impl Course {
    /// The server has served until `now`: attempts of long ago do not count any more.
    fn served(&mut self, now: i64, config: RestartConfig) {
        self.attempts.retain(|at| now.saturating_sub(*at) < config.within_ms);
    }

    /// The next attempt; `None` when there were enough.
    fn next(&mut self, now: i64, config: RestartConfig) -> Option<Attempt> {
        let made = self.attempts.len();
        if made >= usize::try_from(config.most).unwrap_or(usize::MAX) {
            return None;
        }
        self.attempts.push_back(now);
        let pause_ms = PAUSES_MS[made.min(PAUSES_MS.len() - 1)];
        Some(Attempt { number: made + 1, most: config.most, pause_ms, due: now.saturating_add(pause_ms) })
    }
}

/// The notebooks whose server has ended since they run.
#[derive(Debug, Default)]
pub(crate) struct Restarts(Mutex<HashMap<NotebookId, Course>>);

impl Restarts {
    fn all(&self) -> MutexGuard<'_, HashMap<NotebookId, Course>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ends the new task, which ends with `stopping`, too; `None` when there is a task, which will look again.
    fn enter(&self, id: NotebookId, stopping: &CancellationToken) -> Option<CancellationToken> {
        let mut all = self.all();
        let course = all.entry(id).or_default();
        if course.task.is_some() {
            course.again = true;
            return None;
        }
        let task = stopping.child_token();
        course.task = Some(task.clone());
        Some(task)
    }

    /// True when the task may end. One that was told to has no place any more: it may be another one's.
    fn leave(&self, id: NotebookId, task: &CancellationToken) -> bool {
        let again = self.with(id, task, |course| {
            let again = std::mem::take(&mut course.again);
            if !again {
                course.task = None;
            }
            again
        });
        !again.unwrap_or(false)
    }

    /// Asks the course of a task; `None` when the task was told to end.
    fn with<T>(&self, id: NotebookId, task: &CancellationToken, ask: impl FnOnce(&mut Course) -> T) -> Option<T> {
        let mut all = self.all();
        if task.is_cancelled() { None } else { all.get_mut(&id).map(ask) }
    }

    /// The notebook does not run any more: nothing is started again, and its next run begins without attempts.
    pub(crate) fn forget(&self, id: NotebookId) {
        if let Some(Course { task: Some(task), .. }) = self.all().remove(&id) {
            task.cancel();
        }
    }
}

impl Engine {
    /// Has the notebook's server started again, unless that is under way already.
    pub(crate) fn serve_again(&self, id: NotebookId) {
        let Some(task) = self.inner.restarts.enter(id, &self.inner.stopping) else { return };
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                engine.start_until_it_serves(id, &task).await;
                if engine.inner.restarts.leave(id, &task) {
                    return;
                }
            }
        });
    }

    async fn start_until_it_serves(&self, id: NotebookId, task: &CancellationToken) {
        let Ok(Observed::Idle { ended }) = self.observe(id).await else { return };
        let config = self.inner.config.restarts;
        let mut cause = ended.unwrap_or_else(|| "the notebook server does not run".into());
        let elapsed = || self.inner.time.reading().elapsed_ms;
        self.inner.restarts.with(id, task, |course| course.served(elapsed(), config));
        while let Some(next) = self.inner.restarts.with(id, task, |course| course.next(elapsed(), config)) {
            let Some(attempt) = next else { return self.give_up(id, task, cause).await };
            tracing::warn!(notebook = %id, "notebook {id}: {cause}; {attempt}");
            self.tell_of_server(id, task, "server.ended", format!("{cause}; {attempt}")).await;
            let Some(started) = self.start_again(id, task, attempt).await else { return };
            self.watcher().server_started_again(started.is_ok());
            cause = match started {
                Ok(way) => {
                    let why = format!("after {} ms; the notebook server was {way}", elapsed() - attempt.due);
                    return self.tell_of_server(id, task, "server.restarted", why).await;
                }
                // With the container everything is gone, which the reconciler sees.
                Err(RuntimeError::Absent) => return,
                Err(error) => format!("the notebook server could not be started again: {error}"),
            };
        }
    }

    /// `None` when the task was told to end meanwhile: whatever is under way is broken off.
    async fn start_again(
        &self,
        id: NotebookId,
        task: &CancellationToken,
        attempt: Attempt,
    ) -> Option<Result<Way, RuntimeError>> {
        task.run_until_cancelled(async {
            self.pass(attempt.due.saturating_sub(self.inner.time.reading().elapsed_ms)).await;
            let _turn = self.inner.revivals.turn().await;
            let notebook = loop {
                match self.inner.store.notebook(id).await {
                    Ok(read) => break read?,
                    Err(_) => self.pass(AGAIN_MS).await,
                }
            };
            let (runtime, spec) = (self.inner.runtime.clone(), spec(&notebook));
            let limit = limit(StepName::InitializeInstance);
            let errand = Errand { notebook: id, what: "start the notebook server again", limit };
            Some(self.call(errand, async move || runtime.initialize(&spec).await).await)
        })
        .await
        .flatten()
    }

    async fn give_up(&self, id: NotebookId, task: &CancellationToken, cause: String) {
        let RestartConfig { most, within_ms } = self.inner.config.restarts;
        let reason = match most {
            0 => cause,
            _ => format!("{cause}; {most} attempts within {} s did not help", within_ms / 1000),
        };
        self.fault(id, |_| !task.is_cancelled(), reason).await;
    }

    /// Writes an event, unless the task was told to end. That it could not be written keeps no server from its start.
    async fn tell_of_server(&self, id: NotebookId, task: &CancellationToken, what: &str, why: String) {
        let told = self.change(id, |notebook| {
            if task.is_cancelled() || notebook.status() != Status::Running {
                return Err(Refusal::new(Code::Conflict, "the notebook does not run any more"));
            }
            Ok(self.with_event(notebook, what, why.clone()))
        });
        if let Err(refusal) = told.await {
            tracing::debug!(notebook = %id, "no event `{what}` of notebook {id}: {refusal}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RestartConfig = RestartConfig { most: 3, within_ms: 10_000 };

    fn pause(course: &mut Course, now: i64) -> Option<i64> {
        course.next(now, CONFIG).map(|attempt| attempt.pause_ms)
    }

    #[test]
    fn pauses_grow_and_attempts_end() {
        let mut course = Course::default();
        let pauses = [0, 5, 9].map(|now| pause(&mut course, now));
        assert_eq!(pauses, [Some(0), Some(1_000), Some(4_000)]);
        assert_eq!(pause(&mut course, 50_000), None, "attempts that did not help count for ever");
    }

    #[test]
    fn a_server_that_has_served_long_enough_has_its_attempts_again() {
        let mut course = Course::default();
        for now in [0, 4_000, 8_000] {
            course.served(now, CONFIG);
            assert!(course.next(now, CONFIG).is_some());
        }
        course.served(9_999, CONFIG);
        assert_eq!(pause(&mut course, 9_999), None);
        course.served(10_000, CONFIG);
        assert_eq!(pause(&mut course, 10_000), Some(4_000), "the two others are within the window");
    }

    #[test]
    fn zero_attempts_are_none() {
        assert_eq!(Course::default().next(0, RestartConfig { most: 0, ..CONFIG }), None);
    }

    #[test]
    fn one_task_at_a_time_and_none_for_what_does_not_run() {
        let (restarts, stopping, id) =
            (Restarts::default(), CancellationToken::new(), NotebookId::from_uuid(uuid::Uuid::nil()));
        let first = restarts.enter(id, &stopping).unwrap();
        assert!(restarts.enter(id, &stopping).is_none());
        restarts.forget(id);
        assert!(first.is_cancelled());
        let second = restarts.enter(id, &stopping).unwrap();
        assert!(restarts.leave(id, &first));
        assert!(restarts.enter(id, &stopping).is_none(), "the place is the second one's");
        assert!(!restarts.leave(id, &second), "somebody came meanwhile");
        assert!(restarts.leave(id, &second));
        assert!(restarts.enter(id, &stopping).is_some());
    }

    #[test]
    fn an_attempt_says_when_it_comes() {
        let said = |pause_ms| Attempt { number: 2, most: 5, pause_ms, due: 0 }.to_string();
        assert_eq!(said(0), "it is started again at once (attempt 2 of 5)");
        assert_eq!(said(4_000), "it is started again in 4 s (attempt 2 of 5)");
    }
}
