//! The host-wide cache of images: `images/<key>/`, and beside it what belongs to a build.
//!
//! | name | what |
//! |---|---|
//! | `<key>/layers/<n>/`, `<key>/image.json` | the image; it is whole, because it got this name by one rename |
//! | `<key>.lock` | locked (`flock`) by whoever builds; the kernel takes the lock back from the dead; never removed |
//! | `<key>.progress` | what the build is doing now, for those who wait in other processes |
//! | `<key>.failed` | why the last build failed: the reason in the first line, then the end of its output |
//! | `<key>.building-<pid>/` | the stage of a build |
//!
//! Under the lock of a key every stage of that key but one's own is left over from a death, so no process id has to be
//! believed.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::image::ImageError;

/// The place of one image in the cache.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    images: PathBuf,
    key: String,
}

/// The right to build; gone with this value, or with the process.
#[derive(Debug)]
pub(super) struct BuildLock(File);

impl Drop for BuildLock {
    /// Closing alone is not enough: a child that is just being forked by another thread holds the file, and with it the
    /// lock, until it has become its own program.
    fn drop(&mut self) {
        if let Err(e) = self.0.unlock() {
            tracing::warn!("the lock of a build could not be given back: {e}");
        }
    }
}

impl Entry {
    /// The entry of a key; nothing is made yet.
    pub(super) fn new(cache_dir: &Path, key: String) -> Self {
        Self { images: cache_dir.join("images"), key }
    }

    /// Where the image is, once it is there.
    pub(super) fn path(&self) -> PathBuf {
        self.images.join(&self.key)
    }

    /// The stage of this process's build.
    pub(super) fn stage(&self) -> PathBuf {
        self.beside(&format!("building-{}", std::process::id()))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.images.join(format!("{}.{ending}", self.key))
    }

    /// The lock, unless somebody else holds it.
    pub(super) fn try_lock(&self) -> Result<Option<BuildLock>, ImageError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.images).map_err(|e| ImageError::io(format!("make `{}`", self.images.display()), e))?;
        let path = self.beside("lock");
        try_lock(&path).map_err(|e| ImageError::io(format!("lock `{}`", path.display()), e))
    }

    /// Why the last build failed, when the last thing that happened here is a failure.
    pub(super) fn failure(&self) -> Option<String> {
        let text = fs::read_to_string(self.beside("failed")).ok()?;
        Some(text.lines().next().unwrap_or("the reason was not written").to_owned())
    }

    /// Keeps the reason of a failure and the end of the recipe's output.
    pub(super) fn record_failure(&self, reason: &str, tail: &str) -> io::Result<()> {
        let fresh = self.beside("failed.new");
        fs::write(&fresh, format!("{reason}\n\n{tail}"))?;
        fs::rename(&fresh, self.beside("failed"))
    }

    /// Forgets a failure.
    pub(super) fn forget_failure(&self) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.beside("failed")))
    }

    /// What the running build is doing.
    pub(super) fn progress(&self) -> Option<String> {
        fs::read_to_string(self.beside("progress")).ok().filter(|text| !text.is_empty())
    }

    /// Says what the build is doing. Written beside and renamed, so that nobody reads half a line.
    pub(super) fn set_progress(&self, text: &str) -> io::Result<()> {
        let fresh = self.beside("progress.new");
        fs::write(&fresh, text)?;
        fs::rename(&fresh, self.beside("progress"))
    }

    /// The build has ended.
    pub(super) fn clear_progress(&self) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.beside("progress")))
    }

    /// Gives the finished stage its name. Everything in it is on disk before it has it.
    pub(super) fn publish(&self) -> io::Result<()> {
        let images = File::open(&self.images)?;
        rustix::fs::syncfs(&images)?;
        fs::rename(self.stage(), self.path())?;
        images.sync_all()
    }

    /// Removes what builds have left that died: of this key, whose lock the caller holds, and of every key whose lock
    /// nobody holds.
    pub(super) fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.images)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((key, _)) = name.split_once(".building-") else { continue };
            let lock = if key == self.key { None } else { Some(try_lock(&self.images.join(format!("{key}.lock")))?) };
            if !matches!(lock, Some(None)) {
                absent_is_fine(fs::remove_dir_all(entry.path()))?;
            }
        }
        Ok(())
    }
}

fn try_lock(path: &Path) -> io::Result<Option<BuildLock>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(BuildLock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
