//! Files and folders, written so that a crash of a program leaves either the old or the new.
//!
//! What is written here says what runs on this machine, so it is worth nothing after the machine has stopped, and nothing
//! waits until it is on disk. What has to outlive that, the volumes, is made with more care.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The folder exists afterwards, with exactly these permissions.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The folder exists afterwards, with this owner and these permissions.
pub(crate) fn owned_folder(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    folder(path, mode)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
}

/// What the name of a file ends with that is to take the place of another.
pub(crate) const FRESH: &str = "new";

/// Writes a file: whoever reads it, before or after, finds it whole.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let mut file = File::create(&fresh)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    // Not by a rename over the former one, unless the file system knows nothing else: ext4 takes that for the wish to have
    // the new one on disk at once.
    match renameat_with(CWD, &fresh, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(&fresh),
        Err(_) => fs::rename(&fresh, path),
    }
}

/// The names in a file's folder are on disk when this returns.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The file's content, or `None` when there is no such file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    absent_is_none(fs::read(path))
}

/// The file is gone afterwards.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    absent_is_none(fs::remove_file(path)).map(drop)
}

/// Not being there is no error.
pub(crate) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The names in a folder; none when there is no such folder.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = absent_is_none(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in ["first", "second", "third"] {
            replace(&path, content.as_bytes(), 0o640).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
            assert_eq!(names(folder.path()).unwrap(), ["file"]);
        }
    }
}
