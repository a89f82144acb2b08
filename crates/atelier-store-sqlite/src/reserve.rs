//! Room on the disk: how much there is, and the part of it that the log keeps for itself.
//!
//! When a disk is full, the way out is to stop and delete things, and both have to be committed first. So some
//! megabytes of the write-ahead log are allocated before they are needed: its file keeps its size, but owns the blocks
//! behind its end, and nobody else can take them. What is committed on a full disk goes there; folding it into the
//! database file has to wait until there is room, and is tried again by itself.
//!
//! A file system that cannot allocate ahead keeps no reserve; then a delete on a full disk is refused like everything
//! else, until somebody makes room.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use atelier_store::{Room, StoreError};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What the log owns: some hundreds of small commits.
const BYTES: u64 = 8 << 20;

/// The blocks that the log keeps.
#[derive(Debug)]
pub(crate) struct Reserve {
    log: PathBuf,
    kept: bool,
}

impl Reserve {
    /// The reserve of the log that belongs to the database at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self { log: with_suffix(path, "-wal"), kept: false }
    }

    /// Takes the blocks unless it has them. Called after a commit, when the log exists; costs nothing once it is done.
    pub(crate) fn keep(&mut self) {
        if self.kept {
            return;
        }
        let taken = OpenOptions::new()
            .write(true)
            .open(&self.log)
            .and_then(|log| Ok(fallocate(log, FallocateFlags::KEEP_SIZE, 0, BYTES)?));
        match taken {
            Ok(()) => self.kept = true,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {}
            Err(error) => {
                tracing::warn!(%error, "no reserve is kept for a full disk: the file system cannot allocate ahead");
                self.kept = true;
            }
        }
    }
}

/// Where the database lies.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(crate) fn of(path: &Path) -> Self {
        Self { folder: path.parent().unwrap_or(Path::new(".")).to_owned() }
    }

    /// What anybody may still write there.
    pub(crate) fn measure(&self) -> Result<Room, StoreError> {
        let seen = statvfs(&self.folder).map_err(|error| StoreError::Disk(format!("statvfs: {error}")))?;
        Ok(Room { path: self.folder.display().to_string(), free_bytes: seen.f_bavail.saturating_mul(seen.f_frsize) })
    }
}

/// The path of a file beside the database.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
