//! The kernel, and the programs that the local runtime calls.

use std::path::Path;

use atelier_runtime::Root;
use atelier_runtime_local::probe::{Probe, try_out, try_shifting};

use super::finding::{Finding, State};
use super::{nearest, ok, read, removed, scratch};
use crate::failure::Failure;

/// Programs, what is lost without them, and the package that has them.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("mkfs.xfs", "no notebook can be created", "xfsprogs"),
    ("nft", "no notebook gets a network", "nftables"),
    ("mmdebstrap", "the built-in image cannot be made", "mmdebstrap"),
];

pub(super) fn look(root: bool) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![version(), rights(root), seccomp()];
    for probe in Probe::ALL {
        findings.push(tried(probe, root)?);
    }
    findings.extend(PROGRAMS.map(|(name, cost, package)| program(name, cost, package)));
    Ok(findings)
}

/// Whether the file systems that every start shows to a notebook can be shown with its ids, and those of the operator's folders.
pub(super) fn shifting(root: bool, places: [&Path; 2], roots: &[Root]) -> Result<Vec<Finding>, Failure> {
    let topics = ["shifted ids: data folder", "shifted ids: cache"];
    let ours = topics.into_iter().zip(places).map(|(topic, place)| (topic, nearest(place), "no notebook starts"));
    let cost = "no notebook with a volume there starts";
    let theirs = roots.iter().map(|root| ("shifted ids: volumes.roots", root.path.as_path(), cost));
    ours.chain(theirs).map(|(topic, place, cost)| shifts(topic, place, cost, root)).collect()
}

fn shifts(topic: &'static str, place: &Path, cost: &'static str, root: bool) -> Result<Finding, Failure> {
    if !root {
        return Ok(Finding::unseen(topic, cost));
    }
    let scratch = scratch()?;
    let result = try_shifting(place, &scratch);
    removed(&scratch)?;
    Ok(match result {
        Ok(()) => ok(topic, format!("tried at {}, and it works", place.display())),
        Err(why) => {
            let cure = "put it on ext4, xfs or btrfs; tmpfs needs Linux 6.3";
            Finding::bad(topic, State::Failure, format!("{}: {why}", place.display()), cost, cure)
        }
    })
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
    let scratch = scratch()?;
    let result = try_out(probe, &scratch);
    removed(&scratch)?;
    Ok(match result {
        Ok(()) => ok(about.topic, "tried, and it works"),
        Err(why) => Finding::bad(about.topic, about.state, why, about.cost, about.cure),
    })
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
            Probe::ShiftedLayers => (
                "shifted ids: layers of an overlay",
                true,
                State::Failure,
                "no notebook starts: its image cannot be shown with its own ids",
                "use a kernel of 5.19 or later; in a container, let it mount, and install xfsprogs",
            ),
            Probe::ControlGroup => (
                "control groups",
                true,
                State::Failure,
                "notebooks cannot be limited: none starts",
                "mount /sys/fs/cgroup read-write, with the controllers cpu, memory and pids",
            ),
            Probe::Firewall => (
                "firewall",
                true,
                State::Failure,
                "no notebook gets a network",
                "install nftables; modprobe nf_tables nft_ct nft_connlimit nft_fib_inet nft_masq",
            ),
            Probe::KernelLog => (
                "kernel's log",
                true,
                State::Warning,
                "nobody is told which kernel was killed when memory runs out",
                "in a container, pass /dev/kmsg in, and let it read the kernel's log (CAP_SYSLOG)",
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
