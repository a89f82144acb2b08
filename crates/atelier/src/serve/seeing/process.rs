//! The figures of the process itself, under the names that every Prometheus client uses, read when somebody asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};

/// Reads `/proc/self`.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Where /proc is not there, there are no figures; nothing else suffers.
        let Some(seen) = Seen::read() else { return Ok(()) };
        let mut one = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        one("process_cpu_seconds", "CPU time of the server", &ConstCounter::new(seen.cpu_seconds))?;
        one("process_resident_memory_bytes", "Resident memory of the server", &ConstGauge::new(seen.resident))?;
        one("process_virtual_memory_bytes", "Virtual memory of the server", &ConstGauge::new(seen.virtual_size))?;
        one("process_threads", "Threads of the server", &ConstGauge::new(seen.threads))?;
        one("process_open_fds", "Open file descriptors of the server", &ConstGauge::new(seen.open_files))?;
        one("process_max_fds", "File descriptors that the server may open", &ConstGauge::new(seen.most_files))
    }
}

struct Seen {
    cpu_seconds: f64,
    resident: i64,
    virtual_size: i64,
    threads: i64,
    open_files: i64,
    most_files: i64,
}

impl Seen {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program may hold anything; what follows it does not.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| -> Option<i64> { fields.get(number - 3)?.parse().ok() };
        let ticks = u32::try_from(field(14)? + field(15)?).ok()?;
        let per_second = u32::try_from(clock_ticks_per_second()).ok()?;
        let page = i64::try_from(page_size()).ok()?;
        Some(Self {
            cpu_seconds: f64::from(ticks) / f64::from(per_second),
            threads: field(20)?,
            virtual_size: field(23)?,
            resident: field(24)? * page,
            open_files: i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
            most_files: most_files()?,
        })
    }
}

fn most_files() -> Option<i64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(Some(i64::MAX), |most| i64::try_from(most).ok())
}
