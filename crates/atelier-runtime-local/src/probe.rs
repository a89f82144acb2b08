//! What the machine allows, found out by doing it.
//!
//! A version or a flag in `/proc` says what a kernel could do; a container within a container, a security module or a
//! mount option decides what it does. So each probe does the thing itself, in a forked child that ends at once: its
//! namespaces and mounts end with it, a loop device frees itself with its last mount, and the folder that it worked in
//! is the caller's to remove. The control group alone is made and taken away here.
//!
//! [`try_out`] forks: it is for a process with one thread, which the command line's is before it starts a runtime.

mod shifted;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::{self, Limits};
use crate::config::DiskLimits;
use crate::launch::place;
use crate::{kernel_log, network, volume};

/// The smallest image that `mkfs.xfs` makes a file system on.
const XFS_BYTES: u64 = 320 << 20;
/// Where it is mounted, in the folder of the caller.
const POINT: &str = "point";
/// How long a control group may take to go.
const GROUP_LIMIT: Duration = Duration::from_secs(5);

/// Something that a notebook needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Namespaces for users.
    UserNamespace,
    /// Namespaces for mounts, processes, IPC and host names.
    Namespaces,
    /// Namespaces for networks.
    NetworkNamespace,
    /// An overlay, mounted and written to.
    Overlay,
    /// The same without root, in a namespace for users.
    OverlayInUserNamespace,
    /// An XFS image on a loop device, made, mounted and written to.
    Volume,
    /// A layer shown with a notebook's own ids, under an overlay that is written to.
    ShiftedLayers,
    /// A control group with limits, made and taken away.
    ControlGroup,
    /// The rules that keep notebooks apart, loaded into a network of their own.
    Firewall,
    /// The kernel's log, opened.
    KernelLog,
    /// The device of file systems in user space, opened.
    Fuse,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::UserNamespace,
        Self::Namespaces,
        Self::NetworkNamespace,
        Self::Overlay,
        Self::OverlayInUserNamespace,
        Self::Volume,
        Self::ShiftedLayers,
        Self::ControlGroup,
        Self::Firewall,
        Self::KernelLog,
        Self::Fuse,
    ];
}

/// Does it, in a child, with `scratch` (an empty folder of the caller's) to work in. The error is what the kernel or a
/// program said, and at what.
pub fn try_out(probe: Probe, scratch: &Path) -> Result<(), String> {
    match probe {
        Probe::ControlGroup => control_group().map_err(|e| e.to_string()),
        Probe::Firewall => in_child(|| enter(libc::CLONE_NEWNET).and_then(|()| firewall())),
        Probe::KernelLog => File::open(kernel_log::LOG).map(drop).map_err(at(kernel_log::LOG)),
        Probe::Fuse => {
            in_child(|| File::options().read(true).write(true).open("/dev/fuse").map(drop).map_err(at("/dev/fuse")))
        }
        Probe::UserNamespace => in_child(|| enter(libc::CLONE_NEWUSER)),
        Probe::Namespaces => {
            in_child(|| enter(libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS))
        }
        Probe::NetworkNamespace => in_child(|| enter(libc::CLONE_NEWNET)),
        Probe::Overlay => in_child(|| enter(libc::CLONE_NEWNS).and_then(|()| overlay(scratch))),
        Probe::OverlayInUserNamespace => in_child(|| as_own_root().and_then(|()| overlay(scratch))),
        Probe::Volume => in_child(|| enter(libc::CLONE_NEWNS).and_then(|()| xfs(scratch))),
        Probe::ShiftedLayers => in_child(|| {
            enter(libc::CLONE_NEWNS)
                .and_then(|()| xfs(scratch))
                .and_then(|()| shifted::layers(scratch, &scratch.join(POINT)))
        }),
    }
}

/// Shows `folder` with a notebook's ids, in a child, as each start does with the image's layers, the log and the run
/// folder. The error is what the kernel said.
pub fn try_shifting(folder: &Path, scratch: &Path) -> Result<(), String> {
    in_child(|| {
        enter(libc::CLONE_NEWNS).and_then(|()| keep_to_ourselves()).and_then(|()| shifted::folder(folder, scratch))
    })
}

fn at<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn enter(namespaces: i32) -> Result<(), String> {
    // SAFETY: no pointers.
    if unsafe { libc::unshare(namespaces) } == 0 { Ok(()) } else { Err(io::Error::last_os_error().to_string()) }
}

/// Root in a new namespace for users, for the one who asks.
fn as_own_root() -> Result<(), String> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    enter(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny").map_err(at("setgroups"))?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).map_err(at("uid_map"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).map_err(at("gid_map"))
}

/// Nothing that is mounted from now on is seen elsewhere.
fn keep_to_ourselves() -> Result<(), String> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(at("making mounts private"))
}

fn overlay(scratch: &Path) -> Result<(), String> {
    keep_to_ourselves()?;
    mount("probe", scratch, "tmpfs", MountFlags::empty(), None).map_err(at("tmpfs"))?;
    let folder = |name: &str| {
        let path = scratch.join(name);
        fs::create_dir(&path).map(|()| path).map_err(at(name))
    };
    let (lower, upper, work, merged) = (folder("lower")?, folder("upper")?, folder("work")?, folder("merged")?);
    fs::write(lower.join("file"), "below").map_err(at("lower"))?;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options).map_err(at("options"))?;
    mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str())).map_err(at("overlay"))?;
    fs::write(merged.join("file"), "above").map_err(at("writing"))?;
    match fs::read_to_string(lower.join("file")) {
        Ok(text) if text == "below" => Ok(()),
        _ => Err("the layer below has changed".into()),
    }
}

fn xfs(scratch: &Path) -> Result<(), String> {
    keep_to_ourselves()?;
    let (image, point) = (scratch.join("volume.img"), scratch.join(POINT));
    File::create(&image).and_then(|file| file.set_len(XFS_BYTES)).map_err(at("image"))?;
    let mut mkfs = Command::new("mkfs.xfs");
    mkfs.args(["-K", "-q", "-f"]).arg(&image).stdin(Stdio::null());
    let made = mkfs.output().map_err(at("mkfs.xfs"))?;
    if !made.status.success() {
        return Err(format!("mkfs.xfs: {}", String::from_utf8_lossy(&made.stderr).trim()));
    }
    fs::create_dir(&point).map_err(at("folder"))?;
    let mounted = volume::mount(&image).and_then(|mount| place(mount, &point));
    mounted.map_err(|e| format!("{e:#}"))?;
    fs::write(point.join("file"), "x").map_err(at("writing"))
}

fn firewall() -> Result<(), String> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut loading = nft.spawn().map_err(at("nft"))?;
    if let Some(mut input) = loading.stdin.take() {
        input.write_all(network::rules(&[], &[]).as_bytes()).map_err(at("nft"))?;
    }
    let loaded = loading.wait_with_output().map_err(at("nft"))?;
    // It says much: each line that it could not follow, and the mark below the word.
    let said = String::from_utf8_lossy(&loaded.stderr);
    if loaded.status.success() { Ok(()) } else { Err(format!("nft: {}", said.lines().next().unwrap_or_default())) }
}

fn control_group() -> io::Result<()> {
    let tree = cgroup::detect()?;
    let name = format!("probe-{}", std::process::id());
    let made =
        tree.create(&name, &Limits { cpu_millis: 1000, memory_bytes: 64 << 20, pids: 64, disk: DiskLimits::default() });
    let gone = cgroup::destroy(&*tree, &name, GROUP_LIMIT);
    made.and(gone)
}

/// Whether somebody keeps the machine's clock right, as the kernel was told.
pub fn clock_is_kept() -> bool {
    // SAFETY: all-zero bytes are a valid question that changes nothing.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives across the call.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    state >= 0 && asked.status & libc::STA_UNSYNC == 0
}

/// Does `work` in a forked child, which may do whatever it likes to itself.
fn in_child(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (mut from_child, mut to_parent) =
        pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (File::from(read), File::from(write))).map_err(at("pipe"))?;
    // SAFETY: the caller has one thread, so the child may do whatever the caller may.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            // SAFETY: no pointers. Whatever happens to the parent, nothing of this stays.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
            let said = work().err().map_or_else(|| "+".to_owned(), |error| format!("-{error}"));
            let told = to_parent.write_all(said.as_bytes());
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
        child => child,
    };
    drop(to_parent);
    let mut said = String::new();
    let heard = from_child.read_to_string(&mut said);
    reap(child);
    heard.map_err(at("pipe"))?;
    match said.split_at_checked(1) {
        Some(("+", _)) => Ok(()),
        Some(("-", error)) => Err(error.to_owned()),
        _ => Err("the process that tried it was ended".into()),
    }
}

fn reap(child: i32) {
    let mut status = 0;
    // SAFETY: the child is ours, and `status` a valid place for the result.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}
