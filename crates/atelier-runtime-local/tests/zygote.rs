//! Servers that are forked: they come to be in another way, and are the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod bed;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_core::hook::{Action, Moment};
use atelier_runtime::contract::{self, Upto, ask, bring, new_spec};
use atelier_runtime::{HookRun, InstanceSpec, Observed, Runtime, Way};
use atelier_runtime_local::LocalRuntime;
use bed::Machine;
use bed::kernel::Kernel;
use bed::processes::{changed, has_limits_and_no_rights, kill, kill_server, running, signal, the_only};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::Signal;

/// A zygote is known by its parent, which is the process of all these tests.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The processes that wait to be forked.
fn zygotes() -> Vec<PathBuf> {
    children(|command| command.contains("atelier/zygote"))
}

/// The children of this process that have such a command line.
fn children(such: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mine = std::process::id().to_string();
    let of = |p: &Path| {
        let status = fs::read_to_string(p.join("status")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&fs::read(p.join("cmdline")).unwrap_or_default()).into_owned();
        status.lines().any(|l| l.strip_prefix("PPid:").is_some_and(|id| id.trim() == mine)) && such(&cmdline)
    };
    fs::read_dir("/proc").unwrap().flatten().map(|e| e.path()).filter(|p| of(p)).collect()
}

/// A runtime whose zygotes are warm.
async fn warm() -> (tokio::sync::MutexGuard<'static, ()>, Machine, Arc<LocalRuntime>) {
    let alone = ALONE.lock().await;
    let machine = Machine::with_zygote();
    let runtime = machine.runtime();
    runtime.begin().await;
    runtime.zygote().await.unwrap();
    (alone, machine, runtime)
}

/// Neither of the notebook nor of the zygotes is anything left.
async fn leaves_nothing(machine: &Machine, runtime: &dyn Runtime, spec: &InstanceSpec) {
    runtime.remove(spec.notebook).await.unwrap();
    runtime.close().await;
    machine.is_clean();
}

fn tell_all(processes: &[PathBuf], what: Signal) {
    for process in processes {
        signal(process, what);
    }
}

async fn started(runtime: &dyn Runtime) -> (InstanceSpec, Way) {
    let spec = new_spec();
    bring(runtime, &spec, Upto::Network).await;
    let way = runtime.initialize(&spec).await.unwrap();
    (spec, way)
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_forked_server_is_like_one_from_the_command_line() {
    let _alone = ALONE.lock().await;
    let machine = Machine::with_zygote();
    let runtime = machine.runtime();
    let without = Machine::new();
    let cold_runtime = without.runtime();
    let (cold, way) = started(&*cold_runtime).await;
    assert_eq!(way.to_string(), "started by its command line, because zygotes are turned off");
    runtime.begin().await;
    runtime.zygote().await.unwrap();

    let mut at = Instant::now();
    let mut took = |what: &str| {
        println!("{what}: {:?}", at.elapsed());
        at = Instant::now();
    };
    let spec = new_spec();
    runtime.prepare_storage(&spec).await.unwrap();
    took("storage");
    runtime.prepare_compute(&spec).await.unwrap();
    took("compute");
    runtime.configure_network(&spec).await.unwrap();
    took("network");
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    took("initialize");
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    has_limits_and_no_rights(&machine, &*runtime, &spec).await;
    let started = &running(&without, &cold, "jupyterlab")[0];
    is_as_if_started(&running(&machine, &spec, "jupyterlab")[0], started);
    let forks = the_only(&machine, &spec, "kernels are forked from this").await;
    for kernel in running(&machine, &spec, "ipykernel_launcher") {
        assert_eq!(parent(&kernel), forks.file_name().unwrap().to_str().unwrap());
    }

    // A second call finds it, and its end is noticed.
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Already);
    kill_server(&machine, &*runtime, &spec).await;
    // In the same container, over the socket that the dead one has left.
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    let log = machine.data.path().join("notebooks").join(spec.notebook.to_string()).join("log/server.log");
    assert!(fs::read_to_string(log).unwrap().contains("Serving notebooks from local directory"));
    for (runtime, id) in [(&runtime, spec.notebook), (&cold_runtime, cold.notebook)] {
        runtime.stop(id).await.unwrap();
        runtime.remove(id).await.unwrap();
    }
    drop(runtime);
    machine.is_clean();
    without.is_clean();
}

fn parent(process: &Path) -> String {
    let status = fs::read_to_string(process.join("status")).unwrap();
    status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

/// What the kernel of the machine says of both servers is the same.
fn is_as_if_started(forked: &Path, started: &Path) {
    let told = |p: &Path, name: &str| {
        let text = fs::read_to_string(p.join("status")).unwrap();
        text.lines().find(|l| l.starts_with(name)).unwrap().to_owned()
    };
    for name in ["SigBlk", "SigIgn", "NoNewPrivs", "Seccomp:", "Seccomp_filters", "Umask", "Groups"] {
        assert_eq!(told(forked, name), told(started, name));
    }
    assert_eq!(fs::read(forked.join("oom_score_adj")).unwrap(), fs::read(started.join("oom_score_adj")).unwrap());
    let limits = |p: &Path| fs::read_to_string(p.join("limits")).unwrap();
    assert_eq!(limits(forked), limits(started));
    // In every hierarchy the own group, and the own namespaces in place of the machine's.
    let groups = |p: &Path| fs::read_to_string(p.join("cgroup")).unwrap();
    assert_eq!(groups(forked).matches("/atelier/").count(), groups(started).matches("/atelier/").count());
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let namespace = |p: &Path| fs::read_link(p.join("ns").join(name)).unwrap();
        assert_ne!(namespace(forked), namespace(Path::new("/proc/self")), "{name}");
        assert_ne!(namespace(forked), namespace(started), "{name}");
    }
    assert_eq!(fs::read_link(forked.join("cwd")).unwrap(), fs::read_link(started.join("cwd")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_server_begins_while_its_network_is_made() {
    let (_alone, machine, runtime) = warm().await;
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Network).await;
    while runtime.observe(spec.notebook).await.unwrap() != Observed::Serving {
        changed(&*runtime).await;
    }
    // It is told of as it came to be, once.
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Already);
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    leaves_nothing(&machine, &*runtime, &spec).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn with_zygotes_the_local_runtime_keeps_the_contract() {
    let _alone = ALONE.lock().await;
    let machine = Machine::with_zygote();
    contract::run_all(&machine).await;
    machine.is_clean();
}

/// It belongs to its container, and to no call.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_server_that_has_begun_outlives_a_call_that_waits_for_it() {
    let (_alone, machine, runtime) = warm().await;
    let waiting = waiting_servers().await;
    tell_all(&waiting, Signal::STOP);
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Network).await;
    assert!(tokio::time::timeout(Duration::ZERO, runtime.initialize(&spec)).await.is_err());
    tell_all(&waiting, Signal::CONT);
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    leaves_nothing(&machine, &*runtime, &spec).await;
}

/// Whoever stops a notebook does not wait for a server that is on its way.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn nothing_is_left_of_a_server_that_has_begun_in_vain() {
    let (_alone, machine, runtime) = warm().await;
    for _ in 0..5 {
        let spec = new_spec();
        bring(&*runtime, &spec, Upto::Compute).await;
        // Less than a server has to end by itself.
        let removing = tokio::time::timeout(Duration::from_secs(8), runtime.remove(spec.notebook));
        removing.await.expect("it is waited for").unwrap();
    }
    runtime.close().await;
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_server_reads_what_a_hook_before_it_has_left() {
    let (_alone, machine, runtime) = warm().await;
    let spec = InstanceSpec { hook_first: true, ..new_spec() };
    let program = "mkdir -p ~/.jupyter && echo 'open(\"/home/ma-user/read\", \"w\").close()' > ~/.jupyter/jupyter_server_config.py";
    let action = Action::Command(program.into());
    let hook = HookRun { moment: Moment::PreStart, action, limit: Duration::from_mins(1) };
    bring(&*runtime, &spec, Upto::Network).await;
    runtime.begin_hook(&spec, &hook).await.unwrap();
    assert!(runtime.hook_end(spec.notebook, hook.moment).await.unwrap().fate.is_success());
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    assert_eq!(kernel.run("import os; print(os.path.exists('/home/ma-user/read'))").await, "True\n");
    leaves_nothing(&machine, &*runtime, &spec).await;
}

/// A server was started by its command line meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_child_that_comes_too_late_takes_nothing_from_the_server_that_runs() {
    let (_alone, machine, runtime) = warm().await;
    let waiting = waiting_servers().await;
    tell_all(&waiting, Signal::STOP);
    let (spec, way) = started(&*runtime).await;
    assert!(way.to_string().contains("the child does not arrive"), "{way}");
    tell_all(&waiting, Signal::CONT);
    // Its way into the container is done when the first process of it has ended, and it has ended there, too.
    let until = Instant::now() + Duration::from_secs(20);
    while waiting.iter().all(|child| child.exists()) || !running(&machine, &spec, "zygote/server").is_empty() {
        assert!(Instant::now() < until, "nobody has taken the request");
        std::thread::yield_now();
    }
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Serving);
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    leaves_nothing(&machine, &*runtime, &spec).await;
}

/// What waits to become a notebook server.
async fn waiting_servers() -> Vec<PathBuf> {
    let is_servers =
        |p: &PathBuf| String::from_utf8_lossy(&fs::read(p.join("cmdline")).unwrap()).contains("zygote/server");
    let zygote = zygotes().into_iter().find(is_servers).unwrap();
    let number = zygote.file_name().unwrap().to_str().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let all = fs::read_to_string(zygote.join("task").join(number).join("children")).unwrap();
        let all: Vec<_> = all.split_ascii_whitespace().map(|pid| Path::new("/proc").join(pid)).collect();
        // A zygote is warm a moment before it has them.
        if all.len() == 2 {
            return all;
        }
        assert!(Instant::now() < until, "{all:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn packages_that_were_changed_before_count_after_a_second_start() {
    let (_alone, machine, runtime) = warm().await;
    let (mut spec, _) = started(&*runtime).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    kernel
        .run(
            "
import sysconfig
open(sysconfig.get_path('purelib', vars={'base': '/opt/atelier/user'}) + '/changed.pth', 'w').write('import builtins; builtins.changed = True')
",
        )
        .await;
    // Another secret ends everything in the container and starts the server again; the packages stay.
    spec.upstream_secret = "another-secret".to_owned().into();
    assert_eq!(runtime.initialize(&spec).await.unwrap(), Way::Forked);
    the_only(&machine, &spec, "kernels are forked from this").await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    assert_eq!(kernel.run("print(changed)").await, "True\n");
    leaves_nothing(&machine, &*runtime, &spec).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn without_a_zygote_the_command_line_serves() {
    let (_alone, machine, runtime) = warm().await;
    let waiting = zygotes();
    assert_eq!(waiting.len(), 2, "servers and kernels: {waiting:?}");
    for zygote in &waiting {
        kill(zygote);
    }
    let (spec, way) = started(&*runtime).await;
    assert!(matches!(way, Way::CommandLine { why: Some(_) }), "{way}");
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    assert_eq!(kernel.run("print(6 * 7)").await, "42\n");
    runtime.remove(spec.notebook).await.unwrap();
    runtime.close().await;
    assert_eq!(zygotes(), Vec::<PathBuf>::new());
    machine.is_clean();
}

/// Its server may be killed while the launcher still makes the jail: nobody would end the program then.
#[test]
#[cfg_attr(not(as_root), ignore = "needs root")]
fn a_zygote_whose_server_has_gone_does_not_become_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let spec = serde_json::json!({
        "lowers": [folder.path()], "run": folder.path(), "argv": ["/there-is-no-such-program"], "links": [], "files": [],
    });
    let flags = SocketFlags::CLOEXEC;
    let (gate, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    send(&gate, spec.to_string().as_bytes(), SendFlags::empty()).unwrap();
    drop(gate);
    let mut launcher = Command::new(env!("CARGO_BIN_EXE_atelier-launch"));
    let ended = launcher.arg("zygote").stdin(theirs).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "gate: its server has gone\n");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a mount point is left");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_zygote_holds_nothing_and_sees_nothing() {
    let (_alone, machine, runtime) = warm().await;
    let (spec, way) = started(&*runtime).await;
    assert_eq!(way, Way::Forked);
    for zygote in zygotes() {
        is_jailed(&zygote, &machine);
        // What one notebook was told is nowhere in the memory that the next one inherits.
        assert!(!holds(&zygote, b"contract-test-secret"));
    }
    assert!(holds(&running(&machine, &spec, "jupyterlab")[0], b"contract-test-secret"), "the search finds nothing");
    runtime.remove(spec.notebook).await.unwrap();
    drop(runtime);
    machine.is_clean();
}

fn is_jailed(zygote: &Path, machine: &Machine) {
    // SYS_ADMIN, SYS_CHROOT, SETUID, SETGID, SETPCAP.
    let rights = format!("{:016x}", (1_u64 << 21) | (1 << 18) | (1 << 7) | (1 << 6) | (1 << 8));
    let status = fs::read_to_string(zygote.join("status")).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t{rights}\n")), "{status}");
    }
    assert!(status.contains("Threads:\t1\n"));
    let root = zygote.join("root");
    assert!(!root.join(machine.data.path().strip_prefix("/").unwrap()).exists());
    assert!(fs::write(root.join("etc/x"), "").is_err());
    let open: Vec<_> = fs::read_dir(zygote.join("fd")).unwrap().map(|e| fs::read_link(e.unwrap().path())).collect();
    assert_eq!(open.len(), 6, "the gate, two outputs, the reserved one and the pipe of its children: {open:?}");
}

/// The launcher that waits for a start, once there is one.
async fn waiting_launcher() -> PathBuf {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(waiting) = waiting_launchers().pop() {
            return waiting;
        }
        assert!(Instant::now() < until, "no launcher waits");
        tokio::task::yield_now().await;
    }
}

fn waiting_launchers() -> Vec<PathBuf> {
    children(|command| command.contains("\0ahead\0"))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_launcher_waits_for_the_next_start_and_ends_with_the_runtime() {
    let (_alone, machine, runtime) = warm().await;
    let mut notebooks = vec![started(&*runtime).await.0];
    let first = waiting_launcher().await;
    // Layers that are nobody's lie beside the folders of notebooks.
    let layers = || -> Vec<u64> {
        let all = fs::read_dir(machine.data.path()).unwrap().map(|e| e.unwrap().metadata().unwrap());
        all.filter(fs::Metadata::is_file).map(|m| m.ino()).collect()
    };
    let waits = layers();
    notebooks.push(started(&*runtime).await.0);
    let layer = machine.data.path().join(format!("notebooks/{}/layer.img", notebooks[1].notebook));
    assert_eq!(waits, vec![fs::metadata(layer).unwrap().ino()], "what waited became the instance's");
    while first.exists() {
        tokio::task::yield_now().await;
    }
    let killed = waiting_launcher().await;
    kill(&killed);
    notebooks.push(started(&*runtime).await.0);
    assert_ne!(waiting_launcher().await, killed);
    for spec in &notebooks {
        assert_eq!(ask(&*runtime, spec).await, "HTTP/1.1 200 OK");
        runtime.remove(spec.notebook).await.unwrap();
    }
    runtime.close().await;
    assert_eq!(waiting_launchers(), Vec::<PathBuf>::new());
    assert!(layers().is_empty());
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_zygote_is_in_huge_pages_where_the_kernel_gathers_them() {
    let (_alone, machine, runtime) = warm().await;
    let pages = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or("[never]".into());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let release: Vec<u32> = release.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).take(2).collect();
    for zygote in zygotes() {
        let memory = fs::read_to_string(zygote.join("smaps_rollup")).unwrap();
        let kib = |name: &str| -> u64 {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let (all, huge) = (kib("Anonymous:"), kib("AnonHugePages:"));
        assert!(pages.contains("[never]") || release < vec![6, 1] || huge > all / 4, "{huge} of {all} KiB");
    }
    drop(runtime);
    machine.is_clean();
}

/// Whether the bytes are anywhere in the memory of a process.
fn holds(process: &Path, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::File::open(process.join("mem")).unwrap();
    let maps = fs::read_to_string(process.join("maps")).unwrap();
    maps.lines().filter(|l| l.contains(" rw")).any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let at = |hex| u64::from_str_radix(hex, 16).unwrap();
        let mut text = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
        memory.read_exact_at(&mut text, at(from)).is_ok() && text.windows(bytes.len()).any(|w| w == bytes)
    })
}
