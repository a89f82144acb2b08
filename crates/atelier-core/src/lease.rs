//! The arithmetic of automatic stops. It lives here and nowhere else.
//!
//! A lease is written at a moment `t` with a grant `g`. From then on
//!
//! ```text
//! update_at = t        duration = (t − create_at) + g        expiry = create_at + duration = t + g
//! ```
//!
//! `duration` therefore counts from the creation of the notebook, as the contract's answers do, while the grant
//! counts from the write. A grant replaces what was left; it never adds to it. The grant [`Grant::Never`] (−1 on the
//! wire) switches the automatic stop off.
//!
//! A lease is written at creation, when a notebook becomes RUNNING, at a start and at a renewal. A stop leaves it
//! alone.
//!
//! A lease of the kind IDLE counts its grant from the last activity instead, where that is later than the write:
//!
//! ```text
//! expiry = max(update_at, last activity) + g        duration = expiry − create_at
//! ```
//!
//! Activity is no write: `update_at` stays. What activity is, [`crate::activity`] says; here it is a moment.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::refusal::{Code, Refusal};

/// How the end of a lease is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseKind {
    /// At a fixed time.
    Timing,
    /// After the notebook was idle.
    Idle,
}

impl LeaseKind {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timing => "TIMING",
            Self::Idle => "IDLE",
        }
    }
}

impl fmt::Display for LeaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LeaseKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Timing, Self::Idle].into_iter().find(|k| k.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// What was asked for: a time to run, or no automatic stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// Never stop by itself.
    Never,
    /// Stop this many milliseconds after the write.
    Millis(i64),
}

impl Grant {
    /// The number that stands for it in requests: −1, or milliseconds.
    pub const fn as_wire(self) -> i64 {
        match self {
            Self::Never => -1,
            Self::Millis(ms) => ms,
        }
    }
}

/// What a lease is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How long.
    pub grant: Grant,
    /// How its end is found.
    pub kind: LeaseKind,
}

/// The grants that a server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantRange {
    /// The shortest, in milliseconds.
    pub min_ms: i64,
    /// The longest, in milliseconds.
    pub max_ms: i64,
    /// What is given when nothing is asked for, in milliseconds.
    pub default_ms: i64,
}

impl GrantRange {
    /// The contract's own range: 1 h to 72 h, 1 h when nothing is asked for.
    pub const CONTRACT: Self = Self { min_ms: 3_600_000, max_ms: 259_200_000, default_ms: 3_600_000 };

    /// The grant for what a caller asked: −1 is never, anything in range is itself, the rest is refused with 6349.
    pub fn grant(&self, asked_ms: i64) -> Result<Grant, Refusal> {
        if asked_ms == -1 {
            return Ok(Grant::Never);
        }
        if (self.min_ms..=self.max_ms).contains(&asked_ms) {
            return Ok(Grant::Millis(asked_ms));
        }
        Err(Refusal::new(
            Code::LeaseOutOfRange,
            format!("`duration` must be {} to {} ms, or -1 for no automatic stop", self.min_ms, self.max_ms),
        ))
    }

    /// The grant when nothing was asked for.
    pub const fn default_grant(&self) -> Grant {
        Grant::Millis(self.default_ms)
    }
}

/// The automatic stop of one notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    create_at: Timestamp,
    update_at: Timestamp,
    grant: Grant,
    kind: LeaseKind,
    /// What the grant of an idle lease counts from: the last write or the last activity, whichever was later. Of a
    /// timed lease: the last write.
    counts_from: Timestamp,
}

impl Lease {
    /// A lease that was written at `at` for a notebook made at `create_at`.
    pub const fn written(create_at: Timestamp, at: Timestamp, grant: Grant, kind: LeaseKind) -> Self {
        Self { create_at, update_at: at, grant, kind, counts_from: at }
    }

    /// The same notebook's lease, written anew at `at`.
    #[must_use]
    pub const fn rewritten(self, at: Timestamp, grant: Grant, kind: LeaseKind) -> Self {
        Self::written(self.create_at, at, grant, kind)
    }

    /// The same lease after the notebook was active at `at`. Only an idle lease takes note, and only of what is later
    /// than what it knows: activity never shortens a lease.
    #[must_use]
    pub const fn active_at(mut self, at: Timestamp) -> Self {
        if matches!(self.kind, LeaseKind::Idle) && at.millis_since(self.counts_from) > 0 {
            self.counts_from = at;
        }
        self
    }

    /// The moment that the grant counts from.
    pub const fn counts_from(self) -> Timestamp {
        self.counts_from
    }

    /// Whether activity moves its end: it is of the kind IDLE, and has an end.
    pub const fn follows_activity(self) -> bool {
        matches!(self.kind, LeaseKind::Idle) && self.is_enabled()
    }

    /// The same lease after the wall clock was set by `ms` and shows `now`: as much of it is left as before, and never
    /// more than was granted.
    #[must_use]
    pub fn moved(self, ms: i64, now: Timestamp) -> Self {
        let update_at = self.update_at.plus_millis(ms).min(now);
        let create_at = if self.create_at > now { self.create_at.plus_millis(ms) } else { self.create_at };
        let counts_from = self.counts_from.plus_millis(ms).min(now);
        Self { create_at: create_at.min(update_at), update_at, counts_from, ..self }
    }

    /// When the notebook was made.
    pub const fn create_at(self) -> Timestamp {
        self.create_at
    }

    /// When the lease was last written.
    pub const fn update_at(self) -> Timestamp {
        self.update_at
    }

    /// What was granted at the last write.
    pub const fn grant(self) -> Grant {
        self.grant
    }

    /// How its end is found.
    pub const fn kind(self) -> LeaseKind {
        self.kind
    }

    /// What it was last written with.
    pub const fn terms(self) -> Terms {
        Terms { grant: self.grant, kind: self.kind }
    }

    /// Whether the notebook will be stopped by itself.
    pub const fn is_enabled(self) -> bool {
        matches!(self.grant, Grant::Millis(_))
    }

    /// Milliseconds from the notebook's creation to the end of the lease; −1 when there is no end.
    pub const fn duration_ms(self) -> i64 {
        match self.grant {
            Grant::Never => -1,
            Grant::Millis(g) => self.counts_from.millis_since(self.create_at).saturating_add(g),
        }
    }

    /// The end of the lease; `None` when there is none.
    pub const fn expiry(self) -> Option<Timestamp> {
        match self.grant {
            Grant::Never => None,
            Grant::Millis(g) => Some(self.counts_from.plus_millis(g)),
        }
    }

    /// Milliseconds left at `now`, never negative; `None` when there is no end.
    pub fn remaining_ms(self, now: Timestamp) -> Option<i64> {
        self.expiry().map(|end| end.millis_since(now).max(0))
    }

    /// Whether the lease is over at `now`.
    pub fn is_over(self, now: Timestamp) -> bool {
        self.remaining_ms(now) == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn t(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn lease(create_at: i64, update_at: i64) -> Lease {
        Lease::written(t(create_at), t(update_at), Grant::Millis(3_600_000), LeaseKind::Timing)
    }

    /// The worked use case of the contract: (moment, `update_at`, `duration`), every lease granted one hour.
    #[test]
    fn the_worked_use_case_comes_out_exactly() {
        const CREATE_AT: i64 = 1_687_656_452_470;
        for (moment, update_at, duration) in [
            ("create answer", 1_687_656_452_470, 3_600_000),
            ("show, RUNNING", 1_687_656_479_842, 3_627_372),
            ("renew answer", 1_687_657_510_014, 4_657_544),
            ("stop answer", 1_687_659_052_284, 6_199_814),
            ("start answer", 1_687_659_392_569, 6_540_099),
        ] {
            let lease = lease(CREATE_AT, update_at);
            assert_eq!(lease.duration_ms(), duration, "{moment}");
            assert_eq!(lease.expiry(), Some(t(update_at + 3_600_000)), "{moment}");
            assert_eq!(lease.expiry(), Some(t(CREATE_AT + duration)), "{moment}");
        }
    }

    /// The rebased rows of the contract's API pages.
    #[test]
    fn the_rebased_examples_come_out_exactly() {
        const CREATE_AT: i64 = 1_638_841_744_515;
        for (moment, update_at, duration) in
            [("stop answer", 1_638_843_457_621, 5_313_106), ("start answer", 1_638_844_471_727, 6_327_212)]
        {
            assert_eq!(lease(CREATE_AT, update_at).duration_ms(), duration, "{moment}");
        }
    }

    #[test]
    fn a_lease_is_over_at_its_expiry_and_not_a_millisecond_before() {
        let lease = lease(0, 1000);
        assert!(!lease.is_over(t(3_600_999)));
        assert_eq!(lease.remaining_ms(t(3_600_999)), Some(1));
        assert!(lease.is_over(t(3_601_000)));
        assert!(lease.is_over(t(9_999_999)));
    }

    #[test]
    fn without_automatic_stop_a_lease_never_ends_and_says_minus_one() {
        let lease = Lease::written(t(5), t(7), Grant::Never, LeaseKind::Timing);
        assert!(!lease.is_enabled());
        assert_eq!((lease.duration_ms(), lease.expiry(), lease.remaining_ms(t(i64::MAX))), (-1, None, None));
        assert_eq!(lease.update_at(), t(7));
    }

    #[test]
    fn grants_outside_the_range_are_refused_by_name() {
        let range = GrantRange::CONTRACT;
        assert_eq!(range.grant(-1), Ok(Grant::Never));
        assert_eq!(range.grant(3_600_000), Ok(Grant::Millis(3_600_000)));
        assert_eq!(range.grant(259_200_000), Ok(Grant::Millis(259_200_000)));
        for bad in [-2, 0, 1, 3_599_999, 259_200_001, i64::MAX, i64::MIN] {
            let refusal = range.grant(bad).unwrap_err();
            assert_eq!(refusal.code(), Code::LeaseOutOfRange);
            assert!(refusal.message().contains("3600000 to 259200000"));
        }
    }

    #[test]
    fn activity_moves_the_end_of_an_idle_lease_and_nothing_else_of_it() {
        let lease = Lease::written(t(0), t(1000), Grant::Millis(5000), LeaseKind::Idle);
        let active = lease.active_at(t(3000));
        assert_eq!((active.expiry(), active.duration_ms()), (Some(t(8000)), 8000));
        assert_eq!((active.update_at(), active.create_at(), active.grant()), (t(1000), t(0), Grant::Millis(5000)));
        assert!(!active.is_over(t(7999)) && active.is_over(t(8000)));
        assert_eq!(active.rewritten(t(4000), Grant::Millis(10), LeaseKind::Idle).expiry(), Some(t(4010)));
        assert_eq!(active.rewritten(t(4000), Grant::Millis(10), LeaseKind::Timing).expiry(), Some(t(4010)));
    }

    #[test]
    fn a_timed_lease_and_one_without_end_take_no_note_of_activity() {
        let timed = lease(0, 1000);
        assert_eq!(timed.active_at(t(9_000_000)), timed);
        assert!(!timed.follows_activity());
        let endless = Lease::written(t(0), t(0), Grant::Never, LeaseKind::Idle).active_at(t(5));
        assert_eq!((endless.expiry(), endless.duration_ms()), (None, -1));
        assert!(!endless.follows_activity());
    }

    proptest! {
        /// The rule as the contract states it, with activity in any order.
        #[test]
        fn an_idle_lease_ends_a_grant_after_the_last_write_or_activity(
            written in 0_i64..1_000_000, activity in proptest::collection::vec(0_i64..2_000_000, 0..20),
            grant in 1_i64..259_200_000,
        ) {
            let lease = Lease::written(t(0), t(written), Grant::Millis(grant), LeaseKind::Idle);
            let after = activity.iter().fold(lease, |lease, at| lease.active_at(t(*at)));
            let last = activity.iter().copied().max().unwrap_or(0).max(written);
            prop_assert_eq!(after.expiry(), Some(t(last + grant)));
            prop_assert_eq!(after.duration_ms(), last + grant);
            prop_assert_eq!(after.update_at(), t(written));
        }

        #[test]
        fn expiry_counts_from_the_write_and_duration_from_creation(
            create in 0_i64..4_000_000_000_000, age in 0_i64..400_000_000_000, grant in 1_i64..259_200_000,
        ) {
            let lease = Lease::written(t(create), t(create + age), Grant::Millis(grant), LeaseKind::Timing);
            prop_assert_eq!(lease.expiry().unwrap(), t(create + lease.duration_ms()));
            prop_assert_eq!(lease.duration_ms(), age + grant);
            prop_assert_eq!(lease.remaining_ms(lease.update_at()), Some(grant));
        }

        /// What is left does not change when the clock is set; the notebook is never made after its lease was written.
        #[test]
        fn a_set_clock_leaves_what_is_left(
            age in 0_i64..400_000_000, since in 0_i64..400_000_000, grant in 1_i64..259_200_000,
            ms in -1_000_000_000_000_i64..1_000_000_000_000, idle in proptest::bool::ANY,
        ) {
            let now = t(1_800_000_000_000);
            let update_at = now.plus_millis(-since);
            let kind = if idle { LeaseKind::Idle } else { LeaseKind::Timing };
            let lease = Lease::written(update_at.plus_millis(-age), update_at, Grant::Millis(grant), kind)
                .active_at(update_at.plus_millis(since / 2));
            let moved = lease.moved(ms, now.plus_millis(ms));
            prop_assert_eq!(moved.remaining_ms(now.plus_millis(ms)), lease.remaining_ms(now));
            prop_assert!(moved.create_at() <= moved.update_at());
            prop_assert!(moved.duration_ms() >= grant);
            // Twice, as after a crash in the midst of it: never more than was granted.
            let twice = moved.moved(ms, now.plus_millis(ms));
            prop_assert!(twice.remaining_ms(now.plus_millis(ms)).unwrap() <= grant);
        }

        #[test]
        fn renewing_replaces_and_never_adds(first in 1_i64..259_200_000, second in 1_i64..259_200_000) {
            let lease = Lease::written(t(0), t(10), Grant::Millis(first), LeaseKind::Timing)
                .rewritten(t(20), Grant::Millis(second), LeaseKind::Timing);
            prop_assert_eq!(lease.expiry(), Some(t(20 + second)));
            prop_assert_eq!(lease.create_at(), t(0));
        }
    }
}
