//! A wall clock on which leases can rely: it follows the machine's, but does not jump with it.
//!
//! Each look compares how far both clocks went since the last one. What differs a little is a time service that slews
//! the clock: it is followed. What differs by more than [`FOLLOWED_MS`] is a clock that was *set*. Then this clock goes
//! on as if nothing had happened, and is behind or ahead of the wall by the *skew*, until somebody has moved everything
//! that is kept by the same distance ([`mod@crate::clock_jump`]) and calls [`Steady::absorb`]. Nothing is decided by a
//! jumped clock in between, because there is no other way to the time in the engine.
//!
//! Time that the machine slept has passed: both clocks count it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use atelier_core::clock::{Clock, Timestamp};
use tokio::sync::Notify;

use crate::time::{Reading, Timekeeper};

/// A difference up to this is followed.
pub(crate) const FOLLOWED_MS: i64 = 5_000;
/// And one thousandth of the time since the last look, twice what the kernel slews the clock by at most: looks may be
/// far apart, over a restart of the server for instance.
const FOLLOWED_SHARE: i64 = 1_000;

/// How far the wall clock was set between two readings; 0 when it was not.
fn jump(before: Reading, now: Reading) -> i64 {
    let passed = now.elapsed_ms.saturating_sub(before.elapsed_ms);
    let off = now.wall.millis_since(before.wall).saturating_sub(passed);
    if off.saturating_abs() <= FOLLOWED_MS + passed / FOLLOWED_SHARE { 0 } else { off }
}

#[derive(Debug)]
struct Looked {
    last: Reading,
    skew: i64,
}

/// The steady clock.
pub(crate) struct Steady {
    machine: Arc<dyn Timekeeper>,
    looked: Mutex<Looked>,
    jumped: Notify,
}

impl Steady {
    /// A clock that goes on from an earlier reading of this boot, or begins now.
    pub(crate) fn new(machine: Arc<dyn Timekeeper>, since: Option<Reading>) -> Self {
        let last = since.unwrap_or_else(|| machine.reading());
        Self { machine, looked: Mutex::new(Looked { last, skew: 0 }), jumped: Notify::new() }
    }

    fn look(&self) -> MutexGuard<'_, Looked> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, or an earlier reading could come after a later one.
        let now = self.machine.reading();
        let jump = jump(looked.last, now);
        looked.last = now;
        if jump != 0 {
            looked.skew = looked.skew.saturating_add(jump);
            self.jumped.notify_one();
        }
        looked
    }

    /// How far the wall clock is ahead of this one.
    pub(crate) fn skew(&self) -> i64 {
        self.look().skew
    }

    /// This clock moves by `skew`, because everything that is kept was moved.
    pub(crate) fn absorb(&self, skew: i64) {
        self.look().skew -= skew;
    }

    /// Returns when the wall clock was set since the last time.
    pub(crate) async fn jumped(&self) {
        self.jumped.notified().await;
    }
}

impl Clock for Steady {
    fn now(&self) -> Timestamp {
        let looked = self.look();
        looked.last.wall.plus_millis(-looked.skew)
    }
}

#[async_trait]
impl Timekeeper for Steady {
    fn reading(&self) -> Reading {
        self.look().last
    }

    fn boot(&self) -> Option<String> {
        self.machine.boot()
    }

    async fn pass(&self, ms: i64) {
        self.machine.pass(ms).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualTime;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn steady() -> (Arc<ManualTime>, Steady) {
        let time = Arc::new(ManualTime::at(START));
        (time.clone(), Steady::new(time, None))
    }

    #[test]
    fn a_slewed_clock_is_followed_and_a_set_one_is_not() {
        let (time, steady) = steady();
        time.jump(FOLLOWED_MS);
        assert_eq!((steady.now(), steady.skew()), (START.plus_millis(FOLLOWED_MS), 0));
        time.jump(-FOLLOWED_MS);
        assert_eq!((steady.now(), steady.skew()), (START, 0));
        time.jump(FOLLOWED_MS + 1);
        assert_eq!((steady.now(), steady.skew()), (START, FOLLOWED_MS + 1));
        steady.absorb(FOLLOWED_MS + 1);
        assert_eq!((steady.now(), steady.skew()), (START.plus_millis(FOLLOWED_MS + 1), 0));
    }

    #[test]
    fn sleep_of_the_machine_is_time_that_passed() {
        let (time, steady) = steady();
        time.advance(86_400_000);
        assert_eq!((steady.now(), steady.skew()), (START.plus_millis(86_400_000), 0));
    }

    #[test]
    fn a_jump_while_nobody_looked_is_seen_by_the_next_server_of_this_boot() {
        let (time, steady) = steady();
        let last = steady.reading();
        time.advance(3_600_000);
        time.jump(-10_000_000);
        let next = Steady::new(time, Some(last));
        assert_eq!((next.now(), next.skew()), (START.plus_millis(3_600_000), -10_000_000));
    }

    #[derive(Clone, Debug)]
    enum Happens {
        Passes(i64),
        Slews(i64),
        Jumps(i64),
        Absorbed,
    }

    fn anything() -> impl Strategy<Value = Happens> {
        let far = (FOLLOWED_MS * 4)..100_000_000_000;
        prop_oneof![
            (0_i64..10_000_000).prop_map(Happens::Passes),
            (-FOLLOWED_MS..=FOLLOWED_MS).prop_map(Happens::Slews),
            (far, any::<bool>()).prop_map(|(ms, back)| Happens::Jumps(if back { -ms } else { ms })),
            Just(Happens::Absorbed),
        ]
    }

    proptest! {
        /// Whatever happens to the wall clock, this one has gone by the time that passed and by what was slewed; by
        /// jumps only when they were absorbed, and then by exactly as much as was said.
        #[test]
        fn only_passing_time_moves_it(history in proptest::collection::vec(anything(), 0..60)) {
            let (time, steady) = steady();
            let (mut passed, mut slewed, mut jumped, mut absorbed) = (0, 0, 0, 0);
            for happens in history {
                match happens {
                    Happens::Passes(ms) => { passed += ms; time.advance(ms); }
                    Happens::Slews(ms) => { slewed += ms; time.jump(ms); }
                    Happens::Jumps(ms) => { jumped += ms; time.jump(ms); }
                    Happens::Absorbed => { let skew = steady.skew(); steady.absorb(skew); absorbed += skew; }
                }
                prop_assert_eq!(steady.now(), START.plus_millis(passed + slewed + absorbed));
                prop_assert_eq!(steady.skew(), jumped - absorbed);
            }
        }
    }
}
