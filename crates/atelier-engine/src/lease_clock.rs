//! The lease clock: a queue of the ends of all running leases, ordered by time.
//!
//! It is loaded once from the store and then follows every commit, so it never scans. It says *when to look*, not what
//! to do: whoever is told that a lease may be over reads the notebook again and decides under its generation.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_core::clock::Timestamp;
use atelier_core::id::NotebookId;
use tokio::sync::Notify;

use crate::time::Timekeeper;

#[derive(Debug, Default)]
struct Queue {
    by_time: BTreeSet<(Timestamp, NotebookId)>,
    by_id: HashMap<NotebookId, Timestamp>,
}

/// The queue of lease ends.
#[derive(Debug, Default)]
pub(crate) struct LeaseClock {
    queue: Mutex<Queue>,
    earlier: Notify,
}

impl LeaseClock {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of `id` ends at `end`, or has no end.
    pub(crate) fn set(&self, id: NotebookId, end: Option<Timestamp>) {
        let mut queue = self.queue();
        if let Some(old) = queue.by_id.remove(&id) {
            queue.by_time.remove(&(old, id));
        }
        if let Some(end) = end {
            queue.by_id.insert(id, end);
            queue.by_time.insert((end, id));
            if queue.by_time.first() == Some(&(end, id)) {
                self.earlier.notify_one();
            }
        }
    }

    /// How many leases have an end.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.queue().by_id.len()
    }

    fn next_end(&self) -> Option<Timestamp> {
        self.queue().by_time.first().map(|(end, _)| *end)
    }

    fn take_due(&self, now: Timestamp) -> Vec<NotebookId> {
        let mut queue = self.queue();
        let mut due = Vec::new();
        while let Some(&(end, id)) = queue.by_time.first() {
            if end > now {
                break;
            }
            queue.by_time.remove(&(end, id));
            queue.by_id.remove(&id);
            due.push(id);
        }
        due
    }

    /// Waits for the next lease that ends and returns all that have ended by then. Never returns an empty list.
    pub(crate) async fn next_due(&self, time: &dyn Timekeeper) -> Vec<NotebookId> {
        loop {
            let due = self.take_due(time.now());
            if !due.is_empty() {
                return due;
            }
            let earlier = self.earlier.notified();
            match self.next_end() {
                None => earlier.await,
                Some(end) => tokio::select! {
                    () = earlier => {}
                    () = time.sleep_until(end) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::time::ManualTime;

    fn id(n: u128) -> NotebookId {
        NotebookId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[tokio::test]
    async fn leases_come_out_in_the_order_of_their_ends() {
        let time = ManualTime::at(t(0));
        let clock = LeaseClock::default();
        for n in 1..=5 {
            clock.set(id(n), Some(t(100 * i64::try_from(n).unwrap())));
        }
        clock.set(id(3), None);
        clock.set(id(1), Some(t(450)));
        time.advance(400);
        assert_eq!(clock.next_due(&time).await, [id(2), id(4)]);
        time.advance(50);
        assert_eq!(clock.next_due(&time).await, [id(1)]);
        assert_eq!(clock.len(), 1);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_an_earlier_lease_and_not_a_millisecond_early() {
        let time = Arc::new(ManualTime::at(t(0)));
        let clock = Arc::new(LeaseClock::default());
        clock.set(id(1), Some(t(10_000)));
        let waiter = tokio::spawn({
            let (time, clock) = (time.clone(), clock.clone());
            async move { clock.next_due(&*time).await }
        });
        tokio::task::yield_now().await;
        clock.set(id(2), Some(t(500)));
        tokio::task::yield_now().await;
        time.advance(499);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        time.advance(1);
        assert_eq!(waiter.await.unwrap(), [id(2)]);
    }

    #[test]
    fn a_million_leases_fit_in_memory() {
        let clock = LeaseClock::default();
        for n in 0..1_000_000_u32 {
            clock.set(id(u128::from(n)), Some(t(i64::from(n % 1000))));
        }
        assert_eq!(clock.len(), 1_000_000);
        assert_eq!(clock.take_due(t(0)).len(), 1000);
    }
}
