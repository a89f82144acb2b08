//! Saying whose memory ran out.
//!
//! A process that takes more memory than its notebook has is killed by the machine, which tells the notebook nothing. Each
//! kill that the runtime hears of becomes an event of its notebook: what was killed, how much it held, how much the
//! kernel or the notebook held at most, and its limit. Whoever looks at the history, or follows it live, reads it at once.
//!
//! A program may run out of memory as often as it likes, but not fill the history with it: after [`MOST`] events within
//! [`WITHIN_MS`] kills are only counted, and the next event says how many there were.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use atelier_core::id::NotebookId;
use atelier_runtime::{OutOfMemory, Share, Victim};

use crate::Engine;
use crate::time::Timekeeper as _;

/// Events of one notebook within [`WITHIN_MS`].
const MOST: usize = 20;
/// Ten minutes.
const WITHIN_MS: i64 = 600_000;
const MIB: u64 = 1 << 20;

/// What was told of one notebook.
#[derive(Debug, Default)]
struct Told {
    /// When, in elapsed time.
    at: VecDeque<i64>,
    left_out: u32,
}

/// The notebooks whose memory ran out.
#[derive(Debug, Default)]
pub(crate) struct Shortages(Mutex<HashMap<NotebookId, Told>>);

impl Shortages {
    /// How many kills were left out since the last event, when this one is to be an event.
    fn admit(&self, id: NotebookId, now: i64) -> Option<u32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.entry(id).or_default();
        told.at.retain(|at| now.saturating_sub(*at) < WITHIN_MS);
        if told.at.len() >= MOST {
            told.left_out = told.left_out.saturating_add(1);
            return None;
        }
        told.at.push_back(now);
        Some(std::mem::take(&mut told.left_out))
    }

    /// The notebook is not there any more.
    pub(crate) fn forget(&self, id: NotebookId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Engine {
    pub(crate) fn spawn_memory_watch(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let short = tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    short = engine.inner.runtime.out_of_memory() => short,
                };
                engine.tell_of_memory(&short).await;
            }
        });
    }

    async fn tell_of_memory(&self, short: &OutOfMemory) {
        let id = short.notebook;
        if self.inner.routes.status(id).is_none() {
            return;
        }
        self.watcher().out_of_memory(matches!(short.victim, Victim::Kernel(_)));
        let Some(left_out) = self.inner.shortages.admit(id, self.inner.time.reading().elapsed_ms) else { return };
        let why = sentence(short, left_out);
        tracing::warn!(notebook = %id, "notebook {id}: {why}");
        let told = self.change(id, |notebook| Ok(self.with_event(notebook, "memory.exhausted", why.clone()))).await;
        if let Err(refusal) = told {
            tracing::debug!(notebook = %id, "no event says that memory of notebook {id} ran out: {refusal}");
        }
    }
}

fn sentence(short: &OutOfMemory, left_out: u32) -> String {
    let (of, holder) = match short.whose {
        Share::Kernel => ("the memory of a kernel", "the kernel and what it had started"),
        Share::Notebook => ("memory", "the notebook"),
        Share::Machine => ("the memory of the machine", "the notebook"),
    };
    let limited = if short.whose == Share::Kernel { "a kernel's limit" } else { "its limit" };
    let victim = match &short.victim {
        Victim::Kernel(id) => format!("kernel `{id}`"),
        Victim::Process { name, pid: Some(pid) } => format!("process `{name}` ({pid})"),
        Victim::Process { name, pid: None } => format!("process `{name}`"),
    };
    let parts = [
        Some(format!("{of} ran out: {victim} was killed, which held {}", mib(short.held))),
        short.peak.map(|peak| format!("{holder} held {} at most", mib(peak))),
        short.limit.map(|limit| format!("{limited} is {}", mib(limit))),
        (left_out > 0).then(|| format!("{left_out} more were killed since this was said last")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Rounded up: nothing that was killed held nothing.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notebook_cannot_fill_its_history_and_nothing_is_lost_from_the_count() {
        let (shortages, id) = (Shortages::default(), NotebookId::from_uuid(uuid::Uuid::nil()));
        for n in 0..20 {
            assert_eq!(shortages.admit(id, n), Some(0));
        }
        for n in 20..25 {
            assert_eq!(shortages.admit(id, n), None);
        }
        assert_eq!(shortages.admit(id, WITHIN_MS), Some(5));
        assert_eq!(shortages.admit(id, WITHIN_MS + 1), Some(0));
        let other = NotebookId::from_uuid(uuid::Uuid::from_u128(1));
        assert_eq!(shortages.admit(other, WITHIN_MS + 1), Some(0), "each notebook by itself");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let short = OutOfMemory {
            notebook: NotebookId::from_uuid(uuid::Uuid::nil()),
            victim: Victim::Process { name: "python".into(), pid: None },
            held: 1,
            peak: None,
            limit: None,
            whose: Share::Machine,
        };
        let said = "the memory of the machine ran out: process `python` was killed, which held 1 MiB";
        assert_eq!(sentence(&short, 0), said);
        let of_kernel =
            OutOfMemory { peak: Some(480 << 20), limit: Some(480 << 20), whose: Share::Kernel, ..short.clone() };
        assert_eq!(
            sentence(&of_kernel, 0),
            "the memory of a kernel ran out: process `python` was killed, which held 1 MiB; the kernel and what it had \
             started held 480 MiB at most; a kernel's limit is 480 MiB"
        );
        assert_eq!(sentence(&short, 3), format!("{said}; 3 more were killed since this was said last"));
    }
}
