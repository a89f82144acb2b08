//! Backups of what the server knows: made while it runs, and put back while it does not.
//!
//! A backup is a folder, or the same as one tar file. It holds the database as it was at one moment, the master key that
//! opens its secrets, `admin.json`, the configuration file of the data folder, and [`manifest`], which names each file
//! with its length and SHA-256. It does not hold volumes: those are gigabytes that change while they are copied, and
//! tools that can do that well exist. After a restore each notebook whose volume is not there says so.
//!
//! * [`make`] needs no server and disturbs none.
//! * [`restore`] verifies everything before it touches anything, keeps what was there, and lets go of nothing.

pub(crate) mod archive;
pub(crate) mod make;
pub(crate) mod manifest;
pub(crate) mod restore;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::failure::Failure;

/// The database, in the data folder as in a backup.
pub(crate) const DATABASE: &str = "atelier.db";
/// The key that its secrets are sealed with.
pub(crate) const MASTER_KEY: &str = "master.key";

/// A failure about a file.
fn of_file(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::new(format!("{}: {error}", path.display()))
}

fn make_private_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(path).map_err(of_file(path))
}

/// What was renamed or made in a folder is on disk.
fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(of_file(path))
}
