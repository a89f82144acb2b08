//! The container itself, by the container library.

use std::fs::File;
use std::os::fd::AsRawFd;

use anyhow::Context as _;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::{Value, json};

use super::namespaces::Spaces;
use super::{INIT, LaunchSpec, layers, mounts};
use crate::file::folder;
use crate::server::{GID, SOCKET_FOLDER, UID};

/// The rights of the init: to become somebody else, to give up everything for good, and to end what it started.
const RIGHTS: [&str; 4] = ["CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"];

/// Makes the container and starts its init, in the groups that this process is in once it has joined the last of them;
/// returns the init's process id.
pub(super) fn create(spec: &LaunchSpec, spaces: &Spaces) -> anyhow::Result<i32> {
    let (bundle, state) = (layers::point(spec, "bundle"), layers::point(spec, "oci"));
    folder(&bundle, 0o700)?;
    folder(&state, 0o700)?;
    std::fs::write(bundle.join("config.json"), serde_json::to_vec(&config(spec, spaces))?)?;
    for tasks in &spec.entry.join {
        std::fs::write(tasks, "0").with_context(|| format!("`{}`", tasks.display()))?;
    }
    mounts::show_no_control_groups().context("control groups")?;
    let output = File::options().create(true).append(true).open(spec.log.join("init.log"))?;
    let mut container = ContainerBuilder::new(spec.name.clone(), SyscallType::default())
        .with_root_path(state)?
        .with_stdin(File::open("/dev/null")?)
        .with_stdout(output.try_clone()?)
        .with_stderr(output)
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .context("container")?;
    let pid = container.pid().context("the container has no process")?;
    container.start().context("container")?;
    Ok(pid.as_raw())
}

fn config(spec: &LaunchSpec, spaces: &Spaces) -> Value {
    let mut base = serde_json::to_value(oci_spec::runtime::Linux::default()).unwrap_or_default();
    let listed = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let mut masked = listed(&base["maskedPaths"]);
    masked.extend(["/sys/block", "/sys/devices/virtual/block"].map(Value::from));
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": layers::root(spec)},
        "hostname": spec.hostname,
        "process": process(),
        "mounts": mount_list(spec),
        "linux": {
            "namespaces": namespaces(spaces),
            "maskedPaths": masked,
            "readonlyPaths": base["readonlyPaths"].take(),
        },
    })
}

fn process() -> Value {
    json!({
        "args": [INIT],
        "cwd": "/",
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": RIGHTS, "effective": RIGHTS, "permitted": RIGHTS},
        "noNewPrivileges": true,
    })
}

fn namespaces(spaces: &Spaces) -> Value {
    let by_descriptor = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    json!([
        {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"},
        {"type": "user", "path": by_descriptor(&spaces.user)},
        {"type": "network", "path": by_descriptor(&spaces.network)},
    ])
}

fn mount_list(spec: &LaunchSpec) -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let shared_memory = format!("size={}", spec.shared_memory);
    let (owner, group) = (format!("uid={UID}"), format!("gid={GID}"));
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        // The kernel has some thousand terminals for all containers together.
        mount(
            "/dev/pts",
            "devpts",
            // A terminal that the server opens for a command is ma-user's, too.
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", &owner, "gid=5", "max=256"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shared_memory]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        // ma-user writes here, so it must be too small to hurt and cost no disk of the machine's.
        mount(
            SOCKET_FOLDER,
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=0700", "size=64k", "nr_inodes=32", &owner, &group],
        ),
    ];
    mounts.extend(spec.files.iter().map(|(source, target)| {
        let source = spec.run.join("run").join(source);
        json!({"destination": target, "type": "bind", "source": source,
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"]})
    }));
    mounts.extend(spec.equipment.nodes.iter().map(
        |node| json!({"destination": node.path, "type": "bind", "source": node.path, "options": ["bind", "nosuid", "noexec"]}),
    ));
    Value::from(mounts)
}
