//! One lock per thing, such as a notebook: calls for the same one wait for each other, others do not.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks in use.
#[derive(Debug)]
pub(crate) struct Locks<T>(Mutex<HashMap<T, Arc<AsyncMutex<()>>>>);

impl<T> Default for Locks<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> Locks<T> {
    /// Waits for the lock of this one.
    pub(crate) async fn take(&self, id: T) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or awaits a lock that only the table knows.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(id).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::id::NotebookId;

    use super::*;

    #[tokio::test]
    async fn a_lock_excludes_its_own_notebook_only() {
        let locks = Locks::default();
        let ids = ["0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10", "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a11"];
        let [a, b] = ids.map(|id| id.parse::<NotebookId>().unwrap());
        let held = locks.take(a).await;
        drop(locks.take(b).await);
        let mut second = Box::pin(locks.take(a));
        assert!(futures_poll(&mut second).is_none());
        drop(held);
        assert!(futures_poll(&mut second).is_some());
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
