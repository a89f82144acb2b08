//! Mounts that nobody else sees.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, move_mount,
    open_tree, unmount,
};

use super::Permanent;
use super::namespaces::unshare;
use crate::cgroup;

/// How a mount is had once more: alone, without what is mounted below it.
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// What a mount may be used for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(super) read_only: bool,
    pub(super) programs: Programs,
}

/// Whether programs on a mount may be run.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Programs {
    /// Also where the file system is mounted without execution on this machine.
    #[default]
    Run,
    /// Not even there.
    Never,
    /// As its mount on this machine has it.
    AsThere,
}

/// From here on every mount is this process's own.
pub(super) fn leave_the_hosts() -> anyhow::Result<()> {
    unshare(libc::CLONE_NEWNS).context("mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("private mounts")
}

/// From here on this process sees no control groups, so that the container library finds none to join or to set: it would
/// do so in the slow way, by the number of a process.
pub(super) fn show_no_control_groups() -> anyhow::Result<()> {
    let folder = "/sys/fs/cgroup";
    // Usually all of them at once.
    unmount(folder, UnmountFlags::DETACH).context("unmount")?;
    // Others may be anywhere. What cannot be reached by its path, the library cannot use either.
    for other in cgroup::points()?.iter().rev() {
        match unmount(other, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(e) => return Err(e).with_context(|| format!("unmount `{}`", other.display())),
        }
    }
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    // Where this is, the library takes them for version 1 without a hierarchy.
    mount("tmpfs", folder, "tmpfs", quiet, None).context("nothing")
}

/// Puts `source` at `target` once more, with the ids of a user namespace, without devices and set-uid programs.
pub(crate) fn put(source: &Path, target: &Path, user: BorrowedFd<'_>, with: Attributes) -> anyhow::Result<()> {
    place(again(source, user, with)?, target)
}

/// The same for a folder that is open. It is called `name`, and nothing that is mounted below it comes along.
pub(super) fn put_folder(
    folder: impl AsFd,
    name: &str,
    target: &Path,
    user: BorrowedFd<'_>,
    with: Attributes,
) -> anyhow::Result<()> {
    let tree = open_tree(folder, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH).with_context(|| format!("`{name}`"))?;
    place(shifted(tree, name, user, with)?, target)
}

/// Puts a mount that is nowhere yet at `target`, in the same way. It is called `name`.
pub(super) fn put_mount(mount: OwnedFd, name: &str, target: &Path, user: BorrowedFd<'_>) -> anyhow::Result<()> {
    place(shifted(mount, name, user, Attributes::default())?, target)
}

/// The same, onto a folder that is open.
pub(super) fn put_onto(mount: OwnedFd, name: &str, target: impl AsFd, user: BorrowedFd<'_>) -> anyhow::Result<()> {
    let mount = shifted(mount, name, user, Attributes::default())?;
    let both_open = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", both_open).with_context(|| format!("mount of `{name}`"))
}

fn again(source: &Path, user: BorrowedFd<'_>, with: Attributes) -> anyhow::Result<OwnedFd> {
    let name = source.display().to_string();
    let tree = open_tree(CWD, source, CLONE).with_context(|| format!("`{name}`"))?;
    shifted(tree, &name, user, with)
}

fn shifted(tree: OwnedFd, name: &str, user: BorrowedFd<'_>, with: Attributes) -> anyhow::Result<OwnedFd> {
    let mut set = libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    if with.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if with.programs == Programs::Never {
        set |= libc::MOUNT_ATTR_NOEXEC;
    }
    let clear = if with.programs == Programs::Run { libc::MOUNT_ATTR_NOEXEC } else { 0 };
    change(tree.as_fd(), set, clear, Some(user)).map_err(|e| cannot_shift(e, name))?;
    Ok(tree)
}

/// Puts a file of the machine at `target` once more, as it is, for reading alone, and for running.
pub(super) fn show(source: &Path, target: &Path) -> anyhow::Result<()> {
    put_as_it_is(source, target, libc::MOUNT_ATTR_RDONLY, libc::MOUNT_ATTR_NOEXEC)
}

/// Puts a folder whose files have the ids of the container's users at `target` once more. Nothing in it can be run.
pub(super) fn share(source: &Path, target: &Path) -> anyhow::Result<()> {
    put_as_it_is(source, target, libc::MOUNT_ATTR_NOEXEC, 0)
}

fn put_as_it_is(source: &Path, target: &Path, set: u64, clear: u64) -> anyhow::Result<()> {
    let tree = open_tree(CWD, source, CLONE).with_context(|| format!("`{}`", source.display()))?;
    let changed = change(tree.as_fd(), set | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID, clear, None);
    changed.with_context(|| format!("`{}`", source.display()))?;
    place(tree, target)
}

fn cannot_shift(error: io::Error, name: &str) -> anyhow::Error {
    if error.raw_os_error() == Some(libc::EINVAL) {
        let why =
            format!("the file system of `{name}` cannot shift ids: it must be one that can, as ext4, xfs and btrfs");
        return Permanent(why).into();
    }
    anyhow::Error::new(error).context(format!("ids of `{name}`"))
}

/// Puts a mount that is nowhere yet at `target`, as it is.
pub(crate) fn place(tree: impl AsFd, target: &Path) -> anyhow::Result<()> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("mount at `{}`", target.display()))
}

/// `user`: whose ids are shown, where they are shifted.
fn change(tree: BorrowedFd<'_>, set: u64, clear: u64, user: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: user.map_or(0, |user| user.as_raw_fd().unsigned_abs().into()),
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
