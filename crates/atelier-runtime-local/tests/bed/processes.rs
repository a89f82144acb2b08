//! The processes of a notebook, seen from the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atelier_runtime::{InstanceSpec, Observed, Runtime};
use rustix::process::{Pid, Signal, kill_process};

use super::Machine;
use super::kernel::Kernel;

/// The processes in a notebook's cgroup.
pub fn processes(machine: &Machine, spec: &InstanceSpec) -> Vec<PathBuf> {
    let name = format!("{}-{}", super::mark(machine.data.path()), spec.notebook);
    let in_it = |p: &PathBuf| fs::read_to_string(p.join("cgroup")).is_ok_and(|text| text.contains(&name));
    fs::read_dir("/proc").unwrap().flatten().map(|e| e.path()).filter(in_it).collect()
}

/// Those of them whose command line contains `part`.
pub fn running(machine: &Machine, spec: &InstanceSpec, part: &str) -> Vec<PathBuf> {
    let says = |p: &PathBuf| String::from_utf8_lossy(&fs::read(p.join("cmdline")).unwrap_or_default()).contains(part);
    processes(machine, spec).into_iter().filter(says).collect()
}

/// Returns when something has changed.
pub async fn changed(runtime: &dyn Runtime) {
    let noticed = tokio::time::timeout(Duration::from_mins(1), runtime.changed()).await;
    assert!(noticed.is_ok(), "nobody notices that anything changes");
}

/// Kills the notebook server and waits until that is noticed.
pub async fn kill_server(machine: &Machine, runtime: &dyn Runtime, spec: &InstanceSpec) {
    kill(&running(machine, spec, "jupyterlab")[0]);
    loop {
        changed(runtime).await;
        match runtime.observe(spec.notebook).await.unwrap() {
            Observed::Serving => {}
            Observed::Idle { ended } => break assert!(ended.unwrap().contains("signal 9")),
            Observed::Absent => panic!("the container is gone"),
        }
    }
}

pub fn kill(process: &Path) {
    signal(process, Signal::KILL);
}

pub fn signal(process: &Path, signal: Signal) {
    let pid = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The limits of its cgroup are the spec's.
pub fn has_limits(machine: &Machine, spec: &InstanceSpec) {
    let name = format!("{}-{}", super::mark(machine.data.path()), spec.notebook);
    let read = |controller: &str, file: &str| {
        let v1 = Path::new("/sys/fs/cgroup").join(controller).join("atelier").join(&name).join(file);
        fs::read_to_string(v1).ok().map(|t| t.trim().to_owned())
    };
    if Path::new("/sys/fs/cgroup/memory").exists() {
        assert_eq!(read("memory", "memory.limit_in_bytes").unwrap(), spec.memory_bytes.to_string());
        assert_eq!(read("cpu", "cpu.cfs_quota_us").unwrap(), (spec.cpu_millis * 100).to_string());
        assert_eq!(read("pids", "pids.max").unwrap(), "4096");
    } else {
        assert_eq!(read("", "memory.max").unwrap(), spec.memory_bytes.to_string());
        assert_eq!(read("", "cpu.max").unwrap(), format!("{} 100000", spec.cpu_millis * 100));
        assert_eq!(read("", "pids.max").unwrap(), "4096");
    }
}

/// The same, and no process of it has any right.
pub async fn has_limits_and_no_rights(machine: &Machine, runtime: &dyn Runtime, spec: &InstanceSpec) {
    let mut kernel = Kernel::start(runtime, spec).await;
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '60'])").await;
    has_limits(machine, spec);
    for part in ["jupyterlab", "ipykernel_launcher", "sleep"] {
        has_no_rights(machine, spec, part).await;
    }
}

/// The only process of this command line. What was just begun may not be that program yet.
pub async fn the_only(machine: &Machine, spec: &InstanceSpec, part: &str) -> PathBuf {
    let until = Instant::now() + Duration::from_secs(20);
    let mut found = running(machine, spec, part);
    while found.is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
        found = running(machine, spec, part);
    }
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.remove(0)
}

/// There is one process of this command line, without any right and without the secret.
pub async fn has_no_rights(machine: &Machine, spec: &InstanceSpec, part: &str) {
    let found = the_only(machine, spec, part).await;
    let status = fs::read_to_string(found.join("status")).unwrap();
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{capabilities}:\t0000000000000000\n")), "{part}: {status}");
    }
    assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{part}: {status}");
    let environment = fs::read(found.join("environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("contract-test-secret"), "{part}");
    let arguments = fs::read(found.join("cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("contract-test-secret"), "{part}");
}
