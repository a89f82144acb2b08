//! Threads for calls that may hang.
//!
//! Every call has a thread to itself as long as it lasts, so that one that hangs holds up nobody. A thread whose call has
//! returned waits a while for the next one: starting a thread costs more than a short call does, and a creation makes
//! four. A thread whose call never returns is never waited for; another one is started in its stead.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::hands::{Hand, Work};

/// How long a thread without a call is kept.
const KEPT: Duration = Duration::from_secs(10);

/// A thread for each call.
#[derive(Clone, Debug, Default)]
pub struct Threads(Arc<Hall>);

/// Where calls meet the threads that have none. There are never more calls here than such threads, so a call does not
/// wait for another one to end.
#[derive(Default)]
struct Hall {
    floor: Mutex<Floor>,
    came: Condvar,
}

#[derive(Default)]
struct Floor {
    calls: VecDeque<Call>,
    without_a_call: usize,
}

struct Call {
    handle: Handle,
    told: CancellationToken,
    work: Work,
}

impl Hand for Threads {
    fn take(&self, told: CancellationToken, work: Work) -> io::Result<()> {
        let call = Call { handle: Handle::current(), told, work };
        let Some(call) = self.0.offer(call) else { return Ok(()) };
        let hall = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("runtime-call".into());
        thread.spawn(move || hall.serve(call)).map(drop)
    }
}

impl Hall {
    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the call to a thread that has none; the call back when there is no such thread.
    fn offer(&self, call: Call) -> Option<Call> {
        let mut floor = self.floor();
        if floor.calls.len() >= floor.without_a_call {
            return Some(call);
        }
        floor.calls.push_back(call);
        drop(floor);
        self.came.notify_one();
        None
    }

    /// The life of a thread. A call that panics ends it.
    fn serve(&self, first: Call) {
        let mut next = Some(first);
        while let Some(Call { handle, told, work }) = next {
            handle.block_on(told.run_until_cancelled_owned(work));
            drop(handle);
            next = self.next();
        }
    }

    /// The next call, if one comes in time.
    fn next(&self) -> Option<Call> {
        let mut floor = self.floor();
        floor.without_a_call += 1;
        let waited = self.came.wait_timeout_while(floor, KEPT, |floor| floor.calls.is_empty());
        floor = waited.unwrap_or_else(PoisonError::into_inner).0;
        floor.without_a_call -= 1;
        floor.calls.pop_front()
    }
}

impl std::fmt::Debug for Hall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hall").field("without_a_call", &self.floor().without_a_call).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread::ThreadId;

    use tokio::sync::oneshot;

    use super::*;

    fn send(threads: &Threads, work: impl FnOnce() + Send + 'static) -> oneshot::Receiver<ThreadId> {
        let (answer, outcome) = oneshot::channel();
        let work = Box::pin(async move {
            work();
            let _ = answer.send(std::thread::current().id());
        });
        threads.take(CancellationToken::new(), work).unwrap();
        outcome
    }

    async fn all_free(threads: &Threads, count: usize) {
        while threads.0.floor().without_a_call < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn calls_at_the_same_time_have_a_thread_each_and_later_ones_the_same() {
        let threads = Threads::default();
        let mut seen = HashSet::new();
        for _ in 0..3 {
            // None of them returns before all of them run.
            let together = Arc::new(Barrier::new(4));
            let calls: Vec<_> = (0..4)
                .map(|_| {
                    let together = together.clone();
                    send(&threads, move || {
                        together.wait();
                    })
                })
                .collect();
            for call in calls {
                seen.insert(call.await.unwrap());
            }
            all_free(&threads, 4).await;
        }
        assert_eq!(seen.len(), 4);
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_only_its_thread_along() {
        let threads = Threads::default();
        send(&threads, || panic!("as it was told to")).await.unwrap_err();
        let one = send(&threads, || {}).await.unwrap();
        all_free(&threads, 1).await;
        assert_eq!(send(&threads, || {}).await.unwrap(), one);
    }
}
