//! Where a zygote lives: the image's own root, read-only, without a network and with five rights.
//!
//! A zygote runs code of the image as root of this machine. It is the image as it was made; no tenant has been near it.
//! Still it sees nothing else of the machine, and it can do what it is there for and little more: enter the namespaces
//! of containers (`SYS_ADMIN`, `SYS_CHROOT`) and become their users (`SETUID`, `SETGID`, `SETPCAP`). The machine's own
//! process and user namespaces have to stay: namespaces can be entered only from above.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, unlinkat};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

use super::layers::WORK;
use super::mounts;
use super::namespaces::{share_pending_signals, unshare};
use crate::file::{absent_is_none, folder, names};

/// Where the zygote's own program is, from the root.
pub(crate) const PROGRAM: &str = "run/atelier/zygote";
/// Where ma-user's programs keep what is theirs, from the root: a zygote may write there in vain.
const LOCAL: &str = "home/ma-user/.local";
/// The mount point, in the run folder, for as long as it is needed; the process id follows.
const POINT: &str = "zygote-";
/// The devices that a Python finds.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Joining another container's namespaces, and becoming its user.
const RIGHTS: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP);

/// What a launcher is told of a zygote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ZygoteSpec {
    /// The image, topmost layer first.
    pub(crate) lowers: Vec<PathBuf>,
    /// A folder in which a mount point can be made.
    pub(crate) run: PathBuf,
    /// The program and its arguments, in the image.
    pub(crate) argv: Vec<String>,
    /// Links that the image has not, by their path from the root.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Files below [`PROGRAM`], by name.
    pub(crate) files: Vec<(String, String)>,
}

/// Becomes the zygote: reads a spec from the socket that is the standard input, and keeps it for the program.
pub(super) fn become_zygote() -> anyhow::Result<std::convert::Infallible> {
    let mut text = vec![0; 512 * 1024];
    // SAFETY: the standard input is open for as long as this process lives; the server has put a socket there.
    let gate = unsafe { BorrowedFd::borrow_raw(0) };
    let (read, _) = rustix::net::recv(gate, &mut text[..], rustix::net::RecvFlags::empty())?;
    let spec: ZygoteSpec = serde_json::from_slice(&text[..read]).context("the zygote's spec cannot be read")?;
    unshare(libc::CLONE_NEWNET | libc::CLONE_NEWIPC).context("namespaces")?;
    mounts::leave_the_hosts()?;
    forget_keys().context("keyring")?;
    share_pending_signals().context("pending signals")?;
    assemble(&spec).context("root")?;
    end_with_the_server(gate).context("gate")?;
    keep_rights().context("rights")?;
    inherit_nothing().context("descriptors")?;
    let program = spec.argv.first().context("the zygote has no program")?;
    let failed = Command::new(program)
        .args(&spec.argv[1..])
        .env_clear()
        .envs([("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("TMPDIR", "/tmp")])
        .exec();
    Err(failed).with_context(|| format!("`{program}`"))
}

/// The children would inherit the keys of whoever started the server.
fn forget_keys() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a keyring without one.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match io::Error::last_os_error() {
        _ if result >= 0 => Ok(()),
        // A kernel without keys has none to inherit.
        e if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        e => Err(e),
    }
}

/// While the program imports, it hears nothing. So the kernel ends it when the other end of the gate is closed: the
/// default action of this signal. When it is warm it ignores the signal and listens.
fn end_with_the_server(gate: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    let result = unsafe {
        libc::fcntl(gate.as_raw_fd(), libc::F_SETOWN, libc::getpid());
        let flags = libc::fcntl(gate.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(gate.as_raw_fd(), libc::F_SETFL, flags | libc::O_ASYNC)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel tells what happens from now on; whoever left before is asked for.
    let mut gone = [PollFd::new(&gate, PollFlags::RDHUP)];
    match poll(&mut gone, Some(&Timespec::default()))? {
        0 => Ok(()),
        _ => Err(io::Error::other("its server has gone")),
    }
}

/// Whatever else is open comes from whoever started the server.
fn inherit_nothing() -> io::Result<()> {
    // SAFETY: no pointers; the descriptors stay open until this process becomes another program.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn assemble(spec: &ZygoteSpec) -> anyhow::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    forget_the_dead(&spec.run)?;
    let name = format!("{POINT}{}", std::process::id());
    let (run, point) = (File::open(&spec.run)?, spec.run.join(&name));
    folder(&point, 0o700)?;
    mount("tmpfs", &point, "tmpfs", quiet, Some(c"mode=0755"))?;
    let (own, root) = (point.join("own"), point.join("root"));
    for path in ["own", "root", "own/dev", "own/proc", "own/tmp", "own/run", "own/run/atelier"] {
        folder(&point.join(path), 0o755)?;
    }
    for path in [LOCAL, WORK] {
        fs::create_dir_all(own.join(path))?;
    }
    let program = own.join(PROGRAM);
    folder(&program, 0o755)?;
    for (at, to) in &spec.links {
        let at = own.join(at);
        at.parent().map_or(Ok(()), fs::create_dir_all)?;
        std::os::unix::fs::symlink(to, at)?;
    }
    spec.files.iter().try_for_each(|(name, text)| fs::write(program.join(name), text))?;
    overlay(&own, &spec.lowers, &root)?;
    mount("proc", root.join("proc"), "proc", quiet | MountFlags::NOEXEC, Some(c"subset=pid"))?;
    mount("tmpfs", root.join("tmp"), "tmpfs", quiet, Some(c"mode=1777,size=64m"))?;
    mount("tmpfs", root.join(LOCAL), "tmpfs", quiet, Some(c"mode=0755,size=1m"))?;
    devices(&root.join("dev"))?;
    std::env::set_current_dir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    // Nothing is mounted there any more, in no namespace.
    Ok(unlinkat(&run, name, AtFlags::REMOVEDIR)?)
}

/// Removes the mount points of those that were killed before they had done so.
fn forget_the_dead(run: &Path) -> io::Result<()> {
    for name in names(run)? {
        let Some(pid) = name.strip_prefix(POINT) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            absent_is_none(fs::remove_dir(run.join(name)))?;
        }
    }
    Ok(())
}

/// Layers alone, so that nothing can be written.
fn overlay(own: &Path, lowers: &[PathBuf], root: &Path) -> anyhow::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (at, layer) in std::iter::once(own).chain(lowers.iter().map(PathBuf::as_path)).enumerate() {
        if at > 0 {
            options.push(b':');
        }
        for byte in layer.as_os_str().as_bytes() {
            // These end a layer's name, or the option.
            if b"\\:,".contains(byte) {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    let options = CString::new(options)?;
    mount("overlay", root, "overlay", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))?;
    Ok(())
}

fn devices(folder: &Path) -> anyhow::Result<()> {
    mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0755,size=64k"))?;
    for name in DEVICES {
        let here = folder.join(name);
        fs::write(&here, "")?;
        mount_bind(Path::new("/dev").join(name), &here)?;
    }
    Ok(())
}

/// Keeps five rights, for this process and everything that comes of it.
fn keep_rights() -> io::Result<()> {
    let all = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    for right in all.filter(|right| !RIGHTS.contains(*right)) {
        // The set ends where the kernel knows no further right.
        match capability_is_in_bounding_set(right) {
            Ok(true) => remove_capability_from_bounding_set(right)?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    let mut sets = capabilities(None)?;
    sets.permitted = RIGHTS;
    sets.effective = RIGHTS;
    sets.inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, sets)?)
}
