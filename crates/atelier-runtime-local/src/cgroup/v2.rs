//! Version 2: one hierarchy; a folder has the controllers that its parent hands down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_runtime::Memory;

use super::{CgroupTree, Entry, Limits, PARENT, held, mounts, no_number, number, read, write};

/// The period in which a CPU quota counts, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The hierarchy.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The hierarchy of a machine that has only one.
    pub(super) fn find(mountinfo: &str) -> Option<Self> {
        let mount = mounts(mountinfo).find(|m| m.kind == "cgroup2")?;
        Some(Self { root: mount.point.to_owned() })
    }

    fn hand_down(folder: &Path) -> io::Result<()> {
        let file = folder.join("cgroup.subtree_control");
        ["+cpu", "+memory", "+pids"].into_iter().try_for_each(|controller| write(&file, controller))
    }
}

impl CgroupTree for Tree {
    fn create(&self, name: &str, limits: &Limits) -> io::Result<()> {
        let parent = self.root.join(PARENT);
        let folder = parent.join(name);
        fs::create_dir_all(&folder)?;
        Self::hand_down(&self.root)?;
        Self::hand_down(&parent)?;
        let quota = u64::from(limits.cpu_millis) * PERIOD_US / 1000;
        write(&folder.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
        write(&folder.join("memory.max"), &limits.memory_bytes.to_string())?;
        let swap = folder.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0")?;
        }
        write(&folder.join("pids.max"), &limits.pids.to_string())
    }

    fn roots(&self) -> Vec<&Path> {
        vec![&self.root]
    }

    fn entry(&self, name: &str) -> Entry {
        // The launcher joins as well, so that it is found with everything that it starts.
        Entry { join: vec![self.root.join(PARENT).join(name).join("cgroup.procs")], warm_up: None }
    }

    fn cpu_time(&self, name: &str) -> io::Result<Duration> {
        let file = self.root.join(PARENT).join(name).join("cpu.stat");
        let text = read(&file)?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
        micros.map(Duration::from_micros).ok_or_else(|| no_number(&file))
    }

    fn memory(&self, name: &str) -> Memory {
        let folder = self.root.join(PARENT).join(name);
        // Linux counts the peak since 5.19.
        let of = |file: &str| number(&folder.join(file));
        let used = held(&folder, "memory.current", "inactive_file ");
        Memory { used, peak: of("memory.peak"), limit: of("memory.max") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::UNIFIED;
    use super::*;

    #[test]
    fn limits_become_the_files_of_version_2() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree { root: root.path().to_owned() };
        tree.create("x", &Limits { cpu_millis: 1500, memory_bytes: 1 << 30, pids: 7 }).unwrap();
        let read = |file: &str| fs::read_to_string(root.path().join("atelier").join(file)).unwrap();
        assert_eq!(read("x/cpu.max"), "150000 100000");
        assert_eq!(read("x/memory.max"), "1073741824");
        assert_eq!(read("x/pids.max"), "7");
        assert_eq!(tree.memory("x"), Memory { used: None, peak: None, limit: Some(1 << 30) });
        fs::write(root.path().join("atelier/x/memory.current"), "5000\n").unwrap();
        fs::write(root.path().join("atelier/x/memory.stat"), "active_file 7\ninactive_file 1000\n").unwrap();
        assert_eq!(tree.memory("x").used, Some(4000));
        assert_eq!(read("cgroup.subtree_control"), "+pids");
        let stat = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        fs::write(root.path().join("atelier/x/cpu.stat"), stat).unwrap();
        assert_eq!(tree.cpu_time("x").unwrap(), Duration::from_micros(1500));
        assert!(tree.cpu_time("y").unwrap_err().to_string().contains("cpu.stat"));
    }

    #[test]
    fn the_only_hierarchy_is_found() {
        assert_eq!(Tree::find(UNIFIED).unwrap().root, Path::new("/sys/fs/cgroup"));
    }
}
