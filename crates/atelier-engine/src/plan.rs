//! What to do about a notebook, given what is kept of it and what its runtime shows. Pure: no clock, store or driver.
//!
//! Only a notebook that rests in RUNNING is decided here; while an operation is under way, the operation alone acts.
//! *Unknown* is a value of its own and never leads to an action.

use atelier_core::clock::Timestamp;
use atelier_core::lease::Lease;
use atelier_core::status::Status;
use atelier_runtime::Observed;

/// What a look at the runtime gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It could not be asked.
    Unknown,
    /// It answered.
    Is(Observed),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Wait,
    /// The notebook broke, for this reason.
    Fault(String),
    /// Its server ended by itself: start it again.
    ServeAgain,
    /// Its lease is over: stop it.
    StopByLease,
}

/// Decides.
pub fn plan(status: Status, lease: Lease, seen: &Seen, now: Timestamp) -> Action {
    match (status, seen) {
        (Status::Running, Seen::Is(Observed::Absent)) => Action::Fault("the instance is gone".into()),
        (Status::Running, _) if lease.is_over(now) => Action::StopByLease,
        (Status::Running, Seen::Is(Observed::Idle { .. })) => Action::ServeAgain,
        _ => Action::Wait,
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::lease::{Grant, LeaseKind};

    use super::*;

    const fn t(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    const LEASE: Lease = Lease::written(t(0), t(0), Grant::Millis(1000), LeaseKind::Timing);

    #[test]
    fn a_running_notebook_stops_at_the_end_of_its_lease_and_not_a_millisecond_before() {
        let serving = Seen::Is(Observed::Serving);
        assert_eq!(plan(Status::Running, LEASE, &serving, t(999)), Action::Wait);
        assert_eq!(plan(Status::Running, LEASE, &serving, t(1000)), Action::StopByLease);
    }

    #[test]
    fn an_unreachable_runtime_is_no_fault() {
        assert_eq!(plan(Status::Running, LEASE, &Seen::Unknown, t(0)), Action::Wait);
    }

    #[test]
    fn a_lost_instance_is_a_fault_with_its_reason() {
        let gone = Seen::Is(Observed::Absent);
        assert_eq!(plan(Status::Running, LEASE, &gone, t(0)), Action::Fault("the instance is gone".into()));
    }

    #[test]
    fn a_server_that_ended_is_started_again_while_the_lease_runs() {
        let ended = Seen::Is(Observed::Idle { ended: Some("exit code 1".into()) });
        assert_eq!(plan(Status::Running, LEASE, &ended, t(999)), Action::ServeAgain);
        assert_eq!(plan(Status::Running, LEASE, &ended, t(1000)), Action::StopByLease);
    }

    #[test]
    fn nothing_but_a_running_notebook_is_touched() {
        for status in Status::ALL.into_iter().filter(|s| *s != Status::Running) {
            let idle = Seen::Is(Observed::Idle { ended: None });
            for seen in [Seen::Unknown, Seen::Is(Observed::Absent), Seen::Is(Observed::Serving), idle] {
                assert_eq!(plan(status, LEASE, &seen, t(5000)), Action::Wait, "{status}");
            }
        }
    }
}
