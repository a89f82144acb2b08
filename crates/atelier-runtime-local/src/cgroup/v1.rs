//! Version 1: a hierarchy per controller, a named one for the service manager, and often a version 2 tree without
//! controllers, which still knows how to kill.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_runtime::Memory;

use super::weight::VERSION_1;
use super::{
    CgroupTree, Entry, KERNEL_COUNTS, Limits, PARENT, Throttle, Weight, held, mounts, no_number, number, read, write,
};
use crate::config::DiskLimits;
use crate::gpu::Node;

/// The period in which a CPU quota counts, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The part of its memory that a group may have once more for what its sockets buffer.
const NETWORK_SHARE: u64 = 8;

/// What every program may open: `null`, `zero`, `full`, `random`, `urandom`, `tty`, `ptmx`, and terminals.
const DEVICES: [&str; 8] =
    ["c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw", "c 5:0 rw", "c 5:2 rw", "c 136:* rw"];

/// The hierarchies.
#[derive(Debug)]
pub(super) struct Tree {
    cpu: PathBuf,
    /// What counts processor time: often beside the limits, sometimes a hierarchy of its own.
    account: PathBuf,
    memory: PathBuf,
    pids: PathBuf,
    /// What slows disks down, where the kernel can.
    block: Option<PathBuf>,
    /// What lists the devices that may be opened.
    devices: Option<PathBuf>,
    /// The service manager's.
    named: Vec<PathBuf>,
    /// The tree of version 2, which has no controllers.
    plain: Option<PathBuf>,
    roots: Vec<PathBuf>,
}

impl Tree {
    /// The hierarchies of a machine; `None` when the four that limit and count are not all of this version.
    pub(super) fn find(mountinfo: &str) -> Option<Self> {
        let all: Vec<_> = mounts(mountinfo).filter(|m| matches!(m.kind, "cgroup" | "cgroup2")).collect();
        let controller = |name: &str| {
            let of = |m: &&super::Mount<'_>| m.kind == "cgroup" && m.options.split(',').any(|o| o == name);
            all.iter().find(of).map(|m| m.point.clone())
        };
        let named = all.iter().filter(|m| m.kind == "cgroup" && m.options.contains("name="));
        let plain = all.iter().find(|m| m.kind == "cgroup2");
        Some(Self {
            cpu: controller("cpu")?,
            account: controller("cpuacct")?,
            memory: controller("memory")?,
            pids: controller("pids")?,
            block: controller("blkio"),
            devices: controller("devices"),
            named: named.map(|m| m.point.clone()).collect(),
            plain: plain.map(|m| m.point.clone()),
            roots: all.iter().map(|m| m.point.clone()).collect(),
        })
    }

    /// The hierarchies of version 1 that do something for an instance.
    fn joined(&self) -> impl Iterator<Item = &PathBuf> {
        let account = (self.account != self.cpu).then_some(&self.account);
        [&self.cpu, &self.memory, &self.pids]
            .into_iter()
            .chain(account)
            .chain(&self.block)
            .chain(&self.devices)
            .chain(&self.named)
    }
}

impl CgroupTree for Tree {
    fn create(&self, name: &str, limits: &Limits) -> io::Result<()> {
        let folder = |root: &Path| root.join(PARENT).join(name);
        self.joined().chain(&self.plain).try_for_each(|root| fs::create_dir_all(folder(root)))?;
        let cpu = folder(&self.cpu);
        write(&cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        write(&cpu.join("cpu.cfs_quota_us"), &(u64::from(limits.cpu_millis) * PERIOD_US / 1000).to_string())?;
        self.limit_memory(name, limits.memory_bytes)?;
        write(&folder(&self.pids).join("pids.max"), &limits.pids.to_string())
    }

    fn roots(&self) -> Vec<&Path> {
        // The one that can kill everything at once comes first, and those that nothing joins last.
        let mut roots: Vec<_> = self.roots.iter().map(PathBuf::as_path).collect();
        let joined: Vec<_> = self.joined().map(PathBuf::as_path).collect();
        roots.sort_by_key(|root| (self.plain.as_deref() != Some(root), !joined.contains(root)));
        roots
    }

    fn entry(&self, name: &str) -> Entry {
        let folder = |root: &PathBuf| root.join(PARENT).join(name);
        Entry {
            born_in: self.plain.as_ref().map(folder),
            join: self.joined().map(|root| folder(root).join("tasks")).collect(),
        }
    }

    fn throttles(&self, name: &str, disk: &DiskLimits) -> Vec<Throttle> {
        let throttle = |root: &Path, kind: &str, limit: NonZeroU64| Throttle {
            file: root.join(PARENT).join(name).join(format!("blkio.throttle.{kind}_device")),
            limit: limit.to_string(),
        };
        let of = |root: &PathBuf| disk.named().map(|(kind, _, limit)| throttle(root, kind, limit)).collect::<Vec<_>>();
        self.block.iter().flat_map(of).collect()
    }

    fn allow_devices(&self, name: &str, nodes: &[Node]) -> io::Result<()> {
        let Some(root) = &self.devices else { return Ok(()) };
        let folder = root.join(PARENT).join(name);
        write(&folder.join("devices.deny"), "a")?;
        let own = nodes.iter().map(|node| format!("c {}:{} rw", node.major, node.minor));
        let file = folder.join("devices.allow");
        DEVICES.map(str::to_owned).into_iter().chain(own).try_for_each(|device| write(&file, &device))
    }

    fn limits_disks(&self) -> bool {
        self.block.is_some()
    }

    fn cpu_time(&self, name: &str) -> io::Result<Duration> {
        cpu_time(&self.account.join(PARENT).join(name))
    }

    fn work(&self, name: &str) -> io::Result<Duration> {
        work(&self.account.join(PARENT).join(name))
    }

    fn work_of_all(&self) -> io::Result<Duration> {
        work(&self.account.join(PARENT))
    }

    fn cpu_millis(&self, name: &str) -> io::Result<u32> {
        let file = self.cpu.join(PARENT).join(name).join("cpu.cfs_quota_us");
        let quota = read(&file)?.trim().parse().ok().and_then(|quota: u64| (quota * 1000 / PERIOD_US).try_into().ok());
        quota.ok_or_else(|| no_number(&file))
    }

    fn weigh(&self, name: &str, cpu_millis: u32, weight: Weight) -> io::Result<()> {
        VERSION_1.apply(&self.cpu.join(PARENT).join(name), cpu_millis, weight)
    }

    fn memory_folder(&self, name: &str) -> PathBuf {
        self.memory.join(PARENT).join(name)
    }

    fn limit_memory(&self, name: &str, bytes: u64) -> io::Result<()> {
        let folder = self.memory_folder(name);
        write(&folder.join("memory.limit_in_bytes"), &bytes.to_string())?;
        let with_swap = folder.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, &bytes.to_string())?;
        }
        // Version 2 counts this as memory. Without a limit, one group could take what the whole machine may buffer; and of a
        // group that has none itself nothing is counted, also not for the group above it.
        let buffers = folder.join("memory.kmem.tcp.limit_in_bytes");
        if buffers.exists() { write(&buffers, &(bytes / NETWORK_SHARE).to_string()) } else { Ok(()) }
    }

    fn memory(&self, name: &str) -> Memory {
        let folder = self.memory_folder(name);
        let of = |file: &str| number(&folder.join(file));
        let used = held(&folder, "memory.usage_in_bytes", "total_inactive_file ");
        Memory { used, peak: of("memory.max_usage_in_bytes"), limit: of("memory.limit_in_bytes") }
    }
}

/// What the folder's group has taken, with all groups below.
fn cpu_time(folder: &Path) -> io::Result<Duration> {
    let file = folder.join("cpuacct.usage");
    read(&file)?.trim().parse().map(Duration::from_nanos).map_err(|_| no_number(&file))
}

fn work(folder: &Path) -> io::Result<Duration> {
    let of_kernel = number(&folder.join("cpuacct.usage_sys")).unwrap_or_default();
    Ok(cpu_time(folder)? + Duration::from_nanos(of_kernel) * (KERNEL_COUNTS - 1))
}

#[cfg(test)]
mod tests {
    use super::super::{HYBRID, UNIFIED};
    use super::*;

    #[test]
    fn a_hybrid_machine_has_controllers_and_plain_hierarchies() {
        let tree = Tree::find(HYBRID).unwrap();
        assert_eq!(tree.cpu, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(tree.roots().len(), 7);
        let disk = DiskLimits { write_bytes: NonZeroU64::new(4096), ..DiskLimits::default() };
        let throttles = tree.throttles("x", &disk);
        assert_eq!(throttles.len(), 1);
        assert_eq!(throttles[0].file, Path::new("/sys/fs/cgroup/blkio/atelier/x/blkio.throttle.write_bps_device"));
        assert_eq!(throttles[0].limit, "4096");
        let Entry { born_in, join } = tree.entry("x");
        assert_eq!(born_in.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/atelier/x")));
        let file = |root| Path::new("/sys/fs/cgroup").join(root).join("atelier/x/tasks");
        assert_eq!(join, ["cpu,cpuacct", "memory", "pids", "blkio", "devices", "systemd"].map(file));
        assert!(Tree::find(UNIFIED).is_none());
    }

    #[test]
    fn limits_become_the_files_of_version_1() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let tree = Tree {
            cpu: at("cpu"),
            account: at("cpuacct"),
            memory: at("memory"),
            pids: at("pids"),
            block: None,
            devices: Some(at("devices")),
            named: vec![],
            plain: None,
            roots: vec![],
        };
        let buffers = at("memory/atelier/x/memory.kmem.tcp.limit_in_bytes");
        fs::create_dir_all(buffers.parent().unwrap()).unwrap();
        fs::write(buffers, "").unwrap();
        tree.create("x", &Limits { cpu_millis: 500, memory_bytes: 1 << 29, pids: 77, disk: DiskLimits::default() })
            .unwrap();
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        assert_eq!(read("cpu/atelier/x/cpu.cfs_quota_us"), "50000");
        assert_eq!(tree.cpu_millis("x").unwrap(), 500);
        tree.weigh("x", 500, Weight::Low).unwrap();
        assert_eq!(read("cpu/atelier/x/cpu.shares"), "12");
        fs::write(at("cpu/atelier/x/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert!(tree.cpu_millis("x").unwrap_err().to_string().contains("cpu.cfs_quota_us"));
        assert_eq!(read("memory/atelier/x/memory.limit_in_bytes"), "536870912");
        assert_eq!(read("memory/atelier/x/memory.kmem.tcp.limit_in_bytes"), "67108864");
        assert_eq!(read("pids/atelier/x/pids.max"), "77");
        tree.allow_devices("x", &[Node { path: "/dev/nvidia0".into(), major: 195, minor: 0 }]).unwrap();
        assert_eq!(read("devices/atelier/x/devices.deny"), "a");
        assert_eq!(read("devices/atelier/x/devices.allow"), "c 195:0 rw");
        fs::write(at("memory/atelier/x/memory.max_usage_in_bytes"), "4096\n").unwrap();
        assert_eq!(tree.memory("x"), Memory { used: None, peak: Some(4096), limit: Some(1 << 29) });
        assert_eq!(tree.memory("y"), Memory::default());
        fs::write(at("cpuacct/atelier/x/cpuacct.usage"), "1500000000\n").unwrap();
        assert_eq!(tree.cpu_time("x").unwrap(), Duration::from_millis(1500));
        assert!(tree.cpu_time("y").unwrap_err().to_string().contains("cpuacct.usage"));
        fs::write(at("cpuacct/atelier/cpuacct.usage"), "2000000000\n").unwrap();
        assert_eq!(tree.work_of_all().unwrap(), Duration::from_secs(2));
        fs::write(at("cpuacct/atelier/x/cpuacct.usage_sys"), "500000000\n").unwrap();
        assert_eq!(tree.work("x").unwrap(), Duration::from_secs(3));
    }
}
