//! Waiting as a parameter: a [`Clock`] that can also be waited for.

use std::time::Duration;

use async_trait::async_trait;
use atelier_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use tokio::sync::watch;

/// A clock that can be waited for.
#[async_trait]
pub trait Timekeeper: Clock {
    /// Returns when the clock shows `at` or later.
    async fn sleep_until(&self, at: Timestamp);
}

/// The longest wait before the wall clock is read again: it may have been set meanwhile.
const LONGEST_NAP: Duration = Duration::from_secs(10);

#[async_trait]
impl Timekeeper for SystemClock {
    async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = u64::try_from(at.millis_since(self.now())).unwrap_or(0);
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left).min(LONGEST_NAP)).await;
        }
    }
}

/// A clock for tests: it moves when it is told to, and wakes those who wait.
#[derive(Debug)]
pub struct ManualTime {
    clock: ManualClock,
    moved: watch::Sender<()>,
}

impl ManualTime {
    /// A clock that stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self { clock: ManualClock::at(at), moved: watch::Sender::new(()) }
    }

    /// Moves the clock by `ms` milliseconds.
    pub fn advance(&self, ms: i64) -> Timestamp {
        let now = self.clock.advance(ms);
        self.moved.send_replace(());
        now
    }
}

impl Clock for ManualTime {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[async_trait]
impl Timekeeper for ManualTime {
    async fn sleep_until(&self, at: Timestamp) {
        let mut moved = self.moved.subscribe();
        while self.now() < at {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}
