//! Room on the disk: how much there is, and the part of it that the log keeps for itself.
//!
//! When a disk is full, the way out is to stop and delete things, and both have to be committed first. So some
//! megabytes of the write-ahead log are allocated before they are needed: its file keeps its size, but owns the blocks
//! behind its end, and nobody else can take them. What is committed on a full disk goes there; folding it into the
//! database file has to wait until there is room, and is tried again by itself.
//!
//! A start needs some room before the log is open: the index of the log is made anew, and `SQLite` maps it into memory,
//! where a lack of room is no error but the end of the process. A spare file beside the database keeps that room while no
//! server runs ([`Spare`]); what the index takes is taken for good as soon as it is there.
//!
//! A file system that cannot allocate ahead keeps no reserve; then a delete on a full disk is refused like everything
//! else, until somebody makes room.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use atelier_store::{Room, StoreError};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What the log owns: some hundreds of small commits.
const BYTES: u64 = 8 << 20;

/// What the index of such a log takes, with some to spare.
const INDEX_BYTES: u64 = 128 << 10;
/// What a start may need at most.
const SPARE_BYTES: u64 = 1 << 20;
/// What is worth keeping.
const LEAST_SPARE_BYTES: u64 = 64 << 10;

/// The blocks that the log keeps, and its index.
#[derive(Debug)]
pub(crate) struct Reserve {
    log: PathBuf,
    index: PathBuf,
    kept: bool,
}

impl Reserve {
    /// The reserve of the log that belongs to the database at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self { log: with_suffix(path, "-wal"), index: with_suffix(path, "-shm"), kept: false }
    }

    /// Takes the blocks unless it has them. Called after a commit, when the log exists; costs nothing once it is done.
    pub(crate) fn keep(&mut self) {
        if self.kept {
            return;
        }
        match take(&self.index, INDEX_BYTES).and_then(|()| take(&self.log, BYTES)) {
            Ok(()) => self.kept = true,
            Err(error) if is_full(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no reserve is kept for a full disk: the file system cannot allocate ahead");
                self.kept = true;
            }
        }
    }

    /// Takes the blocks again that a folded log has given back, for the next start.
    pub(crate) fn keep_again(&mut self) {
        self.kept = false;
        self.keep();
    }
}

fn take(file: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    Ok(fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes)?)
}

fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error())
}

/// Room for a start, kept in a file of its own.
#[derive(Debug)]
pub(crate) struct Spare(PathBuf);

impl Spare {
    /// The spare of the database at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self(with_suffix(path, "-spare"))
    }

    /// Gives the room to whoever needs it next.
    pub(crate) fn give(&self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the room that is kept for a start cannot be given back");
            }
            _ => {}
        }
    }

    /// Keeps as much as there is. Without a spare, a start on a full disk may fail, and nothing else.
    pub(crate) fn keep(&self) {
        if let Err(error) = self.try_keep() {
            tracing::debug!(%error, "no room is kept for the next start");
        }
    }

    fn try_keep(&self) -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
        let mut bytes = SPARE_BYTES;
        loop {
            match take(&self.0, bytes) {
                Err(error) if is_full(&error) && bytes > LEAST_SPARE_BYTES => bytes /= 2,
                taken => return taken,
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
