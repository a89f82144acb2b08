//! The user and network namespaces, made by hand.
//!
//! The network namespace has to be made *inside* the user namespace, or the container could not own it, and its
//! loopback has to be raised there. The container library can do neither, so both are made here, by a child that the
//! launcher forks; the launcher keeps them by descriptor. (The launcher has one thread: a forked child may do anything.)
//!
//! Much of what the kernel counts for each user it counts up the tree of user namespaces, for their owners as well. The
//! owner of all is root, and has to be: only the owner enters a namespace without the right to trace every process of
//! the machine. So each notebook is given a small share of root's.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::child;
use crate::slot::UIDS;

/// How much of what root has a notebook may have. No further user namespaces, whatever a filter lets pass.
const SHARES: [(&str, u32); 3] =
    [("max_user_namespaces", 0), ("max_inotify_instances", 128), ("max_inotify_watches", 131_072)];
/// How many signals may wait for a notebook's processes; timers count as well.
const PENDING_SIGNALS: u64 = 1024;

/// The namespaces of a container to be.
pub(crate) struct Spaces {
    pub(crate) user: File,
    pub(crate) network: File,
}

/// Makes both namespaces, with the ids from `uid_base` on.
pub(crate) fn make(uid_base: u32) -> anyhow::Result<Spaces> {
    let (mut from_child, mut to_parent) = pipe()?;
    let (mut from_parent, mut to_child) = pipe()?;
    let child = child::fork(|| enter(&mut from_parent, &mut to_parent))?;
    // Only the child may hold this end, so that its death is seen as the end of what it says.
    drop(to_parent);
    hear(&mut from_child).context("the child made no user namespace")?;
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let map = format!("0 {uid_base} {UIDS}");
    fs::write(proc.join("uid_map"), &map).context("uid_map")?;
    fs::write(proc.join("gid_map"), &map).context("gid_map")?;
    say(&mut to_child)?;
    hear(&mut from_child).context("the child made no network namespace")?;
    let spaces = Spaces { user: File::open(proc.join("ns/user"))?, network: File::open(proc.join("ns/net"))? };
    say(&mut to_child)?;
    child.wait()?;
    Ok(spaces)
}

/// In the child: enters a new user namespace, and in it, once its ids are mapped, a new network namespace.
fn enter(from_parent: &mut File, to_parent: &mut File) -> io::Result<()> {
    unshare(libc::CLONE_NEWUSER)?;
    say(to_parent)?;
    hear(from_parent)?;
    for (setting, most) in SHARES {
        fs::write(Path::new("/proc/sys/user").join(setting), most.to_string())?;
    }
    unshare(libc::CLONE_NEWNET)?;
    raise_loopback()?;
    say(to_parent)?;
    hear(from_parent)
}

/// This process and what it starts have a small share of the signals that may wait. Not before the user namespace has
/// been made: what its maker may have is compared with what all of the owner's namespaces have together.
pub(super) fn share_pending_signals() -> io::Result<()> {
    let share = Rlimit { current: Some(PENDING_SIGNALS), maximum: Some(PENDING_SIGNALS) };
    Ok(setrlimit(Resource::Sigpending, share)?)
}

pub(super) fn unshare(namespaces: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    if unsafe { libc::unshare(namespaces) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn pipe() -> io::Result<(File, File)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

fn say(to: &mut File) -> io::Result<()> {
    to.write_all(b"!")
}

fn hear(from: &mut File) -> io::Result<()> {
    from.read_exact(&mut [0])
}

/// `IFF_UP` and `IFF_RUNNING` in the width of the request's field.
const UP_AND_RUNNING: libc::c_short = 0x41;
const _: () = assert!(UP_AND_RUNNING as i32 == libc::IFF_UP | libc::IFF_RUNNING);

fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all-zero bytes are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = UP_AND_RUNNING;
    // SAFETY: the request names an interface and carries flags, as this call expects; it lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
