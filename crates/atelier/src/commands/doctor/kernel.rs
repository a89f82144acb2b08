//! The kernel, its limits, and the programs that the local runtime calls.

use atelier_runtime_local::probe::{Probe, clock_is_kept, try_out};

use super::finding::{Finding, State};
use super::ok;
use crate::failure::Failure;

/// Programs, what is lost without them, and the package that has them.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("mkfs.xfs", "no notebook can be created", "xfsprogs"),
    ("nft", "no notebook gets a network", "nftables"),
    ("ip", "no notebook gets a network", "iproute2"),
    ("mmdebstrap", "the built-in image cannot be made", "mmdebstrap"),
];

pub(super) fn look(root: bool) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![version(), rights(root), seccomp()];
    for probe in Probe::ALL {
        findings.push(tried(probe, root)?);
    }
    findings.extend(PROGRAMS.map(|(name, cost, package)| program(name, cost, package)));
    findings.extend([open_files(), processes(), watches(), clock()]);
    Ok(findings)
}

/// Idmapped mounts of overlays came with 5.19.
fn version() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    if (parts.next(), parts.next()) >= (Some(5), Some(19)) {
        return ok("kernel", release);
    }
    let cost = "the layers of an image cannot be shown with a notebook's own ids: none starts";
    Finding::bad("kernel", State::Failure, release, cost, "use a kernel of 5.19 or later")
}

fn rights(root: bool) -> Finding {
    if !root {
        let cost = "the local runtime does not start; `--runtime simulated` does";
        return Finding::bad("rights", State::Failure, "not root", cost, "run the server as root");
    }
    let status = read("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim().to_owned();
    let held = u64::from_str_radix(&effective, 16).unwrap_or(0);
    // By their numbers in capabilities(7).
    let needed =
        [("CHOWN", 0), ("DAC_OVERRIDE", 1), ("SETGID", 6), ("SETUID", 7), ("NET_ADMIN", 12), ("SYS_ADMIN", 21)];
    let missing: Vec<_> = needed.iter().filter(|(_, bit)| held >> bit & 1 == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return ok("rights", format!("root, with the capabilities that containers need ({effective})"));
    }
    let found = format!("root without {}", missing.join(", "));
    Finding::bad("rights", State::Failure, found, "containers cannot be made", "give the server these capabilities")
}

fn seccomp() -> Finding {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    if actions.split_whitespace().any(|action| action == "errno") {
        return ok("seccomp", "filters are available");
    }
    let cost = "a notebook cannot be kept from dangerous system calls: none starts";
    Finding::bad("seccomp", State::Failure, "no filters", cost, "use a kernel with CONFIG_SECCOMP_FILTER")
}

fn tried(probe: Probe, root: bool) -> Result<Finding, Failure> {
    let about = About::of(probe);
    if about.needs_root && !root {
        return Ok(Finding::unseen(about.topic, about.cost));
    }
    let scratch = tempfile_folder()?;
    let result = try_out(probe, &scratch);
    // What the child had mounted ended with it; the folder holds plain files at most.
    let cleared = std::fs::remove_dir_all(&scratch);
    cleared.map_err(|e| Failure::new(format!("{} cannot be removed: {e}", scratch.display())))?;
    Ok(match result {
        Ok(()) => ok(about.topic, "tried, and it works"),
        Err(why) => Finding::bad(about.topic, about.state, why, about.cost, about.cure),
    })
}

/// A folder for one probe.
fn tempfile_folder() -> Result<std::path::PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let name = format!("atelier-doctor-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let path = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// What a probe is about.
struct About {
    topic: &'static str,
    needs_root: bool,
    state: State,
    cost: &'static str,
    cure: &'static str,
}

impl About {
    const fn of(probe: Probe) -> Self {
        let none = "no notebook starts";
        let outside =
            "the server runs in a container that forbids it, or a security module does: run it on the machine itself";
        let (topic, needs_root, state, cost, cure) = match probe {
            Probe::UserNamespace => {
                ("user namespaces", false, State::Failure, none, "raise /proc/sys/user/max_user_namespaces above 0")
            }
            Probe::Namespaces => ("namespaces", true, State::Failure, none, outside),
            Probe::NetworkNamespace => ("network namespaces", true, State::Failure, none, outside),
            Probe::Overlay => ("overlay", true, State::Failure, none, "modprobe overlay"),
            Probe::OverlayInUserNamespace => (
                "overlay without root",
                false,
                State::Warning,
                "nothing now: the local runtime runs as root",
                "use a kernel of 5.11 or later",
            ),
            Probe::Volume => (
                "volumes: XFS on a loop device",
                true,
                State::Failure,
                "no notebook can be created",
                "install xfsprogs; modprobe loop xfs; in a container, pass /dev/loop-control and the loop devices in",
            ),
            Probe::ControlGroup => (
                "control groups",
                true,
                State::Failure,
                "notebooks cannot be limited: none starts",
                "mount /sys/fs/cgroup read-write, with the controllers cpu, memory and pids",
            ),
            Probe::Fuse => (
                "FUSE",
                false,
                State::Warning,
                "object storage cannot be mounted into notebooks",
                "modprobe fuse; in a container, pass /dev/fuse in",
            ),
        };
        Self { topic, needs_root, state, cost, cure }
    }
}

fn program(name: &'static str, cost: &'static str, package: &str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    match std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|file| file.is_file()) {
        Some(file) => ok(name, file.display().to_string()),
        None => Finding::bad(name, State::Failure, "is not there", cost, format!("apt-get install {package}")),
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let found = format!("{current} at a time");
    if current >= 8192 {
        return ok("open files", found);
    }
    let cost = "a connection takes up to three: new ones are refused under load";
    Finding::bad("open files", State::Warning, found, cost, "`LimitNOFILE=65536` in the unit, or `ulimit -n 65536`")
}

fn processes() -> Finding {
    let most: u64 = read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
    if most >= 131_072 {
        return ok("process numbers", format!("{most}"));
    }
    let cost = "many notebooks together run out of numbers";
    Finding::bad("process numbers", State::Warning, format!("{most}"), cost, "sysctl -w kernel.pid_max=4194304")
}

fn watches() -> Finding {
    let most: u64 = read("/proc/sys/fs/inotify/max_user_instances").trim().parse().unwrap_or(0);
    if most >= 128 {
        return ok("inotify", format!("{most} instances for each user"));
    }
    let cost = "programs in notebooks that watch files fail";
    Finding::bad("inotify", State::Warning, format!("{most}"), cost, "sysctl -w fs.inotify.max_user_instances=1024")
}

/// Whether somebody keeps the clock right, as the kernel knows it.
fn clock() -> Finding {
    if clock_is_kept() {
        return ok("clock", "kept by a time service");
    }
    let cost = "signatures are refused and leases end at the wrong time once the clock is wrong";
    Finding::bad(
        "clock",
        State::Warning,
        "the kernel was not told that anybody keeps it",
        cost,
        "install chrony or systemd-timesyncd",
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
