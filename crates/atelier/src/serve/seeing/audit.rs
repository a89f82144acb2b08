//! Where records of the audit are written that no change brings along: refused calls, log-ins, and whatever changes
//! something else than notebooks and people.
//!
//! A change of a notebook or of people has its record in its own commit already; the store knows that by the request, and
//! keeps one.
//! Refused calls cost whoever sends them nothing, so their records are limited: a few a second from people who did not
//! prove who they are, more from those who did. How many were left out is counted and said in a figure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_core::{Clock, Timestamp};
use atelier_store::audit::AuditStore;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::{Arrival, Metrics};

/// Records of refused calls in a second, from strangers and from people who are known.
const STRANGERS: f64 = 10.0;
const KNOWN: f64 = 50.0;
/// So many seconds' worth may come at once.
const BURST_SECONDS: f64 = 10.0;
/// How often what is too old is removed.
const PRUNING: Duration = Duration::from_hours(24);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Writes what happened, in order.
pub(in crate::serve) struct AuditDesk {
    store: Arc<dyn AuditStore>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    strangers: Allowance,
    known: Allowance,
}

impl AuditDesk {
    pub(in crate::serve) fn new(store: Arc<dyn AuditStore>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self { store, metrics, clock, strangers: Allowance::of(STRANGERS, now), known: Allowance::of(KNOWN, now) }
    }

    /// Writes the record of a call that changes something, or was refused; it is on disk when this returns.
    pub(super) async fn record(&self, arrival: &Arrival, status: StatusCode) {
        let Some(mut record) = arrival.docket.record(self.clock.now(), status) else { return };
        if !self.has_room(arrival, status) {
            self.metrics.audit_skipped.inc();
            return;
        }
        record.source.address = record.source.address.or(Some(arrival.peer.ip()));
        if let Err(error) = self.store.append_audit(record).await {
            self.metrics.audit_failures.inc();
            tracing::error!(request_id = %arrival.docket.request_id(), "the audit could not be written: {error}");
        }
    }

    fn has_room(&self, arrival: &Arrival, status: StatusCode) -> bool {
        let now = self.clock.now();
        match arrival.docket.sender() {
            None => self.strangers.take(now),
            Some(_) if status.is_success() => true,
            Some(_) => self.known.take(now),
        }
    }
}

/// Removes what is older than `days`, now and once a day, until `stop`. 0 days: nothing ever.
pub(in crate::serve) async fn prune(
    store: Arc<dyn AuditStore>,
    clock: Arc<dyn Clock>,
    days: u32,
    stop: CancellationToken,
) {
    if days == 0 {
        return;
    }
    loop {
        let now = clock.now();
        match store.prune_audit(now.plus_millis(-DAY_MS * i64::from(days)), now).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "{removed} records of the audit were older than {days} days"),
            Err(error) => tracing::error!("the audit could not be pruned: {error}"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(PRUNING)).await.is_none() {
            return;
        }
    }
}

/// So many in a second, and some at once.
struct Allowance {
    rate: f64,
    left: Mutex<(f64, Timestamp)>,
}

impl Allowance {
    fn of(rate: f64, now: Timestamp) -> Self {
        Self { rate, left: Mutex::new((rate * BURST_SECONDS, now)) }
    }

    fn take(&self, now: Timestamp) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = u32::try_from(now.millis_since(left.1).clamp(0, 60_000)).unwrap_or(0);
        left.0 = (left.0 + self.rate * f64::from(passed) / 1000.0).min(self.rate * BURST_SECONDS);
        left.1 = now;
        let has_room = left.0 >= 1.0;
        if has_room {
            left.0 -= 1.0;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_calls_are_recorded_at_a_bounded_rate() {
        let at = Timestamp::from_millis;
        let allowance = Allowance::of(10.0, at(0));
        let taken = |now| (0..1000).filter(|_| allowance.take(at(now))).count();
        assert_eq!(taken(0), 100);
        assert_eq!(taken(500), 5);
        assert_eq!(taken(3_600_000), 100);
        assert_eq!(taken(0), 0, "a clock that was set back gives nothing");
    }
}
