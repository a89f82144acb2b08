//! Control groups: what limits an instance, and what finds every one of its processes.
//!
//! A machine has either one hierarchy (version 2) or several (version 1, often with a version 2 tree without
//! controllers beside them). [`CgroupTree`] is the difference; everything else here works on the list of folders that
//! an instance has, one per hierarchy, and needs nobody's record of what was done: cleaning up reads the hierarchies.

#[cfg(test)]
mod enforced;
pub(crate) mod kernels;
mod v1;
mod v2;
mod weight;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atelier_runtime::Memory;

pub(crate) use self::weight::Weight;
use crate::config::DiskLimits;
use crate::file::{absent_is_none, names};
use crate::gpu::Node;
use crate::process::{self, Handle};

/// How often a second that the kernel computes for a group counts in its work: of what such calls cause (writing to disks,
/// taking memory apart, passing packets on) the kernel does a good part in threads of its own, which are in nobody's group.
pub(crate) const KERNEL_COUNTS: u32 = 4;

/// The folder below which all of ours are.
pub(crate) const PARENT: &str = "atelier";

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_millis: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) pids: u32,
    pub(crate) disk: DiskLimits,
}

/// How a process with one thread gets into an instance's cgroups: by itself, before it is anything else.
///
/// To move a process with all its threads, the kernel first has every processor of the machine notice it, which takes ten
/// to thirty milliseconds, more on an idle machine. It spares itself that for one thread which moves itself, in version 1;
/// and for a child that is born in the group, in version 2.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    /// The folder to be born in, where there is a hierarchy of version 2.
    pub(crate) born_in: Option<PathBuf>,
    /// The files of version 1 that take the thread which writes `0`.
    pub(crate) join: Vec<PathBuf>,
}

impl Entry {
    /// The same, open for whoever is handed it: a folder, if any, and files.
    pub(crate) fn open(&self) -> io::Result<Vec<fs::File>> {
        let folder = self.born_in.iter().map(fs::File::open);
        folder.chain(self.join.iter().map(|file| fs::File::options().write(true).open(file))).collect()
    }
}

/// A file that takes the number of a disk, and a limit for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Throttle {
    file: PathBuf,
    limit: String,
}

impl Throttle {
    /// Whoever is in the group uses this disk no faster afterwards.
    pub(crate) fn apply(&self, disk: u64) -> io::Result<()> {
        write(&self.file, &format!("{}:{} {}", rustix::fs::major(disk), rustix::fs::minor(disk), self.limit))
    }
}

/// The control groups of this machine.
pub(crate) trait CgroupTree: Send + Sync + std::fmt::Debug {
    /// The instance's folders exist afterwards, with these limits.
    fn create(&self, name: &str, limits: &Limits) -> io::Result<()>;

    /// The root folders of every hierarchy.
    fn roots(&self) -> Vec<&Path>;

    /// How to join.
    fn entry(&self, name: &str) -> Entry;

    /// What slows its disks down.
    fn throttles(&self, name: &str, disk: &DiskLimits) -> Vec<Throttle>;

    /// What is in the group opens these devices and those that every program needs, and no others, where this machine keeps
    /// such lists. Version 2 keeps none: there it counts that a notebook has no node of another device and can make none.
    fn allow_devices(&self, name: &str, nodes: &[Node]) -> io::Result<()>;

    /// Whether disks can be slowed down.
    fn limits_disks(&self) -> bool;

    /// The processor time that everything ever in the group has taken.
    fn cpu_time(&self, name: &str) -> io::Result<Duration>;

    /// The same, where what the kernel did for the group counts [`KERNEL_COUNTS`] times.
    fn work(&self, name: &str) -> io::Result<Duration>;

    /// That of all of our groups, also of those that are gone.
    fn work_of_all(&self) -> io::Result<Duration>;

    /// How much the group may use of the CPUs, in thousandths of one.
    fn cpu_millis(&self, name: &str) -> io::Result<u32>;

    /// What the group weighs from here on, where others want the same processor. `cpu_millis` is how much it may use.
    fn weigh(&self, name: &str, cpu_millis: u32, weight: Weight) -> io::Result<()>;

    /// The memory that the group holds and has held.
    fn memory(&self, name: &str) -> Memory;

    /// The group's folder in the hierarchy that limits memory.
    fn memory_folder(&self, name: &str) -> PathBuf;

    /// What is in the group holds no more than this together. Its folder exists.
    fn limit_memory(&self, name: &str, bytes: u64) -> io::Result<()>;
}

/// A file that holds one number and nothing else; `None` for a word such as `max`, and when there is no such file.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What a group holds without the cached files that nobody has used lately. `current` holds the bytes of all, `inactive`
/// begins the line of those files in `memory.stat`.
fn held(folder: &Path, current: &str, inactive: &str) -> Option<u64> {
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse().ok());
    Some(number(&folder.join(current))?.saturating_sub(idle.unwrap_or(0)))
}

/// What this machine has.
pub(crate) fn detect() -> io::Result<Box<dyn CgroupTree>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if let Some(tree) = v1::Tree::find(&mounts) {
        return Ok(Box::new(tree));
    }
    match v2::Tree::find(&mounts) {
        Some(tree) => Ok(Box::new(tree)),
        None => Err(io::Error::new(ErrorKind::Unsupported, "no control groups are mounted")),
    }
}

/// Where control groups are mounted for this process; what is on another mount comes behind it.
pub(crate) fn points() -> io::Result<Vec<PathBuf>> {
    let all = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts(&all).filter(|m| matches!(m.kind, "cgroup" | "cgroup2")).map(|m| m.point).collect())
}

/// A path without what mountinfo writes for spaces, tabs, ends of lines and backslashes.
fn unescaped(path: &str) -> PathBuf {
    let escapes = [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")];
    escapes.iter().fold(path.to_owned(), |text, (from, to)| text.replace(from, to)).into()
}

/// One mount, as `/proc/self/mountinfo` tells it.
struct Mount<'a> {
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Mount { point: unescaped(before.split(' ').nth(4)?), kind: after.next()?, options: after.nth(1)? })
    })
}

/// The folder of an instance in each hierarchy.
fn folders(tree: &dyn CgroupTree, name: &str) -> Vec<PathBuf> {
    tree.roots().into_iter().map(|root| root.join(PARENT).join(name)).collect()
}

/// The names of all groups that begin with `prefix`.
pub(crate) fn list(tree: &dyn CgroupTree, prefix: &str) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for root in tree.roots() {
        all.extend(names(&root.join(PARENT))?.into_iter().filter(|n| n.starts_with(prefix)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Every process of the group at this moment.
pub(crate) fn processes(tree: &dyn CgroupTree, name: &str) -> io::Result<Vec<i32>> {
    // The first hierarchy is one that every process of an instance joins.
    folders(tree, name).first().map_or_else(|| Ok(Vec::new()), |folder| members(folder))
}

/// Nothing of the group is left afterwards: no process, no folder. Blocks, for `limit` at most.
pub(crate) fn destroy(tree: &dyn CgroupTree, name: &str, limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    let folders = folders(tree, name);
    for folder in &folders {
        kill_all(folder, name, until)?;
    }
    folders.iter().try_for_each(|folder| remove(folder, until))
}

/// Kills until the group is empty: what a process forks while it is being killed is found the next time.
fn kill_all(folder: &Path, name: &str, until: Instant) -> io::Result<()> {
    loop {
        let found = members(folder)?;
        if found.is_empty() {
            return Ok(());
        }
        let _ = fs::write(folder.join("cgroup.kill"), "1");
        for pid in found {
            kill(pid, name, until)?;
        }
        if Instant::now() > until {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("processes in cgroup `{name}` do not end")));
        }
    }
}

fn kill(pid: i32, name: &str, until: Instant) -> io::Result<()> {
    let Some(handle) = Handle::of(pid)? else { return Ok(()) };
    // The number may have been given to another process since the group was read; the handle settles which it is.
    if process::groups(pid).is_ok_and(|groups| process::are_of(&groups, name)) {
        handle.kill()?;
        handle.ended_within(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)))?;
    }
    Ok(())
}

/// Every process in the folder and below.
fn members(folder: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for folder in with_children(folder)? {
        let text = match fs::read_to_string(folder.join("cgroup.procs")) {
            // A group that is being removed answers so.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => None,
            other => absent_is_none(other)?,
        };
        found.extend(text.unwrap_or_default().lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0));
    }
    Ok(found)
}

/// The folder and everything below it, deepest first.
fn with_children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(parent) = all.get(at).cloned() {
        let Some(entries) = absent_is_none(fs::read_dir(&parent))? else { break };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                all.push(entry.path());
            }
        }
        at += 1;
    }
    all.reverse();
    Ok(all)
}

fn remove(folder: &Path, until: Instant) -> io::Result<()> {
    loop {
        match remove_once(folder) {
            // The last process is gone, but not yet from the kernel's books; or a group was made meanwhile, for a kernel.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn remove_once(folder: &Path) -> io::Result<()> {
    with_children(folder)?.into_iter().try_for_each(|folder| {
        // Page cache that is still charged keeps the kernel's part of a removed group alive.
        let _ = fs::write(folder.join("memory.force_empty"), "0");
        absent_is_none(fs::remove_dir(&folder)).map(drop)
    })
}

/// A file's text; says which file could not be read when one cannot.
fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))
}

fn no_number(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("`{}` holds no number", path.display()))
}

/// Makes the folders, parents included; says which file could not be written when one cannot.
fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value).map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))
}

/// Hierarchies of version 1 that are ordinary folders below this one.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "only tests call this")]
pub(crate) fn below(folder: &Path) -> Box<dyn CgroupTree> {
    let mount = |name: &str| format!("1 1 0:1 / {} rw - cgroup cgroup rw,{name}\n", folder.join(name).display());
    Box::new(v1::Tree::find(&["cpu", "cpuacct", "memory", "pids"].map(mount).concat()).unwrap())
}

#[cfg(test)]
pub(super) const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
37 30 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
34 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
#[cfg(test)]
pub(super) const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_control_groups() {
        let tree = detect().unwrap();
        assert!(!tree.roots().is_empty());
        destroy(tree.as_ref(), "never-made", Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_path_of_the_mount_table_is_read_as_it_is() {
        assert_eq!(unescaped(r"/a\040b\134\011"), Path::new("/a b\\\t"));
    }

    #[test]
    fn a_group_that_was_never_made_is_not_listed() {
        assert_eq!(list(detect().unwrap().as_ref(), "never-made").unwrap(), Vec::<String>::new());
    }
}
