//! What does the runtime's calls in a campaign: a task for each, so that the seed alone decides who runs when.

use std::cell::Cell;
use std::io;

use atelier_engine::{Hand, Work};
use tokio_util::sync::CancellationToken;

tokio::task_local! {
    /// The call under way does not let go when it is told to.
    static HOLDS_ON: Cell<bool>;
}

/// The call under way will not let go, as one that hangs in the kernel does not. Calls that the engine makes itself are
/// nobody's to let go.
pub(crate) fn hold_on() {
    let _ = HOLDS_ON.try_with(|holds| holds.set(true));
}

/// A task for each call.
#[derive(Debug)]
pub(crate) struct Tasks;

impl Hand for Tasks {
    fn take(&self, told: CancellationToken, mut work: Work) -> io::Result<()> {
        tokio::spawn(HOLDS_ON.scope(Cell::new(false), async move {
            tokio::select! {
                biased;
                () = &mut work => return,
                () = told.cancelled() => {}
            }
            if HOLDS_ON.get().get() {
                work.await;
            }
        }));
        Ok(())
    }
}
