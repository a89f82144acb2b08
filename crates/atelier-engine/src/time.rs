//! Waiting as a parameter: a [`Clock`] that can also be waited for.
//!
//! There are two clocks on a machine. The *wall clock* says what time it is and may be set, by people and by time
//! services. The *elapsed time* of this boot only ever passes, also while the machine sleeps. A [`Timekeeper`] reads
//! both as one, so that a clock that was set can be told from time that has passed; what follows from that is decided
//! in [`mod@crate::steady`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::clock::{Clock, SystemClock, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What time it is.
    pub wall: Timestamp,
    /// Milliseconds since some moment of this boot, those included that the machine slept.
    pub elapsed_ms: i64,
}

/// A clock that can be waited for.
#[async_trait]
pub trait Timekeeper: Clock {
    /// Both clocks.
    fn reading(&self) -> Reading;

    /// Names the boot that the elapsed time belongs to; `None` when that is not known.
    fn boot(&self) -> Option<String>;

    /// Returns when so many milliseconds have passed, whatever happens to the wall clock.
    async fn pass(&self, ms: i64);

    /// Returns when the clock shows `at` or later.
    async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = at.millis_since(self.now());
            if left <= 0 {
                return;
            }
            self.pass(left.min(LONGEST_NAP_MS)).await;
        }
    }
}

/// The longest wait before the wall clock is read again: it may have been set meanwhile.
pub(crate) const LONGEST_NAP_MS: i64 = 10_000;
/// The longest time between the two clocks of one reading. A process that was paused in between has read two moments.
const LONGEST_READING_MS: i64 = 20;
/// How often a reading is tried before it is taken as it is.
const READINGS: u32 = 20;

fn elapsed_ms() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[async_trait]
impl Timekeeper for SystemClock {
    fn reading(&self) -> Reading {
        let mut tried = 0;
        loop {
            let before = elapsed_ms();
            let wall = self.now();
            let elapsed_ms = elapsed_ms();
            tried += 1;
            if elapsed_ms - before <= LONGEST_READING_MS || tried == READINGS {
                return Reading { wall, elapsed_ms };
            }
        }
    }

    fn boot(&self) -> Option<String> {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
    }

    async fn pass(&self, ms: i64) {
        tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0))).await;
    }
}

/// A clock for tests: it moves when it is told to, and wakes those who wait.
#[derive(Debug)]
pub struct ManualTime {
    reading: Mutex<Reading>,
    boots: Mutex<u32>,
    moved: watch::Sender<()>,
}

impl ManualTime {
    /// A clock that stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        let reading = Mutex::new(Reading { wall: at, elapsed_ms: 0 });
        Self { reading, boots: Mutex::new(0), moved: watch::Sender::new(()) }
    }

    /// Lets `ms` milliseconds pass.
    pub fn advance(&self, ms: i64) -> Timestamp {
        self.turn(ms, ms)
    }

    /// Sets the wall clock `ms` milliseconds forward, or back, while no time passes.
    pub fn jump(&self, ms: i64) -> Timestamp {
        self.turn(ms, 0)
    }

    /// Pretends a new boot: the elapsed time begins anew and belongs to another one.
    pub fn reboot(&self) {
        *self.boots.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).elapsed_ms = 0;
    }

    fn turn(&self, wall: i64, elapsed: i64) -> Timestamp {
        let now = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.wall = reading.wall.plus_millis(wall);
            reading.elapsed_ms += elapsed;
            reading.wall
        };
        self.moved.send_replace(());
        now
    }
}

impl Clock for ManualTime {
    fn now(&self) -> Timestamp {
        self.reading().wall
    }
}

#[async_trait]
impl Timekeeper for ManualTime {
    fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self) -> Option<String> {
        Some(format!("manual-{}", *self.boots.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    async fn pass(&self, ms: i64) {
        let mut moved = self.moved.subscribe();
        let end = self.reading().elapsed_ms.saturating_add(ms);
        while self.reading().elapsed_ms < end {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}
