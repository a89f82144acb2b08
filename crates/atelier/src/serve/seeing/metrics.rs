//! The figures, as `OpenMetrics`. Every one is described in `docs/observability.md`; a test compares the two.
//!
//! Labels are the names of operations, steps, states: words of the program, of which there is a fixed number. No id, name
//! or path of anybody is one, because each value of a label is a series that is kept until the server ends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use atelier_core::Timestamp;
use atelier_core::observe::{IdleVerdict, OperationSeen, StartPath, StepSeen, StoreCall};
use atelier_runtime::Program;
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;

/// What the figures are called by those who ask for them.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Requests: from what a look in memory takes to what somebody waits for.
const REQUEST: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Steps, operations, starts: from a fork to the making of an image.
const WORK: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 1800.0];
/// The store: from a row in memory to a disk that is full of work.
const STORE: [f64; 12] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];
/// Lateness: the promise is 100 ms.
const LATENESS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0, 60.0];

fn request() -> Histogram {
    Histogram::new(REQUEST)
}

fn work() -> Histogram {
    Histogram::new(WORK)
}

fn store() -> Histogram {
    Histogram::new(STORE)
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
pub(super) type Level = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    operation: Arc<str>,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    kind: &'static str,
    step: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    kind: &'static str,
    result: &'static str,
}

/// One label, named by the macro's caller.
macro_rules! label {
    ($($name:ident: $field:ident),* $(,)?) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name {
            pub(super) $field: &'static str,
        }
    )*};
}

label! {
    OfPath: path,
    OfStatus: status,
    OfVerdict: verdict,
    OfCall: call,
    OfDirection: direction,
    OfState: state,
    OfRestart: result,
    OfVictim: victim,
}

impl OfRestart {
    const fn of(serves: bool) -> Self {
        Self { result: if serves { "done" } else { "failed" } }
    }
}

impl OfVictim {
    const fn of(kernel: bool) -> Self {
        Self { victim: if kernel { "kernel" } else { "other" } }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCommand {
    kind: &'static str,
    result: &'static str,
}

impl OfCommand {
    const fn of(kind: &'static str, by_itself: bool) -> Self {
        Self { kind, result: if by_itself { "exited" } else { "broken" } }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfVisit {
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
}

/// Everything that is measured.
pub(in crate::serve) struct Metrics {
    registry: Registry,
    nowhere: Arc<str>,
    requests: Histograms<OfRequest>,
    steps: Histograms<OfStep>,
    operations: Histograms<OfOperation>,
    starts: Histograms<OfPath>,
    lateness: Histogram,
    verdicts: Family<OfVerdict, Counter>,
    restarts: Family<OfRestart, Counter>,
    shortages: Family<OfVictim, Counter>,
    store: Histograms<OfCall>,
    store_errors: Family<OfCall, Counter>,
    /// Those below are set when somebody asks.
    pub(super) notebooks: Family<OfStatus, Gauge>,
    pub(super) oldest_operation: Level,
    pub(super) throttled: Counter,
    pub(super) locked_out: Counter,
    pub(super) visits: Family<OfVisit, Counter>,
    pub(super) visited_bytes: Family<OfDirection, Counter>,
    pub(super) sockets: Gauge,
    pub(super) cpus: Family<OfState, Level>,
    pub(super) memory: Family<OfState, Gauge>,
    pub(super) gpus: Family<OfState, Gauge>,
    pub(super) disk: Family<OfState, Gauge>,
    pub(super) full_volumes: Family<OfState, Gauge>,
    pub(super) trash_volumes: Gauge,
    pub(super) trash_bytes: Gauge,
    pub(super) orphans: Counter,
    pub(in crate::serve) streams: Gauge,
    pub(in crate::serve) streams_cut: Counter,
    /// Commands in notebooks that run now.
    pub(in crate::serve) open_commands: Gauge,
    commands: Family<OfCommand, Counter>,
    pub(super) audit_skipped: Counter,
    pub(super) audit_failures: Counter,
    pub(super) spans_dropped: Counter,
}

impl Metrics {
    /// Everything at zero. `started`: when the server started.
    pub(in crate::serve) fn new(runtime: &'static str, started: Timestamp) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            nowhere: Arc::from("none"),
            requests: Family::new_with_constructor(request),
            steps: Family::new_with_constructor(work),
            operations: Family::new_with_constructor(work),
            starts: Family::new_with_constructor(work),
            lateness: Histogram::new(LATENESS),
            verdicts: Family::default(),
            restarts: Family::default(),
            shortages: Family::default(),
            store: Family::new_with_constructor(store),
            store_errors: Family::default(),
            notebooks: Family::default(),
            oldest_operation: Level::default(),
            throttled: Counter::default(),
            locked_out: Counter::default(),
            visits: Family::default(),
            visited_bytes: Family::default(),
            sockets: Gauge::default(),
            cpus: Family::default(),
            memory: Family::default(),
            gpus: Family::default(),
            disk: Family::default(),
            full_volumes: Family::default(),
            trash_volumes: Gauge::default(),
            trash_bytes: Gauge::default(),
            orphans: Counter::default(),
            streams: Gauge::default(),
            streams_cut: Counter::default(),
            open_commands: Gauge::default(),
            commands: Family::default(),
            audit_skipped: Counter::default(),
            audit_failures: Counter::default(),
            spans_dropped: Counter::default(),
        };
        metrics.there_from_the_start();
        metrics.registered(runtime, started)
    }

    /// Counters whose first increase must be seen as one, and not as a series that begins at 1.
    fn there_from_the_start(&self) {
        for call in [StoreCall::Commit, StoreCall::Read] {
            drop(self.store_errors.get_or_create(&OfCall { call: call.as_str() }));
        }
        for verdict in [IdleVerdict::Active, IdleVerdict::Idle, IdleVerdict::Unknown] {
            drop(self.verdicts.get_or_create(&OfVerdict { verdict: verdict.as_str() }));
        }
        for serves in [true, false] {
            drop(self.restarts.get_or_create(&OfRestart::of(serves)));
        }
        for kernel in [true, false] {
            drop(self.shortages.get_or_create(&OfVictim::of(kernel)));
        }
        for kind in Program::KINDS {
            for by_itself in [true, false] {
                drop(self.commands.get_or_create(&OfCommand::of(kind, by_itself)));
            }
        }
    }

    fn registered(mut self, runtime: &'static str, started: Timestamp) -> Self {
        let mut registry = Registry::default();
        let build = vec![("version", env!("CARGO_PKG_VERSION")), ("runtime", runtime)];
        let start_time = Level::default();
        start_time.set(seconds(started.as_millis()));
        registry.register("atelier_build", "The release that runs, and what makes its notebooks", Info::new(build));
        registry.register("process_start_time_seconds", "When the server started, in seconds since 1970", start_time);
        self.register_requests(&mut registry);
        self.register_work(&mut registry);
        self.register_levels(&mut registry);
        registry.register_collector(Box::new(Process));
        self.registry = registry;
        self
    }

    fn register_requests(&self, registry: &mut Registry) {
        let Self { requests, throttled, locked_out, visits, visited_bytes, sockets, .. } = self;
        registry.register(
            "atelier_request_duration_seconds",
            "Requests by operation and status code, and the time until the head of the answer",
            requests.clone(),
        );
        registry.register("atelier_requests_throttled", "Requests that were answered 429", throttled.clone());
        registry.register(
            "atelier_requests_locked_out",
            "Requests refused because of earlier bad credentials from the same place",
            locked_out.clone(),
        );
        registry.register(
            "atelier_gateway_requests",
            "Requests for notebooks by kind and class of status",
            visits.clone(),
        );
        registry.register("atelier_gateway_bytes", "Bytes to (up) and from (down) notebooks", visited_bytes.clone());
        registry.register("atelier_gateway_open_sockets", "Open WebSockets to notebooks", sockets.clone());
        registry.register("atelier_event_streams", "Readers of live events", self.streams.clone());
        registry.register(
            "atelier_event_streams_cut",
            "Readers of live events that were cut because they did not keep up",
            self.streams_cut.clone(),
        );
        registry.register(
            "atelier_open_commands",
            "Commands and copies in notebooks that run",
            self.open_commands.clone(),
        );
        registry.register(
            "atelier_commands",
            "Commands and copies in notebooks by kind and whether they ended by themselves",
            self.commands.clone(),
        );
    }

    fn register_work(&self, registry: &mut Registry) {
        let Self { steps, operations, starts, lateness, verdicts, restarts, shortages, store, store_errors, .. } = self;
        registry.register(
            "atelier_step_duration_seconds",
            "Steps of operations by kind of operation, step and result",
            steps.clone(),
        );
        registry.register(
            "atelier_operation_duration_seconds",
            "Operations by kind and result, from being asked for to their end",
            operations.clone(),
        );
        registry.register(
            "atelier_start_duration_seconds",
            "The time from asking for a notebook to RUNNING, by how its server came to life",
            starts.clone(),
        );
        registry.register(
            "atelier_lease_lateness_seconds",
            "How long after the end of their lease notebooks were stopped",
            lateness.clone(),
        );
        registry.register("atelier_idle_verdicts", "Judgements of whether a notebook is idle", verdicts.clone());
        registry.register(
            "atelier_server_restarts",
            "Starts of notebook servers that had ended by themselves",
            restarts.clone(),
        );
        registry.register(
            "atelier_out_of_memory",
            "Processes of notebooks that were killed because memory ran out",
            shortages.clone(),
        );
        registry.register(
            "atelier_orphans",
            "Things of no notebook that were found and taken away",
            self.orphans.clone(),
        );
        registry.register(
            "atelier_store_duration_seconds",
            "Durable commits, and reads of the database",
            store.clone(),
        );
        registry.register("atelier_store_errors", "Commits and reads that failed", store_errors.clone());
        registry.register(
            "atelier_audit_records_skipped",
            "Refused calls that the audit has no record of, because there were too many",
            self.audit_skipped.clone(),
        );
        registry.register(
            "atelier_audit_failures",
            "Records of the audit that could not be written",
            self.audit_failures.clone(),
        );
        registry.register("atelier_spans_dropped", "Spans that could not be delivered", self.spans_dropped.clone());
    }

    fn register_levels(&self, registry: &mut Registry) {
        let Self {
            notebooks,
            oldest_operation,
            cpus,
            memory,
            gpus,
            disk,
            full_volumes,
            trash_volumes,
            trash_bytes,
            ..
        } = self;
        registry.register("atelier_notebooks", "Notebooks by status", notebooks.clone());
        registry.register(
            "atelier_oldest_operation_age_seconds",
            "The age of the oldest operation that has not ended",
            oldest_operation.clone(),
        );
        registry.register("atelier_capacity_cpus", "CPUs promised to notebooks, and left to promise", cpus.clone());
        registry.register(
            "atelier_capacity_memory_bytes",
            "Memory promised to notebooks, and left to promise",
            memory.clone(),
        );
        registry.register("atelier_capacity_gpus", "GPUs that notebooks have, and free ones", gpus.clone());
        registry.register(
            "atelier_data_disk_bytes",
            "The disk of the data folder, and what is free of it",
            disk.clone(),
        );
        registry.register(
            "atelier_full_volumes",
            "Volumes of running notebooks of which 80 % (filling) or 95 % (nearly_full) are used, of bytes or inodes",
            full_volumes.clone(),
        );
        registry.register(
            "atelier_trash_volumes",
            "Volumes that were set aside: of deleted notebooks, and of none",
            trash_volumes.clone(),
        );
        registry.register("atelier_trash_bytes", "What they take of the disk", trash_bytes.clone());
    }

    /// A request was answered.
    pub(super) fn request(&self, operation: Option<&Arc<str>>, status: StatusCode, began: Instant) {
        let operation = operation.unwrap_or(&self.nowhere).clone();
        let labels = OfRequest { operation, code: status.as_u16() };
        self.requests.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    }

    pub(super) fn step(&self, seen: &StepSeen<'_>) {
        let labels = OfStep { kind: seen.kind.as_str(), step: seen.step.as_str(), result: seen.result.as_str() };
        self.steps.get_or_create(&labels).observe(seen.began.elapsed().as_secs_f64());
    }

    pub(super) fn operation(&self, seen: &OperationSeen<'_>) {
        let labels = OfOperation { kind: seen.kind.as_str(), result: seen.state.as_str() };
        self.operations.get_or_create(&labels).observe(seconds(seen.millis));
    }

    pub(super) fn started(&self, path: StartPath, millis: i64) {
        self.starts.get_or_create(&OfPath { path: path.as_str() }).observe(seconds(millis));
    }

    pub(super) fn lease_ended(&self, late_millis: i64) {
        self.lateness.observe(seconds(late_millis));
    }

    pub(super) fn idle_verdict(&self, verdict: IdleVerdict) {
        self.verdicts.get_or_create(&OfVerdict { verdict: verdict.as_str() }).inc();
    }

    pub(super) fn server_started_again(&self, serves: bool) {
        self.restarts.get_or_create(&OfRestart::of(serves)).inc();
    }

    pub(super) fn out_of_memory(&self, kernel: bool) {
        self.shortages.get_or_create(&OfVictim::of(kernel)).inc();
    }

    /// A command in a notebook ended: by itself, with whatever code, or otherwise.
    pub(in crate::serve) fn command(&self, kind: &'static str, by_itself: bool) {
        self.commands.get_or_create(&OfCommand::of(kind, by_itself)).inc();
    }

    pub(super) fn store(&self, call: StoreCall, began: Instant, answered: bool) {
        let labels = OfCall { call: call.as_str() };
        self.store.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        if !answered {
            self.store_errors.get_or_create(&labels).inc();
        }
    }

    /// Everything as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Seconds of milliseconds. A clock that was set back makes no negative length of time.
pub(super) fn seconds(millis: i64) -> f64 {
    let millis = u64::try_from(millis).unwrap_or(0);
    std::time::Duration::from_millis(millis).as_secs_f64()
}
