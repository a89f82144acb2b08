//! The sections of the configuration: their keys, defaults and rules.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_core::activity::Rules;
use atelier_core::lease::GrantRange;
use atelier_core::limits::{DEFAULT_NOTEBOOKS_PER_USER, DEFAULT_SHARED_GIB, MAX_VOLUME_GIB, MIN_VOLUME_GIB};
use atelier_engine::{ActivityConfig, EngineConfig, RestartConfig};
use atelier_runtime::RuntimeKind;
use atelier_runtime_local::DiskLimits;

use super::kinds;
use super::layer::Raw;
use super::network::Network;
use super::reader::Reader;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The data folder.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients are told to use, when it is not what is listened on.
    pub public_url: Option<String>,
    /// The proxies whose word about a client is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The headers in which they give it.
    pub(crate) proxy_header: ProxyHeader,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, as a filter of `tracing`.
    pub log_level: String,
    /// MiB of the data disk that new work must leave free.
    pub disk_reserve_mib: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object in a line.
    Json,
}

/// The headers in which proxies say for whom they ask. One kind only is read: a proxy writes one and passes the other on
/// as the client wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// The door speaks plain HTTP.
    Off,
    /// With this certificate, and the key that belongs to it.
    Files {
        /// The certificate, and those between it and a root.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// With certificates of a CA that is made in the data folder.
    SelfMade,
}

/// `[local]`
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Local {
    /// How many times the CPUs may be promised.
    pub cpu_overcommit: u32,
    /// How many times the memory may be promised.
    pub memory_overcommit: u32,
    /// Images, shared by all data folders of the machine.
    pub cache_dir: PathBuf,
    /// How fast a notebook may read and write.
    pub disk: DiskLimits,
    /// Whether notebooks reach the internet.
    pub egress: bool,
    /// Whether notebook servers are forked from a process that has imported them.
    pub zygote: bool,
    /// Further networks that they must not reach.
    pub closed_networks: Vec<String>,
    /// Their name servers; empty for those of the machine.
    pub dns: Vec<Ipv4Addr>,
    /// The first host user id of their ranges.
    pub uid_base: u32,
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// NVML, where the loader does not find it by itself.
    pub(crate) nvml: Option<PathBuf>,
    /// Environment of notebooks and of the making of images.
    pub environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for Local {
    /// The values of the environment are left out: the address of a proxy may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("cache_dir", &self.cache_dir)
            .field("egress", &self.egress)
            .field("zygote", &self.zygote)
            .field("environment", &self.environment.keys())
            .finish_non_exhaustive()
    }
}

/// `[image]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Package sources to make the built-in image from, in place of this machine's own.
    pub(crate) sources: Option<String>,
    /// Whether notebooks get addresses of package indexes and proxies that hold a password.
    pub(crate) share_credentials: bool,
}

/// `[volumes]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volumes {
    /// Milliseconds that the volumes of deleted notebooks rest in the trash.
    pub(crate) trash_ms: i64,
    /// The size of the volumes that notebooks share, in GiB.
    pub(crate) shared_gib: u32,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests a caller may make in a second.
    pub requests_per_second: u32,
    /// Connections open at a time.
    pub connections: usize,
    /// How long a client may take to send the head of a request.
    pub head: Duration,
    /// How long requests in flight get to end when the server stops.
    pub drain: Duration,
    /// Commands that may run in a notebook at a time.
    pub(crate) commands_per_notebook: u32,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Days that events and ended operations of deleted notebooks are kept.
    pub history_days: i64,
}

/// `[iam]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Iam {
    /// The name of the region and of the first project.
    pub region: String,
    /// Hours until a token expires.
    pub token_hours: u32,
}

pub(super) fn server(reader: &mut Reader, default_data_dir: &Path) -> Server {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    Server {
        data_dir: reader.read("server.data_dir", default_data_dir.to_owned(), "an absolute path", kinds::path),
        listen: reader.read(
            "server.listen",
            listen,
            "an IP address and a port such as 127.0.0.1:8080",
            kinds::socket_address,
        ),
        public_url: reader.read(
            "server.public_url",
            None,
            "`http://` or `https://` and a host, with a port or without, such as https://atelier.example.com",
            |raw| kinds::base_url(raw).map(Some),
        ),
        trusted_proxies: reader.read(
            "server.trusted_proxies",
            Vec::new(),
            "a list of addresses and networks such as 127.0.0.1, 10.0.0.0/8 or fd00::/8",
            kinds::list(kinds::parsed),
        ),
        proxy_header: reader.read(
            "server.proxy_header",
            ProxyHeader::XForwarded,
            "`x-forwarded` or `forwarded`",
            kinds::word(&[("x-forwarded", ProxyHeader::XForwarded), ("forwarded", ProxyHeader::Forwarded)]),
        ),
        log_format: reader.read(
            "server.log_format",
            LogFormat::Text,
            "`text` or `json`",
            kinds::word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        ),
        log_level: reader.read(
            "server.log_level",
            "info".into(),
            "`error`, `warn`, `info`, `debug`, `trace` or a filter such as `info,atelier_engine=debug`",
            log_filter,
        ),
        disk_reserve_mib: reader.read(
            "server.disk_reserve_mib",
            512,
            "a whole number of MiB, 0 to 1000000000",
            kinds::integer(0..=1_000_000_000),
        ),
    }
}

/// What `tls.certificate` says in place of a file.
const SELF_MADE: &str = "self-made";

pub(super) fn tls(reader: &mut Reader) -> Tls {
    let certificate = reader.read("tls.certificate", None, "an absolute path, or `self-made`", |raw| {
        let own = kinds::text(raw).filter(|text| text == SELF_MADE).map(PathBuf::from);
        own.or_else(|| kinds::path(raw)).map(Some)
    });
    let key = reader.read("tls.key", None, "an absolute path", |raw| kinds::path(raw).map(Some));
    match (certificate, key) {
        (None, None) => Tls::Off,
        (Some(certificate), None) if certificate.as_os_str() == SELF_MADE => Tls::SelfMade,
        (Some(certificate), Some(key)) if certificate.as_os_str() != SELF_MADE => Tls::Files { certificate, key },
        (Some(_), Some(_)) => {
            reader.blame(&["tls.key"], format!("`tls.key` must not be set when `tls.certificate` is `{SELF_MADE}`"));
            Tls::Off
        }
        // Both were written, and one of them is wrong in itself: that has been said.
        _ if reader.source_of("tls.certificate").is_some() && reader.source_of("tls.key").is_some() => Tls::Off,
        _ => {
            let message =
                format!("`tls.certificate` and `tls.key` need one another, unless the former is `{SELF_MADE}`");
            reader.blame(&["tls.certificate", "tls.key"], message);
            Tls::Off
        }
    }
}

fn log_filter(raw: &super::Raw) -> Option<String> {
    let text = kinds::text(raw)?;
    let filter: tracing_subscriber::EnvFilter = text.parse().ok()?;
    // A bare word that is no level reads as the name of a module: not what `log_level = "infos"` means.
    let bare_word_is_level = text
        .split(',')
        .filter(|part| !part.contains('='))
        .all(|part| part.parse::<tracing::level_filters::LevelFilter>().is_ok());
    drop(filter);
    bare_word_is_level.then_some(text)
}

pub(super) fn runtime(reader: &mut Reader) -> RuntimeKind {
    let kinds = [RuntimeKind::Local, RuntimeKind::Simulated].map(|kind| (kind.as_str(), kind));
    reader.read("runtime.kind", RuntimeKind::Local, "`local` or `simulated`", kinds::word(&kinds))
}

pub(super) fn local(reader: &mut Reader, default_cache_dir: &Path) -> Local {
    let factor = || kinds::integer(1..=1024);
    let factor_wanted = "a whole number, 1 to 1024";
    Local {
        cpu_overcommit: reader.read("local.cpu_overcommit", 16, factor_wanted, factor()),
        memory_overcommit: reader.read("local.memory_overcommit", 8, factor_wanted, factor()),
        cache_dir: reader.read("local.cache_dir", default_cache_dir.to_owned(), "an absolute path", kinds::path),
        disk: disk(reader),
        egress: reader.read("local.egress", true, "true or false", kinds::boolean),
        zygote: reader.read("local.zygote", true, "true or false", kinds::boolean),
        closed_networks: reader.read(
            "local.closed_networks",
            Vec::new(),
            "a list of IPv4 networks such as 10.0.0.0/8",
            kinds::list(kinds::network),
        ),
        dns: reader.read("local.dns", Vec::new(), "a list of IPv4 addresses", kinds::list(kinds::parsed)),
        uid_base: reader.read(
            "local.uid_base",
            1_000_000,
            "a whole number, 65536 to 4000000000",
            kinds::integer(65_536..=4_000_000_000),
        ),
        ca_file: reader.read("local.ca_file", None, "an absolute path", |raw| kinds::path(raw).map(Some)),
        nvml: reader.read("local.nvml", None, "an absolute path", |raw| kinds::path(raw).map(Some)),
        environment: reader.read_table(
            "local.environment",
            "the name of an environment variable and a text",
            is_variable_name,
        ),
    }
}

fn disk(reader: &mut Reader) -> DiskLimits {
    let mut limit = |key, unit: u64| {
        let wanted = "a whole number, 1 to 1000000, or 0 for no limit";
        let number = reader.read(key, 0_u64, wanted, kinds::integer(0..=1_000_000));
        NonZeroU64::new(number * unit)
    };
    DiskLimits {
        read_bytes: limit("local.disk_read_mib", 1 << 20),
        write_bytes: limit("local.disk_write_mib", 1 << 20),
        read_operations: limit("local.disk_read_operations", 1),
        write_operations: limit("local.disk_write_operations", 1),
    }
}

pub(super) fn image(reader: &mut Reader) -> Image {
    Image {
        sources: reader
            .read("image.sources", None, "a text, in one of apt's formats", |raw| kinds::text(raw).map(Some)),
        share_credentials: reader.read("image.share_credentials", false, "true or false", kinds::boolean),
    }
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn volumes(reader: &mut Reader) -> Volumes {
    let hours = |raw: &super::Raw| kinds::integer::<i64>(0..=87_600)(raw).map(|hours| hours * 3_600_000);
    let gib = kinds::integer(i64::from(MIN_VOLUME_GIB)..=i64::from(MAX_VOLUME_GIB));
    let gib_wanted = format!("a whole number of GiB, {MIN_VOLUME_GIB} to {MAX_VOLUME_GIB}");
    Volumes {
        trash_ms: reader.read("volumes.trash_hours", 86_400_000, "a whole number of hours, 0 to 87600", hours),
        shared_gib: reader.read("volumes.shared_gib", DEFAULT_SHARED_GIB, &gib_wanted, gib),
    }
}

pub(super) fn lease(reader: &mut Reader) -> GrantRange {
    let positive = || kinds::integer(1..=i64::MAX / 4);
    let wanted = "a whole number of milliseconds, 1 or more";
    let contract = GrantRange::CONTRACT;
    let range = GrantRange {
        min_ms: reader.read("lease.min_ms", contract.min_ms, wanted, positive()),
        max_ms: reader.read("lease.max_ms", contract.max_ms, wanted, positive()),
        default_ms: reader.read("lease.default_ms", contract.default_ms, wanted, positive()),
    };
    let GrantRange { min_ms, max_ms, default_ms } = range;
    if min_ms > max_ms {
        reader.blame(
            &["lease.min_ms", "lease.max_ms"],
            format!("`lease.min_ms` ({min_ms}) must not be larger than `lease.max_ms` ({max_ms})"),
        );
    } else if !(min_ms..=max_ms).contains(&default_ms) && reader.source_of("lease.default_ms").is_some() {
        reader.blame(
            &["lease.default_ms"],
            format!("`lease.default_ms` must be {min_ms} to {max_ms}, as `lease.min_ms` and `lease.max_ms` say, not {default_ms}"),
        );
    }
    // A default that nobody wrote follows the range that somebody wrote.
    GrantRange { default_ms: default_ms.max(min_ms).min(max_ms), ..range }
}

/// What [`seconds`] takes.
const SECONDS: &str = "a whole number of seconds, 1 to 86400";

/// Seconds, as milliseconds.
fn seconds(raw: &Raw) -> Option<i64> {
    kinds::integer::<i64>(1..=86_400)(raw).map(|seconds| seconds * 1000)
}

pub(super) fn idle(reader: &mut Reader) -> ActivityConfig {
    let millis = || kinds::integer::<u32>(0..=1_000_000);
    let millis_wanted = "thousandths of a CPU, 0 to 1000000";
    let ActivityConfig { period_ms, rules: usual } = ActivityConfig::default();
    let period_ms = reader.read("idle.look_seconds", period_ms, SECONDS, seconds);
    let rules = Rules {
        cpu_window_ms: reader.read("idle.cpu_window_seconds", usual.cpu_window_ms, SECONDS, seconds),
        cpu_margin_millis: reader.read("idle.cpu_margin_millis", usual.cpu_margin_millis, millis_wanted, millis()),
        cpu_baseline_most_millis: reader.read(
            "idle.cpu_baseline_most_millis",
            usual.cpu_baseline_most_millis,
            millis_wanted,
            millis(),
        ),
        unknown_ceiling_ms: reader.read("idle.unknown_ceiling_seconds", usual.unknown_ceiling_ms, SECONDS, seconds),
        starting_most_ms: reader.read("idle.starting_most_seconds", usual.starting_most_ms, SECONDS, seconds),
        // A look may come late when the machine is busy; several that do not come are a gap.
        gap_most_ms: period_ms * 4 + 60_000,
    };
    ActivityConfig { period_ms, rules }
}

pub(super) fn hooks(reader: &mut Reader) -> Duration {
    let seconds = |raw: &super::Raw| kinds::integer(1..=86_400)(raw).map(Duration::from_secs);
    reader.read("hooks.limit_seconds", EngineConfig::default().hook_limit, SECONDS, seconds)
}

pub(super) fn restart(reader: &mut Reader) -> RestartConfig {
    let usual = RestartConfig::default();
    RestartConfig {
        most: reader.read("restart.most", usual.most, "a whole number, 0 to 1000", kinds::integer(0..=1000)),
        within_ms: reader.read("restart.within_seconds", usual.within_ms, SECONDS, seconds),
    }
}

pub(super) fn quota(reader: &mut Reader) -> u32 {
    let key = "quota.notebooks_per_user";
    reader.read(key, DEFAULT_NOTEBOOKS_PER_USER, "a whole number, 0 to 1000000", kinds::integer(0..=1_000_000))
}

pub(super) fn limits(reader: &mut Reader) -> Limits {
    let seconds = |raw: &super::Raw| kinds::integer(1..=3600)(raw).map(Duration::from_secs);
    let seconds_wanted = "a whole number of seconds, 1 to 3600";
    Limits {
        requests_per_second: reader.read(
            "limits.requests_per_second",
            100,
            "a whole number, 1 to 1000000",
            kinds::integer(1..=1_000_000),
        ),
        connections: reader.read(
            "limits.connections",
            4096,
            "a whole number, 8 to 1000000",
            kinds::integer(8..=1_000_000),
        ),
        head: reader.read("limits.head_seconds", Duration::from_secs(10), seconds_wanted, seconds),
        drain: reader.read("limits.drain_seconds", Duration::from_secs(10), seconds_wanted, seconds),
        commands_per_notebook: reader.read(
            "limits.commands_per_notebook",
            8,
            "a whole number, 0 to 16",
            kinds::integer(0..=16),
        ),
    }
}

pub(super) fn retention(reader: &mut Reader) -> Retention {
    Retention {
        history_days: reader.read(
            "retention.history_days",
            90,
            "a whole number of days, 1 to 36500",
            kinds::integer(1..=36_500),
        ),
    }
}

pub(super) fn iam(reader: &mut Reader) -> Iam {
    Iam {
        region: reader.read("iam.region", "local".into(), "1 to 64 letters, digits, `-` or `_`", |raw| {
            kinds::text(raw).filter(|text| {
                text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            })
        }),
        token_hours: reader.read("iam.token_hours", 24, "a whole number of hours, 1 to 8760", kinds::integer(1..=8760)),
    }
}
