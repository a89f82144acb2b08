//! The container's root: the image's layers below, the instance's own layer on top, the volume and Atelier's folder
//! in their places.
//!
//! Ids on disk are never shifted: root is 0 and ma-user 1000 in every layer. The shift happens in idmapped mounts, so
//! that the range can be another one at each start and a layer can be saved as it is. Atelier's folder lasts for one start,
//! and on a tmpfs, which shifts no ids before Linux 6.3: what is in it belongs to the container's root as the machine
//! numbers it.
//!
//! The instance's own layer is a file system of its own and of bounded size: what a notebook writes outside of its
//! volume must not fill the machine's disk. It stays reachable from the host, while the container runs, below
//! Atelier's folder in the container's root, in a folder that is closed to ma-user.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::fstat;
use rustix::mount::{MountFlags, mount, mount_remount};

use super::namespaces::Spaces;
use super::{LaunchSpec, mounts, work};
use crate::file::{folder, owned_folder};
use crate::gpu::{self, Equipment};
use crate::server::{GID, UID};
use crate::volume;

/// Where the volume is, from the root.
pub(crate) const WORK: &str = "home/ma-user/work";
/// Where Atelier's folder is, from the root.
const OURS: &str = "run/atelier";
/// Where its own layer is, below Atelier's folder.
const LAYER: &str = "layer";
/// What of it lies over the image.
const UP: &str = "up";
/// The launcher's own folder, in the run folder.
const OWN: &str = "m";

/// Where the container's root is.
pub(super) fn root(spec: &LaunchSpec) -> PathBuf {
    spec.run.join("root")
}

/// An instance's own layer with what every layer has, mounted at no place yet.
pub(super) struct OwnLayer(OwnedFd);

impl OwnLayer {
    pub(super) fn mount(image: &Path) -> anyhow::Result<Self> {
        let mount = volume::mount_layer(image)?;
        own_folders(&PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())))?;
        Ok(Self(mount))
    }
}

/// Makes the folders and mounts everything; `layer` where it is mounted already.
pub(super) fn assemble(spec: &LaunchSpec, spaces: &Spaces, layer: Option<OwnLayer>) -> anyhow::Result<()> {
    let user = spaces.user.as_fd();
    let root = root(spec);
    shared_folder(&spec.run.join("run"), spec.uid_base).context("run folder")?;
    folder(&root, 0o755)?;
    own_folder(&spec.run.join(OWN))?;
    let point = own_layer_point(spec);
    folder(&point, 0o755)?;
    own_layer(spec, layer, &point).context("own layer")?;
    overlay(spec, user, &root).context("overlay")?;
    work::put(spec, user, &root).context("volume")?;
    ours(spec, user, &root).context("run folder")?;
    driver(&spec.equipment, &root).context("driver of the GPUs")?;
    mounts::forget(&point)
}

/// What was mounted is one of the instance's disks, which is no faster than it may be.
pub(super) fn slow_down(spec: &LaunchSpec, mount: impl AsFd) -> anyhow::Result<()> {
    let disk = fstat(mount)?.st_dev;
    spec.throttles.iter().try_for_each(|throttle| throttle.apply(disk)).context("disk limits")
}

/// A place of the launcher's own.
pub(super) fn point(spec: &LaunchSpec, name: &str) -> PathBuf {
    spec.run.join(OWN).join(name)
}

/// What the launcher needs and nobody else, on no disk: it goes with the launcher.
fn own_folder(own: &Path) -> anyhow::Result<()> {
    folder(own, 0o700)?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", own, "tmpfs", quiet, Some(c"mode=0700,size=1m")).context("own folder")
}

fn own_layer_point(spec: &LaunchSpec) -> PathBuf {
    point(spec, "l")
}

fn own_layer(spec: &LaunchSpec, layer: Option<OwnLayer>, point: &Path) -> anyhow::Result<()> {
    let OwnLayer(mount) = layer.map_or_else(|| OwnLayer::mount(&spec.layer), Ok)?;
    slow_down(spec, &mount)?;
    mounts::place(mount, point)?;
    if spec.equipment.libraries.is_empty() {
        return Ok(());
    }
    Ok(links_to_the_driver(&spec.equipment, &point.join(UP))?)
}

/// The folders of an instance's own layer. It holds every mount point, as a real folder: a link of that name in the image cannot
/// lead a mount elsewhere.
fn own_folders(layer: &Path) -> std::io::Result<()> {
    folder(layer, 0o700)?;
    folder(&layer.join("wk"), 0o700)?;
    let up = layer.join(UP);
    for point in ["", "home", "proc", "sys", "dev", "run", OURS, "etc"] {
        folder(&up.join(point), 0o755)?;
    }
    folder(&up.join("tmp"), 0o1777)?;
    let home = up.join("home/ma-user");
    owned_folder(&home, 0o755, UID, GID)?;
    owned_folder(&home.join("work"), 0o755, UID, GID)
}

/// The driver's libraries by their names where the loader looks without being told. A program that is started is told by
/// its environment; one that was forked from a zygote is not, because the loader reads that once.
fn links_to_the_driver(equipment: &Equipment, up: &Path) -> std::io::Result<()> {
    let usual = up.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    for point in [&up.join(gpu::ROOT), &usual] {
        for above in point.ancestors().take_while(|above| *above != up) {
            folder(above, 0o755)?;
        }
    }
    let names = equipment.libraries.iter().flat_map(|file| file.links.iter().chain([&file.name]));
    let to = |name: &String| Path::new("/").join(gpu::ROOT).join(gpu::LIBRARIES).join(name);
    names.into_iter().try_for_each(|name| symlink(to(name), usual.join(name)))
}

/// The driver's files, in a folder of their own. They are the machine's: nobody writes them, and their ids stay what
/// they are, since everybody may read them.
fn driver(equipment: &Equipment, root: &Path) -> anyhow::Result<()> {
    if equipment.libraries.is_empty() {
        return Ok(());
    }
    let point = root.join(gpu::ROOT);
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &point, "tmpfs", quiet, Some(c"mode=0755,size=64k"))?;
    for (name, files) in [(gpu::LIBRARIES, &equipment.libraries), (gpu::PROGRAMS, &equipment.programs)] {
        let place = point.join(name);
        folder(&place, 0o755)?;
        for file in files {
            let target = place.join(&file.name);
            fs::write(&target, "")?;
            mounts::show(&file.source, &target)?;
            file.links.iter().try_for_each(|link| symlink(&file.name, place.join(link)))?;
        }
    }
    Ok(mount_remount(&point, quiet | MountFlags::RDONLY, "")?)
}

/// What both sides see: closed to ma-user except for reading, so that only root, on either side, writes here.
fn shared_folder(run: &Path, root: u32) -> std::io::Result<()> {
    for name in ["", "bin", "log", "nb", LAYER] {
        folder(&run.join(name), 0o755)?;
    }
    fs::write(run.join("bin/init"), "")?;
    give(run, root)
}

/// The folder and everything in it belong to this user and group afterwards.
fn give(path: &Path, id: u32) -> std::io::Result<()> {
    lchown(path, Some(id), Some(id))?;
    if fs::symlink_metadata(path)?.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| give(&entry?.path(), id))?;
    }
    Ok(())
}

/// Mounts the overlay. It must be done with the file-system ids of the container's root: what the kernel makes in the
/// upper layer's mount for somebody whose ids it does not know is refused, and the root would silently be read-only.
fn overlay(spec: &LaunchSpec, user: BorrowedFd<'_>, root: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(!spec.lowers.is_empty(), "the image has no layers");
    let points = spec.run.join(OWN);
    let names: Vec<String> = (0..spec.lowers.len()).map(|n| n.to_string()).collect();
    let read_only = mounts::Attributes { read_only: true, ..Default::default() };
    for (name, lower) in names.iter().zip(&spec.lowers) {
        let point = points.join(name);
        folder(&point, 0o755)?;
        mounts::put(lower, &point, user, read_only)?;
    }
    let own = points.join("u");
    folder(&own, 0o755)?;
    mounts::put(&own_layer_point(spec), &own, user, mounts::Attributes::default())?;
    // Relative names: the mount's options can be read inside and must not tell paths of this machine.
    std::env::set_current_dir(&points)?;
    let options = format!("lowerdir={},upperdir=u/{UP},workdir=u/wk", names.join(":"));
    let options = std::ffi::CString::new(options)?;
    let mounted = as_files_of(spec.uid_base, || {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("overlay", root, "overlay", flags, Some(options.as_c_str()))
    })?;
    mounted.context("mount")?;
    std::env::set_current_dir("/")?;
    names.iter().map(String::as_str).chain(["u"]).try_for_each(|name| mounts::forget(&points.join(name)))
}

/// Does something with the file-system ids of `id`, and with all rights: changing the ids takes some of them away.
pub(crate) fn as_files_of<T>(id: u32, work: impl FnOnce() -> T) -> anyhow::Result<T> {
    set_file_ids(id, id);
    let rights = raise_rights();
    let result = rights.map(|()| work());
    set_file_ids(0, 0);
    raise_rights().context("rights")?;
    result.context("rights")
}

/// Does something as this user would: with their file-system ids, and without rights over other people's files.
pub(super) fn as_user<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> anyhow::Result<T> {
    set_file_ids(uid, gid);
    let result = work();
    set_file_ids(0, 0);
    raise_rights().context("rights")?;
    Ok(result)
}

fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: no pointers. They return the former id and cannot tell an error; the caller's work would fail then.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Makes every permitted capability effective.
fn raise_rights() -> std::io::Result<()> {
    use rustix::thread::{capabilities, set_capabilities};
    let mut sets = capabilities(None)?;
    sets.effective = sets.permitted;
    Ok(set_capabilities(None, sets)?)
}

fn ours(spec: &LaunchSpec, user: BorrowedFd<'_>, root: &Path) -> anyhow::Result<()> {
    let target = root.join(OURS);
    let no_exec = mounts::Attributes { programs: mounts::Programs::Never, ..Default::default() };
    mounts::share(&spec.run.join("run"), &target)?;
    mounts::put(&spec.log, &target.join("log"), user, no_exec)?;
    mounts::put(&own_layer_point(spec), &target.join(LAYER), user, no_exec)?;
    mounts::show(&spec.init, &target.join("bin/init"))
}
