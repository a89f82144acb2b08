//! Hears what the crates inside tell, and passes it on to the figures and the traces.

use std::sync::Arc;
use std::time::Instant;

use atelier_core::observe::{IdleVerdict, Observer, OperationSeen, StartPath, StepSeen, StoreCall};

use super::metrics::Metrics;
use super::traces::Tracer;

/// The one who is told.
pub(in crate::serve) struct Ears {
    pub(in crate::serve) metrics: Arc<Metrics>,
    pub(in crate::serve) tracer: Option<Arc<Tracer>>,
}

impl Observer for Ears {
    fn step(&self, step: &StepSeen<'_>) {
        self.metrics.step(step);
        if let Some(tracer) = &self.tracer {
            tracer.step(step);
        }
    }

    fn operation(&self, operation: &OperationSeen<'_>) {
        self.metrics.operation(operation);
        if let Some(tracer) = &self.tracer {
            tracer.operation(operation);
        }
    }

    fn started(&self, path: StartPath, millis: i64) {
        self.metrics.started(path, millis);
    }

    fn lease_ended(&self, late_millis: i64) {
        self.metrics.lease_ended(late_millis);
    }

    fn idle_verdict(&self, verdict: IdleVerdict) {
        self.metrics.idle_verdict(verdict);
    }

    fn server_started_again(&self, serves: bool) {
        self.metrics.server_started_again(serves);
    }

    fn out_of_memory(&self, kernel: bool) {
        self.metrics.out_of_memory(kernel);
    }

    fn orphan(&self) {
        self.metrics.orphans.inc();
    }

    fn commit(&self, request_id: Option<&str>, began: Instant, kept: bool) {
        if let (Some(tracer), Some(request_id)) = (&self.tracer, request_id) {
            tracer.commit(request_id, began, kept);
        }
    }

    fn store(&self, call: StoreCall, began: Instant, answered: bool) {
        self.metrics.store(call, began, answered);
    }
}
