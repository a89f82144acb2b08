//! Calls of the runtime, each on a thread of its own ([`mod@crate::threads`]).
//!
//! A runtime asks the kernel for things, and a kernel may not answer: a disk that is gone, a mount whose server died,
//! a process that cannot be killed. Then a thread hangs, and no dropped future frees it. So the engine's own tasks never
//! run a runtime's code. They wait for a thread to do it, as long as the call's limit says, and not for ever for its end:
//!
//! * A call that is over its limit, or that nobody waits for any more, is broken off: its future is dropped, which every
//!   runtime allows at any point. It may be tried again.
//! * A call that does not let go within a moment after that *hangs*. It is left behind with its thread and remembered
//!   until it ends. Trying again would only make another one hang.
//!
//! Not tokio's pool for blocking work: a call needs that pool itself, and enough waiting calls would fill it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_core::{Clock as _, Timestamp};
use atelier_runtime::RuntimeError;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::steady::Steady;
use crate::time::Timekeeper as _;

/// Calls that are waited for at once. Those that hang do not count.
const CALLS: usize = 256;
/// How long a call may take to let go once it is told to.
const LETTING_GO: Duration = Duration::from_secs(1);

/// What a hand is given to do. It is over when this is, or when this is dropped.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does the work of a call.
///
/// Tests put another one in place of [`Threads`](crate::Threads), because threads run when the machine pleases, and a test that is to be
/// repeated must decide itself who runs when.
pub trait Hand: Send + Sync + std::fmt::Debug {
    /// Begins the work, breaks it off when it is `told` to if it can, and returns at once. To be called within a tokio
    /// runtime.
    fn take(&self, told: CancellationToken, work: Work) -> io::Result<()>;
}

/// A call that was broken off and has not let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangingCall {
    /// The notebook it is for.
    pub notebook: NotebookId,
    /// What it does, in words.
    pub what: &'static str,
    /// When it began.
    pub since: Timestamp,
}

/// The calls under way, by number, and whether anybody still waits for them.
#[derive(Debug, Default)]
struct Table(Mutex<HashMap<u64, (HangingCall, bool)>>);

impl Table {
    fn calls(&self) -> MutexGuard<'_, HashMap<u64, (HangingCall, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for a call. When they do not any more, the call is told so.
struct Waiting {
    number: u64,
    table: Arc<Table>,
    told: CancellationToken,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.told.cancel();
        if let Some((_, awaited)) = self.table.calls().get_mut(&self.number) {
            *awaited = false;
        }
    }
}

/// The call's own side: it is under way until this is dropped, also when it panics.
struct UnderWay {
    number: u64,
    table: Arc<Table>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let ended = self.table.calls().remove(&self.number);
        if let Some((call, false)) = ended {
            tracing::debug!(notebook = %call.notebook, "a call that was given up has returned: {}", call.what);
        }
    }
}

/// What calls the runtime.
#[derive(Debug)]
pub(crate) struct Hands {
    hand: Arc<dyn Hand>,
    turns: Semaphore,
    next: AtomicU64,
    table: Arc<Table>,
}

/// One call, and how it is to be named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    pub(crate) notebook: NotebookId,
    pub(crate) what: &'static str,
    pub(crate) limit: Duration,
}

impl Errand {
    fn over(&self) -> String {
        format!("not done within {} s", self.limit.as_secs())
    }
}

impl Hands {
    pub(crate) fn new(hand: Arc<dyn Hand>) -> Self {
        Self { hand, turns: Semaphore::new(CALLS), next: AtomicU64::new(0), table: Arc::default() }
    }

    /// Makes a call. Returns at most a moment after its limit, whatever the call does. May be dropped at any time.
    pub(crate) async fn call<T, F>(
        &self,
        time: &Steady,
        errand: Errand,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RuntimeError>> + Send,
    {
        let _turn = self.turns.acquire().await;
        let call = HangingCall { notebook: errand.notebook, what: errand.what, since: time.now() };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.table.calls().insert(number, (call, true));
        let under_way = UnderWay { number, table: Arc::clone(&self.table) };
        let waiting = Waiting { number, table: Arc::clone(&self.table), told: CancellationToken::new() };
        let mut outcome = self.send(under_way, waiting.told.clone(), work)?;
        let limit = i64::try_from(errand.limit.as_millis()).unwrap_or(i64::MAX);
        tokio::select! {
            biased;
            answer = &mut outcome => return answered(answer, "the call ended abnormally".into()),
            () = time.pass(limit) => waiting.told.cancel(),
        }
        match tokio::time::timeout(LETTING_GO, outcome).await {
            Ok(answer) => answered(answer, errand.over()),
            Err(_) => Err(RuntimeError::Permanent(format!("{}, and the call does not return", errand.over()))),
        }
    }

    /// Lets a hand do it.
    fn send<T, F>(
        &self,
        under_way: UnderWay,
        told: CancellationToken,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, RuntimeError>>, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RuntimeError>> + Send,
    {
        let (answer, outcome) = oneshot::channel();
        let work = Box::pin(async move {
            let done = work().await;
            drop(under_way);
            // Nobody may wait any more.
            let _ = answer.send(done);
        });
        match self.hand.take(told, work) {
            Ok(()) => Ok(outcome),
            Err(e) => Err(RuntimeError::Transient(format!("no thread can be started: {e}"))),
        }
    }

    /// The calls for a notebook that were given up and have not returned.
    pub(crate) fn hanging(&self, id: NotebookId) -> Vec<HangingCall> {
        let calls = self.table.calls();
        let mut hanging: Vec<_> =
            calls.values().filter(|(c, awaited)| c.notebook == id && !awaited).map(|(c, _)| c.clone()).collect();
        hanging.sort_by_key(|c| c.since);
        hanging
    }
}

/// `lost` is why there is no answer, if there is none.
fn answered<T>(
    answer: Result<Result<T, RuntimeError>, oneshot::error::RecvError>,
    lost: String,
) -> Result<T, RuntimeError> {
    answer.unwrap_or_else(|_| Err(RuntimeError::Transient(lost)))
}
