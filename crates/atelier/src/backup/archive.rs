//! A backup as one file: a plain tar of the files that a backup has.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::manifest::{FILES, MANIFEST, Manifest};
use super::of_file;
use crate::failure::Failure;

/// Whether a path is meant to be a tar file.
pub(crate) fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

/// Packs the backup in `folder` into the new file `path`, which only its owner may read. On disk when this returns.
pub(super) fn pack(folder: &Path, manifest: &Manifest, path: &Path) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(of_file(path))?;
    let mut tar = tar::Builder::new(file);
    tar.mode(tar::HeaderMode::Deterministic);
    for name in [MANIFEST].into_iter().chain(manifest.names()) {
        tar.append_path_with_name(folder.join(name), name).map_err(of_file(path))?;
    }
    tar.into_inner().and_then(|file| file.sync_all()).map_err(of_file(path))
}

/// Unpacks what a backup may hold from `path` into `folder`; anything else in it is refused.
pub(super) fn unpack(path: &Path, folder: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(of_file(path))?;
    let no_tar = |e: std::io::Error| Failure::new(format!("{} is no backup of atelier: {e}", path.display()));
    for entry in tar::Archive::new(BufReader::new(file)).entries().map_err(no_tar)? {
        let mut entry = entry.map_err(no_tar)?;
        let name = entry.path().map_err(no_tar)?.to_string_lossy().into_owned();
        let known = name == MANIFEST || FILES.contains(&name.as_str());
        if !known || !entry.header().entry_type().is_file() {
            return Err(Failure::new(format!("{} holds `{name}`, which no backup of atelier does", path.display())));
        }
        let to = folder.join(&name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
        let mut out = made.map_err(of_file(&to))?;
        std::io::copy(&mut entry, &mut out).map_err(of_file(&to))?;
    }
    Ok(())
}
