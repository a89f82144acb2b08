//! What the local runtime is told by the configuration.

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use atelier_init::protocol::LogLimits;
use atelier_runtime::Root;

/// The local runtime's configuration.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// The data folder. Closed to everyone but root, because ids on disk are not shifted.
    pub data_dir: PathBuf,
    /// Where sockets and mount points live; shared by all data folders of the machine. Keep it short: the path of a
    /// Unix socket has at most 107 bytes.
    pub run_dir: PathBuf,
    /// How to run the launcher.
    pub launcher: Launcher,
    /// The first host uid given to notebooks; each of them gets 65,536 from here on.
    pub uid_base: u32,
    /// How much a notebook may change in its image, in GiB: what it installs and everything outside of its volume.
    pub layer_gib: u32,
    /// How many processes and threads a notebook may have.
    pub pids: u32,
    /// What every notebook finds in its environment: proxy and package-index settings.
    pub environment: Vec<(String, String)>,
    /// The certificates that notebooks trust, when the image's own are not enough.
    pub ca_bundle: Option<PathBuf>,
    /// How fast a notebook may read and write.
    pub disk: DiskLimits,
    /// The folders that notebooks can have as dedicated volumes.
    pub roots: Vec<Root>,
    /// What notebooks may reach.
    pub network: NetworkConfig,
    /// Whether notebook servers are forked from a process that has imported them; else each is started by its command
    /// line.
    pub zygote: bool,
    /// How much of a notebook server's log is kept.
    pub log: LogLimits,
    /// NVIDIA's management library, where the loader does not find it by itself.
    pub nvml: Option<PathBuf>,
}

impl LocalConfig {
    /// The defaults for a data folder.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            run_dir: PathBuf::from("/run/atelier"),
            launcher: Launcher::default(),
            uid_base: 1_000_000,
            layer_gib: 20,
            pids: 4096,
            environment: Vec::new(),
            ca_bundle: None,
            disk: DiskLimits::default(),
            roots: Vec::new(),
            network: NetworkConfig::default(),
            zygote: true,
            log: LogLimits { file_bytes: 8 << 20, files: 2 },
            nvml: None,
        }
    }
}

/// A program that calls [`launcher_main`](crate::launcher_main).
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Default for Launcher {
    /// The running program, also when its file has been replaced since, with the hidden subcommand.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec!["launch-instance".into()] }
    }
}

/// What a notebook may do in a second with each of its two disks, the volume and its own layer; `None`: as much as it
/// gets. What it writes counts when it waits for that, as `fsync` and direct writes do, and on control groups of version 2
/// always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskLimits {
    /// Bytes that it reads.
    pub read_bytes: Option<NonZeroU64>,
    /// Bytes that it writes.
    pub write_bytes: Option<NonZeroU64>,
    /// Times that it reads.
    pub read_operations: Option<NonZeroU64>,
    /// Times that it writes.
    pub write_operations: Option<NonZeroU64>,
}

impl DiskLimits {
    /// Those that are set, each with what version 1 and version 2 of control groups call it.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, NonZeroU64)> {
        [
            ("read_bps", "rbps", self.read_bytes),
            ("write_bps", "wbps", self.write_bytes),
            ("read_iops", "riops", self.read_operations),
            ("write_iops", "wiops", self.write_operations),
        ]
        .into_iter()
        .filter_map(|(first, second, limit)| Some((first, second, limit?)))
    }
}

/// What notebooks may reach.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Whether they reach anything at all outside of themselves.
    pub egress: bool,
    /// Further IPv4 networks that are closed to them, such as `192.168.0.0/16`.
    pub closed: Vec<String>,
    /// The name servers they use; when empty, the machine's own upstream servers.
    pub name_servers: Vec<Ipv4Addr>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { egress: true, closed: Vec::new(), name_servers: Vec::new() }
    }
}
