//! Version 2: one hierarchy; a folder has the controllers that its parent hands down.
//!
//! A group that hands controllers down has no processes of its own. So an instance's folder has nothing but its limits, and
//! below it one group for its kernels each, and one, [`SEAT`], for everything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_runtime::Memory;

use super::weight::VERSION_2;
use super::{
    CgroupTree, Entry, KERNEL_COUNTS, Limits, PARENT, Throttle, Weight, held, mounts, no_number, number, read, write,
};
use crate::config::DiskLimits;
use crate::gpu::Node;

/// The period in which a CPU quota counts, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Where an instance's processes are that are in no other group below its own.
const SEAT: &str = "seat";

/// The hierarchy.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The hierarchy of a machine that has only one.
    pub(super) fn find(mountinfo: &str) -> Option<Self> {
        let mount = mounts(mountinfo).find(|m| m.kind == "cgroup2")?;
        Some(Self { root: mount.point })
    }

    /// `disk`: what is not wanted is not handed down, since not every kernel has it.
    fn hand_down(folder: &Path, disk: &DiskLimits) -> io::Result<()> {
        let file = folder.join("cgroup.subtree_control");
        let io = disk.named().next().map(|_| "+io");
        ["+cpu", "+memory", "+pids"].into_iter().chain(io).try_for_each(|controller| write(&file, controller))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(PARENT).join(name)
    }
}

impl CgroupTree for Tree {
    fn create(&self, name: &str, limits: &Limits) -> io::Result<()> {
        let parent = self.root.join(PARENT);
        let folder = parent.join(name);
        fs::create_dir_all(folder.join(SEAT))?;
        Self::hand_down(&self.root, &limits.disk)?;
        Self::hand_down(&parent, &limits.disk)?;
        let quota = u64::from(limits.cpu_millis) * PERIOD_US / 1000;
        write(&folder.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
        self.limit_memory(name, limits.memory_bytes)?;
        write(&folder.join("cgroup.subtree_control"), "+memory")?;
        write(&folder.join("pids.max"), &limits.pids.to_string())
    }

    fn roots(&self) -> Vec<&Path> {
        vec![&self.root]
    }

    fn entry(&self, name: &str) -> Entry {
        Entry { born_in: Some(self.folder(name).join(SEAT)), join: Vec::new() }
    }

    fn throttles(&self, name: &str, disk: &DiskLimits) -> Vec<Throttle> {
        let limits: Vec<_> = disk.named().map(|(_, kind, limit)| format!("{kind}={limit}")).collect();
        if limits.is_empty() {
            return Vec::new();
        }
        vec![Throttle { file: self.folder(name).join("io.max"), limit: limits.join(" ") }]
    }

    fn allow_devices(&self, _: &str, _: &[Node]) -> io::Result<()> {
        Ok(())
    }

    fn limits_disks(&self) -> bool {
        let all = fs::read_to_string(self.root.join("cgroup.controllers")).unwrap_or_default();
        all.split_whitespace().any(|controller| controller == "io")
    }

    fn cpu_time(&self, name: &str) -> io::Result<Duration> {
        cpu_time(&self.folder(name))
    }

    fn work(&self, name: &str) -> io::Result<Duration> {
        work(&self.folder(name))
    }

    fn work_of_all(&self) -> io::Result<Duration> {
        work(&self.root.join(PARENT))
    }

    fn cpu_millis(&self, name: &str) -> io::Result<u32> {
        let file = self.folder(name).join("cpu.max");
        let text = read(&file)?;
        let quota = text.split(' ').next().and_then(|quota| quota.parse::<u64>().ok());
        quota.and_then(|quota| (quota * 1000 / PERIOD_US).try_into().ok()).ok_or_else(|| no_number(&file))
    }

    fn weigh(&self, name: &str, cpu_millis: u32, weight: Weight) -> io::Result<()> {
        VERSION_2.apply(&self.folder(name), cpu_millis, weight)
    }

    fn memory_folder(&self, name: &str) -> PathBuf {
        self.folder(name)
    }

    fn limit_memory(&self, name: &str, bytes: u64) -> io::Result<()> {
        let folder = self.folder(name);
        write(&folder.join("memory.max"), &bytes.to_string())?;
        let swap = folder.join("memory.swap.max");
        if swap.exists() { write(&swap, "0") } else { Ok(()) }
    }

    fn memory(&self, name: &str) -> Memory {
        let folder = self.folder(name);
        // Linux counts the peak since 5.19.
        let of = |file: &str| number(&folder.join(file));
        let used = held(&folder, "memory.current", "inactive_file ");
        Memory { used, peak: of("memory.peak"), limit: of("memory.max") }
    }
}

/// What the folder's group has taken, with all groups below.
fn cpu_time(folder: &Path) -> io::Result<Duration> {
    let file = folder.join("cpu.stat");
    micros(&read(&file)?, "usage_usec ").ok_or_else(|| no_number(&file))
}

fn work(folder: &Path) -> io::Result<Duration> {
    let file = folder.join("cpu.stat");
    let text = read(&file)?;
    let all = micros(&text, "usage_usec ").ok_or_else(|| no_number(&file))?;
    Ok(all + micros(&text, "system_usec ").unwrap_or_default() * (KERNEL_COUNTS - 1))
}

/// What the line that begins so says.
fn micros(stat: &str, name: &str) -> Option<Duration> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::super::UNIFIED;
    use super::*;

    #[test]
    fn limits_become_the_files_of_version_2() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree { root: root.path().to_owned() };
        let disk = DiskLimits::default();
        assert_eq!(tree.throttles("x", &disk), []);
        tree.create("x", &Limits { cpu_millis: 1500, memory_bytes: 1 << 30, pids: 7, disk }).unwrap();
        let read = |file: &str| fs::read_to_string(root.path().join("atelier").join(file)).unwrap();
        assert_eq!(read("x/cpu.max"), "150000 100000");
        assert_eq!(tree.cpu_millis("x").unwrap(), 1500);
        tree.weigh("x", 1500, Weight::Low).unwrap();
        assert_eq!(read("x/cpu.weight"), "3");
        fs::write(root.path().join("atelier/x/cpu.max"), "max 100000\n").unwrap();
        assert!(tree.cpu_millis("x").unwrap_err().to_string().contains("cpu.max"));
        assert_eq!(read("x/memory.max"), "1073741824");
        assert_eq!(read("x/pids.max"), "7");
        assert_eq!(tree.memory("x"), Memory { used: None, peak: None, limit: Some(1 << 30) });
        fs::write(root.path().join("atelier/x/memory.current"), "5000\n").unwrap();
        fs::write(root.path().join("atelier/x/memory.stat"), "active_file 7\ninactive_file 1000\n").unwrap();
        assert_eq!(tree.memory("x").used, Some(4000));
        assert_eq!(read("cgroup.subtree_control"), "+pids");
        let limit = NonZeroU64::new;
        let disk = DiskLimits { read_bytes: limit(1 << 20), write_operations: limit(50), ..disk };
        let [Throttle { file, limit }] = tree.throttles("x", &disk).try_into().unwrap();
        assert_eq!((file, limit.as_str()), (root.path().join("atelier/x/io.max"), "rbps=1048576 wiops=50"));
        tree.create("x", &Limits { cpu_millis: 1500, memory_bytes: 1 << 30, pids: 7, disk }).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+io");
        let stat = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        fs::write(root.path().join("atelier/x/cpu.stat"), stat).unwrap();
        assert_eq!(tree.cpu_time("x").unwrap(), Duration::from_micros(1500));
        assert!(tree.cpu_time("y").unwrap_err().to_string().contains("cpu.stat"));
        fs::write(root.path().join("atelier/cpu.stat"), "usage_usec 2500\n").unwrap();
        assert_eq!(tree.work_of_all().unwrap(), Duration::from_micros(2500));
        assert_eq!(tree.work("x").unwrap(), Duration::from_millis(3));
    }

    #[test]
    fn the_only_hierarchy_is_found() {
        assert_eq!(Tree::find(UNIFIED).unwrap().root, Path::new("/sys/fs/cgroup"));
    }
}
