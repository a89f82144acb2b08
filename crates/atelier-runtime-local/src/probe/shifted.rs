//! Shifted ids: the mounts that every start makes, by the very code that makes them.
//!
//! Whether a file system can shift ids is its own affair (tmpfs can since Linux 6.3, a network file system hardly ever),
//! so a folder is tried where it lies. An overlay above shifted layers is a matter of its own: the kernel has to make
//! the upper layer's files for ids that the disk does not know.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::config::LocalConfig;
use crate::launch::{Attributes, Spaces, as_files_of, namespaces, put};

/// Puts `source` at a new folder of this name, shifted; answers the first id there.
fn shift(source: &Path, target: &Path) -> anyhow::Result<u32> {
    let base = LocalConfig::new("/".into()).uid_base;
    let Spaces { user, .. } = namespaces(base)?;
    fs::create_dir(target)?;
    put(source, target, user.as_fd(), Attributes::default())?;
    Ok(base)
}

pub(super) fn folder(folder: &Path, scratch: &Path) -> Result<(), String> {
    let shown = scratch.join("shifted");
    let tried = shift(folder, &shown).and_then(|base| {
        let (below, seen) = (fs::metadata(folder)?.uid(), fs::metadata(&shown)?.uid());
        anyhow::ensure!(seen == base + below, "its owner {below} is shown as {seen} and not as {}", base + below);
        Ok(())
    });
    tried.map_err(|e| format!("{e:#}"))
}

/// With `disk`, a file system of its own: a layer below, one above, both shifted, and a file that root of the container
/// writes through the overlay.
pub(super) fn layers(scratch: &Path, disk: &Path) -> Result<(), String> {
    let (shown, merged) = (scratch.join("shifted"), scratch.join("merged"));
    let tried = (|| {
        for name in ["lower", "upper", "work"] {
            fs::create_dir(disk.join(name))?;
        }
        fs::write(disk.join("lower/file"), "below")?;
        let base = shift(disk, &shown)?;
        fs::create_dir(&merged)?;
        let place = |name: &str| shown.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", place("lower"), place("upper"), place("work"));
        let options = std::ffi::CString::new(options)?;
        as_files_of(base, || {
            mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
            fs::write(merged.join("file"), "above")
        })??;
        let kept = disk.join("upper/file");
        let (owner, below) = (fs::metadata(&kept)?.uid(), fs::read_to_string(disk.join("lower/file"))?);
        anyhow::ensure!(owner == 0, "what root of a notebook writes is kept as {owner}'s");
        anyhow::ensure!(below == "below", "the layer below has changed");
        Ok(())
    })();
    tried.map_err(|e: anyhow::Error| format!("{e:#}"))
}
