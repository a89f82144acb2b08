//! The host's settings as a layer of its own, on top of the image's: certificates, `pip.conf`, `uv.toml`.
//!
//! Layers below a mounted overlay must never change, so each version of the settings has a folder of its own, named by
//! its content, that is written once. An old one stays: a running notebook may stand on it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::host::NotebookFile;

/// The layer with these files; `None` when there are none.
pub(super) fn ensure(cache_dir: &Path, files: &[NotebookFile]) -> io::Result<Option<PathBuf>> {
    if files.is_empty() {
        return Ok(None);
    }
    let all = cache_dir.join("settings");
    let layer = all.join(name(files));
    if layer.is_dir() {
        return Ok(Some(layer));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&all)?;
    write(&all, &layer, files)?;
    Ok(Some(layer))
}

fn name(files: &[NotebookFile]) -> String {
    let mut hash = Sha256::new();
    for NotebookFile { path, content } in files {
        for part in [path.as_bytes(), content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hex::encode(&hash.finalize()[..16])
}

/// Written beside and renamed: who comes second finds the first one's, which is the same.
fn write(all: &Path, layer: &Path, files: &[NotebookFile]) -> io::Result<()> {
    let fresh = all.join(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
    open_folder(&fresh)?;
    for file in files {
        let path = fresh.join(file.path.trim_start_matches('/'));
        open_folders(&fresh, path.parent().unwrap_or(&fresh))?;
        fs::write(&path, &file.content)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    rustix::fs::syncfs(fs::File::open(all)?)?;
    match fs::rename(&fresh, layer) {
        Err(_) if layer.is_dir() => fs::remove_dir_all(&fresh),
        other => other,
    }
}

fn open_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    open_folders(root, folder.parent().unwrap_or(root))?;
    open_folder(folder)
}

/// A folder that everybody may read, whatever the umask.
fn open_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_written_once_for_each_content() {
        let cache = tempfile::tempdir().unwrap();
        let file = |text: &str| NotebookFile { path: "/etc/uv/uv.toml", content: text.into() };
        assert_eq!(ensure(cache.path(), &[]).unwrap(), None);
        let one = ensure(cache.path(), &[file("a")]).unwrap().unwrap();
        let again = ensure(cache.path(), &[file("a")]).unwrap().unwrap();
        let two = ensure(cache.path(), &[file("b")]).unwrap().unwrap();
        assert_eq!(one, again);
        assert_ne!(one, two);
        assert_eq!(fs::read_to_string(two.join("etc/uv/uv.toml")).unwrap(), "b");
        for folder in [&one, &one.join("etc"), &one.join("etc/uv")] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o7777, 0o755);
        }
        assert_eq!(fs::read_dir(cache.path().join("settings")).unwrap().count(), 2);
    }
}
