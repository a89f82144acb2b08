//! The volume at its place, and the instance's packages within.
//!
//! What people install goes into an environment in the volume (`.environment`), which is one notebook's: its programs have
//! its Python, and two notebooks that install at the same time would spoil each other's. So where the volume is not the
//! notebook's alone, its own volume lies over that folder. It goes with the notebook, and costs the others no room. Something
//! else than a folder of that name is left as it is, and the notebook has no environment then: the image's packages are
//! there all the same, as in a volume without room.
//!
//! A dedicated folder is found by the kernel, from its root's descriptor on and never out of it, whoever changes links there
//! meanwhile; what was found is what is mounted. Programs there do not become somebody else, its devices are no devices, and
//! nothing about it is changed.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use atelier_runtime::AtUri;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, fstat, mkdirat};

use super::layers::{WORK, as_user, slow_down};
use super::mounts::{self, Attributes, Programs};
use super::{LaunchSpec, Permanent, Work};
use crate::server::{GID, UID};
use crate::{control, dedicated, volume};

/// What people install.
const ENVIRONMENT: &str = ".environment";

/// Puts the volume at its place below `root`.
pub(super) fn put(spec: &LaunchSpec, user: BorrowedFd<'_>, root: &Path) -> anyhow::Result<()> {
    let work = root.join(WORK);
    match &spec.work {
        Work::Own => {
            return mounts::put_mount(own(spec)?, &spec.volume.display().to_string(), &work, user);
        }
        Work::Shared(image) => {
            let disk = disk(spec, volume::mount_shared(image)?)?;
            mounts::put_mount(disk, &image.display().to_string(), &work, user)?;
        }
        Work::Dedicated { root, below, uri } => {
            let nothing = || Permanent(AtUri::Nothing.trouble(uri).to_string());
            let folder = dedicated::open(root, below).with_context(|| format!("`{uri}`"))?.ok_or_else(nothing)?;
            let as_there = Attributes { programs: Programs::AsThere, ..Attributes::default() };
            mounts::put_folder(folder, uri, &work, user, as_there)?;
        }
    }
    packages(spec, user, &work).context("packages")
}

/// A disk of the instance's, whose top folder is ma-user's.
fn disk(spec: &LaunchSpec, mount: OwnedFd) -> anyhow::Result<OwnedFd> {
    slow_down(spec, &mount)?;
    if fstat(&mount)?.st_uid == 0 {
        chownat(&mount, "", Some(Uid::from_raw(UID)), Some(Gid::from_raw(GID)), AtFlags::EMPTY_PATH)?;
    }
    Ok(mount)
}

fn own(spec: &LaunchSpec) -> anyhow::Result<OwnedFd> {
    disk(spec, volume::mount(&spec.volume)?)
}

/// Lays the instance's own volume over the folder for packages.
fn packages(spec: &LaunchSpec, user: BorrowedFd<'_>, work: &Path) -> anyhow::Result<()> {
    let work = control::open_folder(work)?;
    // Whether it can be made, and whether it is one, is found out by opening it.
    let _ = as_user(spec.uid_base + UID, spec.uid_base + GID, || mkdirat(&work, ENVIRONMENT, Mode::from(0o755)))?;
    let Ok(target) = control::open_below(&work, Path::new(ENVIRONMENT)) else { return Ok(()) };
    if FileType::from_raw_mode(fstat(&target)?.st_mode) != FileType::Directory {
        return Ok(());
    }
    mounts::put_onto(own(spec)?, &spec.volume.display().to_string(), &target, user)
}
