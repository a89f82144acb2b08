//! Time that costs nothing. tokio's clock is paused and moves on by itself as soon as every task waits; the wall clock
//! is that clock and an offset. Moving the offset is what setting a machine's clock is: sleepers are not told.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::clock::{Clock, Timestamp};
use atelier_engine::time::{Reading, Timekeeper};
use tokio::time::Instant;

/// The clocks of a pretended machine. They outlive the lives of a server.
pub(crate) struct VirtualTime(Mutex<Clocks>);

struct Clocks {
    /// Milliseconds that passed before the present life of the server.
    passed: i64,
    /// When the present life began, by tokio's clock.
    since: Option<Instant>,
    /// What the wall clock shows beyond the milliseconds that passed.
    offset: i64,
    boots: u32,
}

impl VirtualTime {
    pub(crate) const fn at(wall: i64) -> Self {
        Self(Mutex::new(Clocks { passed: 0, since: None, offset: wall, boots: 0 }))
    }

    /// Milliseconds since the beginning, however the wall clock is set.
    pub(crate) fn passed(&self) -> i64 {
        self.0.lock().unwrap().passed()
    }

    /// A life begins: from now on the calling runtime's clock counts.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap().since = Some(Instant::now());
    }

    /// The life ends; its clock goes with it. To be called inside of it.
    pub(crate) fn end(&self) {
        let mut clocks = self.0.lock().unwrap();
        clocks.passed = clocks.passed();
        clocks.since = None;
    }

    /// The machine boots anew.
    pub(crate) fn boot_again(&self) {
        self.0.lock().unwrap().boots += 1;
    }

    /// Sets the wall clock.
    pub(crate) fn jump(&self, ms: i64) {
        self.0.lock().unwrap().offset += ms;
    }
}

impl Clocks {
    fn passed(&self) -> i64 {
        self.passed + self.since.map_or(0, |since| i64::try_from(since.elapsed().as_millis()).unwrap())
    }
}

impl Clock for VirtualTime {
    fn now(&self) -> Timestamp {
        self.reading().wall
    }
}

#[async_trait]
impl Timekeeper for VirtualTime {
    fn reading(&self) -> Reading {
        let clocks = self.0.lock().unwrap();
        let elapsed_ms = clocks.passed();
        Reading { wall: Timestamp::from_millis(clocks.offset + elapsed_ms), elapsed_ms }
    }

    fn boot(&self) -> Option<String> {
        Some(format!("boot-{}", self.0.lock().unwrap().boots))
    }

    async fn pass(&self, ms: i64) {
        tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0))).await;
    }
}
