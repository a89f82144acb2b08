//! That the limits limit: real processes in real groups, by whichever version this machine has.
//!
//! Few machines have both versions. The project runs these tests a second time in a virtual machine that has only
//! version 2, and says so by `ATELIER_EXPECT_CGROUPS=2`. They use nothing but a shell, which is all that is there.

use std::io::Write as _;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// A group with limits of its own, gone when the test ends.
struct Group {
    tree: Box<dyn CgroupTree>,
    name: String,
}

impl Group {
    fn new(name: &str, limits: &Limits) -> Self {
        let group = Self { tree: detect().unwrap(), name: format!("enforced-{}-{name}", std::process::id()) };
        group.tree.create(&group.name, limits).unwrap();
        group
    }

    /// Runs a script whose shell has entered the group before its first line.
    fn run(&self, script: &str) -> Child {
        self.run_with(script, Stdio::null())
    }

    fn run_with(&self, script: &str, input: Stdio) -> Child {
        let Entry { born_in, join } = self.tree.entry(&self.name);
        let files = born_in.map(|folder| folder.join("cgroup.procs")).into_iter().chain(join);
        let enter = |file: PathBuf| format!("echo $$ > {} || exit 99\n", file.display());
        let entered: Vec<_> = files.map(enter).collect();
        Command::new("sh").args(["-c", &(entered.concat() + script)]).stdin(input).spawn().unwrap()
    }

    /// The same, where the shell has a group of its own below this one before its first line.
    fn run_as_kernel(&self, script: &str) -> Child {
        let mut shell = self.run_with(&format!("read go\n{script}"), Stdio::piped());
        assert!(kernels::take_in(self.tree.as_ref(), &self.name, self.entered(&shell)).unwrap());
        writeln!(shell.stdin.as_mut().unwrap(), "go").unwrap();
        shell
    }

    /// The number of a shell that has entered every folder.
    fn entered(&self, shell: &Child) -> i32 {
        let pid = i32::try_from(shell.id()).unwrap();
        let until = Instant::now() + LIMIT;
        while !self.folders().iter().all(|folder| members(folder).unwrap().contains(&pid)) {
            assert!(Instant::now() < until, "it does not enter the group");
            std::thread::yield_now();
        }
        pid
    }

    /// Its folders, in the hierarchies that limit something or that kill.
    fn folders(&self) -> Vec<PathBuf> {
        folders(self.tree.as_ref(), &self.name).into_iter().filter(|folder| folder.exists()).collect()
    }

    /// What all hierarchies together say of the CPU.
    fn cpu_stat(&self) -> String {
        self.folders().iter().filter_map(|folder| fs::read_to_string(folder.join("cpu.stat")).ok()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        destroy(self.tree.as_ref(), &self.name, LIMIT).unwrap();
    }
}

const ROOMY: Limits = Limits { cpu_millis: 1000, memory_bytes: 256 << 20, pids: 100, disk: NO_LIMIT };
const NO_LIMIT: DiskLimits =
    DiskLimits { read_bytes: None, write_bytes: None, read_operations: None, write_operations: None };

#[test]
fn the_version_is_the_expected_one() {
    let tree = detect().unwrap();
    let unified = tree.roots().iter().all(|root| root.join("cgroup.controllers").exists());
    if let Ok(expected) = std::env::var("ATELIER_EXPECT_CGROUPS") {
        assert_eq!(unified, expected == "2", "{tree:?}");
    }
    assert!(!tree.roots().is_empty());
}

#[test]
fn who_takes_more_memory_is_killed() {
    let group = Group::new("memory", &Limits { memory_bytes: 32 << 20, ..ROOMY });
    let script = "x=$(head -c 150000000 /dev/zero | tr '\\0' x); echo ${#x} > /dev/null";
    let ended = group.run(script).wait().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGKILL), "{ended}");
    let memory = group.tree.memory(&group.name);
    assert_eq!(memory.limit, Some(32 << 20));
    assert!(memory.peak.is_none_or(|peak| (16 << 20..=32 << 20).contains(&peak)), "{memory:?}");
}

#[test]
fn a_kernel_that_takes_more_memory_is_killed_whatever_others_say_of_themselves() {
    let group = Group::new("kernels", &Limits { memory_bytes: 64 << 20, ..ROOMY });
    let tree = group.tree.as_ref();
    // Chosen before anything else on the machine, where there is a choice.
    let script = "echo 1000 > /proc/self/oom_score_adj; x=$(head -c 4000000 /dev/zero | tr '\\0' x); read end";
    let mut beside = group.run_with(script, Stdio::piped());
    let holds = |child: &Child| {
        fs::read_to_string(format!("/proc/{}/status", child.id())).is_ok_and(|text| resident(&text) > 5000)
    };
    let until = Instant::now() + LIMIT;
    while !holds(&beside) {
        assert!(Instant::now() < until, "it takes nothing");
        std::thread::yield_now();
    }
    let mut other = group.run_as_kernel("read end");
    let script = "x=$(head -c 150000000 /dev/zero | tr '\\0' x); echo ${#x} > /dev/null";
    let ended = group.run_as_kernel(script).wait().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGKILL), "{ended}");
    for running in [&mut beside, &mut other] {
        assert!(running.try_wait().unwrap().is_none(), "another process of the instance was killed");
    }
    let memory = tree.memory(&format!("{}/kernel-2", group.name));
    assert_eq!(memory.limit, Some(kernels::limit(64 << 20)));
    assert!(memory.peak.is_none_or(|peak| (32 << 20..=60 << 20).contains(&peak)), "{memory:?}");
    // It has a group already.
    let pid = i32::try_from(other.id()).unwrap();
    assert!(!super::kernels::take_in(tree, &group.name, pid).unwrap());
    for running in [&mut beside, &mut other] {
        running.kill().unwrap();
        running.wait().unwrap();
    }
}

/// The resident memory that a process's status tells, in KiB.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

#[test]
fn who_is_no_process_of_the_instance_gets_no_group_there() {
    let group = Group::new("strangers", &ROOMY);
    let this = i32::try_from(std::process::id()).unwrap();
    assert!(!kernels::take_in(group.tree.as_ref(), &group.name, this).unwrap());
    let mut ended = group.run("exit 0");
    ended.wait().unwrap();
    assert!(!kernels::take_in(group.tree.as_ref(), &group.name, i32::try_from(ended.id()).unwrap()).unwrap());
    assert_eq!(group.tree.memory(&format!("{}/kernel-1", group.name)), Memory::default());
}

#[test]
fn there_are_not_more_groups_than_kernels_may_have() {
    let group = Group::new("many", &ROOMY);
    let mut kernels: Vec<_> = (0..32).map(|_| group.run_as_kernel("read end")).collect();
    let mut late = group.run_with("read end", Stdio::piped());
    let pid = group.entered(&late);
    assert!(!super::kernels::take_in(group.tree.as_ref(), &group.name, pid).unwrap());
    // The place of one that has ended is free, and remembers nothing.
    kernels[6].kill().unwrap();
    kernels[6].wait().unwrap();
    let folder = group.tree.memory_folder(&format!("{}/kernel-7", group.name));
    let before = fs::metadata(&folder).unwrap().ino();
    assert!(super::kernels::take_in(group.tree.as_ref(), &group.name, pid).unwrap());
    assert_ne!(fs::metadata(&folder).unwrap().ino(), before, "it is another group");
    for running in kernels.iter_mut().chain([&mut late]) {
        running.kill().unwrap();
        running.wait().unwrap();
    }
}

#[test]
fn who_forks_more_is_refused_and_all_of_them_end_together() {
    let group = Group::new("pids", &Limits { pids: 6, ..ROOMY });
    let ended = group.run("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done").wait().unwrap();
    assert!(!ended.success(), "ten processes where six are allowed");
    let running = members(&group.folders()[0]).unwrap();
    assert!(!running.is_empty());
    destroy(group.tree.as_ref(), &group.name, LIMIT).unwrap();
    assert_eq!(group.folders(), Vec::<PathBuf>::new());
    for pid in running {
        // One that nobody has reaped yet is dead all the same.
        let handle = Handle::of(pid).unwrap();
        assert!(handle.is_none_or(|handle| !handle.lives().unwrap()), "process {pid} lives on");
    }
}

#[test]
fn what_was_computed_is_counted_also_when_it_has_ended() {
    let group = Group::new("account", &ROOMY);
    assert!(group.tree.cpu_time(&group.name).unwrap() < Duration::from_millis(50));
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
    assert!(group.run(script).wait().unwrap().success());
    let taken = group.tree.cpu_time(&group.name).unwrap();
    assert!(taken > Duration::from_millis(20), "{taken:?}");
    assert_eq!(processes(group.tree.as_ref(), &group.name).unwrap(), Vec::<i32>::new());
}

#[test]
fn who_computes_more_has_to_wait() {
    let group = Group::new("cpu", &Limits { cpu_millis: 100, ..ROOMY });
    let mut child = group.run("while :; do :; done");
    let until = Instant::now() + LIMIT;
    let throttled =
        || group.cpu_stat().lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|n| n != "0"));
    while !throttled() && Instant::now() < until {
        std::thread::yield_now();
    }
    let seen = throttled();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "{}", group.cpu_stat());
}

#[test]
fn a_weight_is_what_the_kernel_has_then() {
    let group = Group::new("weight", &Limits { cpu_millis: 500, ..ROOMY });
    let of = |file: &'static str| group.folders().into_iter().find_map(|folder| number(&folder.join(file)));
    let held = || of("cpu.shares").or_else(|| of("cpu.weight")).unwrap();
    let idle = of("cpu.idle");
    assert_eq!(group.tree.cpu_millis(&group.name).unwrap(), 500);
    // A new group has the usual one.
    let usual = held();
    assert!([1024, 100].contains(&usual), "{usual}");
    // Twice, since one that is idle takes no number.
    for _ in 0..2 {
        group.tree.weigh(&group.name, 500, Weight::Low).unwrap();
        // What the kernel says of one that is idle, by either version; the numbers of a kernel that knows none.
        let low = if idle.is_some() { [3, 0] } else { [12, 1] };
        assert!(low.contains(&held()), "{}", held());
        assert_eq!(of("cpu.idle"), idle.map(|_| 1));
    }
    group.tree.weigh(&group.name, 500, Weight::Usual).unwrap();
    assert_eq!((held(), of("cpu.idle")), (usual, idle));
    let taken = |name: &str| group.tree.cpu_time(name).unwrap();
    assert!(group.run("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done").wait().unwrap().success());
    let own = taken(&group.name);
    assert!(own > Duration::ZERO);
    assert!(group.tree.work(&group.name).unwrap() >= own && group.tree.work_of_all().unwrap() >= own);
}

#[test]
fn only_allowed_devices_can_be_opened() {
    let group = Group::new("devices", &ROOMY);
    if !group.folders().iter().any(|folder| folder.join("devices.list").exists()) {
        return;
    }
    let node = |minor| Node { path: PathBuf::new(), major: 10, minor };
    // The one that hands out loop devices, and another that every machine has.
    let (wanted, other) = ("/dev/loop-control", "/dev/kmsg");
    let opens = |device: &str| group.run(&format!("exec 3< {device} 4< /dev/null")).wait().unwrap().success();
    assert!(opens(wanted) && opens(other));
    group.tree.allow_devices(&group.name, &[node(237)]).unwrap();
    assert!(opens(wanted) && !opens(other));
    group.tree.allow_devices(&group.name, &[]).unwrap();
    assert!(!opens(wanted));
}

#[test]
fn who_reads_more_from_a_disk_has_to_wait() {
    const MIB: u64 = 1 << 20;
    let disk = DiskLimits { read_bytes: NonZeroU64::new(2 * MIB), ..NO_LIMIT };
    let group = Group::new("disk", &Limits { disk, ..ROOMY });
    assert!(group.tree.limits_disks());
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(6 * MIB).unwrap();
    let (path, _device) = crate::volume::attach(file.path()).unwrap();
    for throttle in group.tree.throttles(&group.name, &disk) {
        throttle.apply(fs::metadata(&path).unwrap().rdev()).unwrap();
    }
    let began = Instant::now();
    assert!(group.run(&format!("cat {} > /dev/null", path.display())).wait().unwrap().success());
    // However slow the machine is, it must not be faster than this.
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
}
