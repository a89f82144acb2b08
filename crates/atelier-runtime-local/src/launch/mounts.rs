//! Mounts that nobody else sees.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree, unmount,
};

use super::Permanent;
use super::namespaces::unshare;

/// What a mount may be used for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(super) read_only: bool,
    pub(super) no_exec: bool,
}

/// From here on every mount is this process's own.
pub(super) fn leave_the_hosts() -> anyhow::Result<()> {
    unshare(libc::CLONE_NEWNS).context("mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("private mounts")
}

/// Puts `source` at `target` once more, with the ids of a user namespace, without devices and set-uid programs.
pub(crate) fn put(source: &Path, target: &Path, user: BorrowedFd<'_>, with: Attributes) -> anyhow::Result<()> {
    let tree = clone(source)?;
    let mut set = libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    if with.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    // A program on a file system that is mounted without execution has to run here all the same.
    let clear = if with.no_exec { 0 } else { libc::MOUNT_ATTR_NOEXEC };
    if with.no_exec {
        set |= libc::MOUNT_ATTR_NOEXEC;
    }
    let changed = change(tree.as_fd(), set, clear, user);
    changed.map_err(|e| cannot_shift(e, source))?;
    place(&tree, target)
}

fn cannot_shift(error: io::Error, source: &Path) -> anyhow::Error {
    let source = source.display();
    if error.raw_os_error() == Some(libc::EINVAL) {
        let why = format!("the file system of `{source}` cannot shift ids: put the data folder on ext4, xfs or btrfs");
        return Permanent(why).into();
    }
    anyhow::Error::new(error).context(format!("ids of `{source}`"))
}

fn clone(source: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, source, flags).with_context(|| format!("`{}`", source.display()))
}

fn place(tree: &OwnedFd, target: &Path) -> anyhow::Result<()> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("mount at `{}`", target.display()))
}

fn change(tree: BorrowedFd<'_>, set: u64, clear: u64, user: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: u64::from(user.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the path is an empty string, and the structure lives across the call with the size that is named.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a mount out of the way; what uses it keeps it.
pub(super) fn forget(target: &Path) -> anyhow::Result<()> {
    unmount(target, UnmountFlags::DETACH).with_context(|| format!("unmount `{}`", target.display()))
}
