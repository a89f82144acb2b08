//! What is only looked up when somebody asks for the figures: notebooks by status, room, what the gateway has counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atelier_core::Clock;
use atelier_core::filling::Fullness;
use atelier_core::status::Status;
use atelier_engine::Engine;
use atelier_gateway::{Class, Gateway, Visited};
use atelier_iam::Iam;
use prometheus_client::metrics::counter::Counter;

use super::super::throttle::Throttle;
use super::metrics::{Metrics, OfDirection, OfState, OfStatus, OfVisit, seconds};

/// Where the rest of the figures is found.
pub(in crate::serve) struct Scrape {
    pub(in crate::serve) metrics: Arc<Metrics>,
    pub(in crate::serve) engine: Engine,
    pub(in crate::serve) iam: Arc<Iam>,
    pub(in crate::serve) gateway: Gateway,
    pub(in crate::serve) throttle: Arc<Throttle>,
    pub(in crate::serve) clock: Arc<dyn Clock>,
    pub(in crate::serve) folder: PathBuf,
}

impl Scrape {
    /// Everything as text, as it is now.
    pub(in crate::serve) async fn text(&self) -> String {
        self.count_notebooks();
        self.count_full_volumes();
        self.count_visits();
        set(&self.metrics.throttled, self.throttle.refused());
        set(&self.metrics.locked_out, self.iam.locked_out());
        self.measure_disk();
        self.count_set_aside();
        self.ask_the_store().await;
        self.metrics.text()
    }

    fn count_notebooks(&self) {
        let census = self.engine.census();
        // Statuses that nobody is in any more are 0, not what they were.
        for status in Status::ALL {
            let count = census.get(&status).copied().unwrap_or(0);
            let gauge = self.metrics.notebooks.get_or_create_owned(&OfStatus { status: status.as_str() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn count_full_volumes(&self) {
        let census = self.engine.fullness_census();
        for fullness in [Fullness::Filling, Fullness::NearlyFull] {
            let count = census.get(&fullness).copied().unwrap_or(0);
            let gauge = self.metrics.full_volumes.get_or_create_owned(&OfState { state: fullness.as_str() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn count_visits(&self) {
        let traffic = self.gateway.traffic();
        for kind in Visited::ALL {
            for class in Class::ALL {
                let labels = OfVisit { kind: kind.as_str(), code: class.as_str() };
                set(&self.metrics.visits.get_or_create_owned(&labels), traffic.requests(kind, class));
            }
        }
        for (direction, bytes) in [("up", traffic.up()), ("down", traffic.down())] {
            set(&self.metrics.visited_bytes.get_or_create_owned(&OfDirection { direction }), bytes);
        }
        self.metrics.sockets.set(i64::try_from(traffic.open_sockets()).unwrap_or(i64::MAX));
    }

    fn measure_disk(&self) {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return };
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        for (state, blocks) in [("total", disk.f_blocks), ("free", disk.f_bavail)] {
            self.metrics.disk.get_or_create_owned(&OfState { state }).set(bytes(blocks));
        }
    }

    fn count_set_aside(&self) {
        let (volumes, bytes) = self.engine.set_aside_census();
        self.metrics.trash_volumes.set(i64::try_from(volumes).unwrap_or(i64::MAX));
        self.metrics.trash_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A store that does not answer leaves the figures as they were; that it failed is a figure of its own.
    async fn ask_the_store(&self) {
        if let Ok((held, capacity)) = self.engine.room().await {
            for (state, part) in [("held", held), ("free", capacity.free(held))] {
                let cpus = seconds(i64::try_from(part.cpu_millis).unwrap_or(i64::MAX));
                self.metrics.cpus.get_or_create_owned(&OfState { state }).set(cpus);
                let bytes = i64::try_from(part.memory_bytes).unwrap_or(i64::MAX);
                self.metrics.memory.get_or_create_owned(&OfState { state }).set(bytes);
            }
        }
        if let Ok((held, there)) = self.engine.gpu_room().await {
            let free = there.kinds().iter().map(|kind| there.free(&held, Some(&kind.name))).sum();
            for (state, count) in [("held", held.count()), ("free", free)] {
                self.metrics.gpus.get_or_create_owned(&OfState { state }).set(count.into());
            }
        }
        if let Ok(oldest) = self.engine.oldest_operation().await {
            let age = oldest.map_or(0, |began| self.clock.now().millis_since(began));
            self.metrics.oldest_operation.set(seconds(age));
        }
    }
}

/// Shows what somebody else has counted.
fn set(counter: &Counter, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}
