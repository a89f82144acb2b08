//! Making a backup.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_core::Timestamp;
use atelier_store_sqlite::Sealer;
use secrecy::SecretString;

use super::manifest::{FILES, Manifest};
use super::{DATABASE, MASTER_KEY, archive, make_private_folder, of_file, sync_folder};
use crate::failure::Failure;

/// Backs up the data folder `from` to `to`: a new file when its name ends in `.tar`, else a new or an empty folder.
/// Nothing is at `to` before all of it is there.
pub(crate) async fn make(
    from: &Path,
    to: &Path,
    master_key: Option<&SecretString>,
    now: Timestamp,
) -> Result<Manifest, Failure> {
    let database = from.join(DATABASE);
    if !atelier_store_sqlite::is_there(&database) {
        return Err(Failure::new(format!("there is no database to back up in {}", from.display()))
            .hint("--data-dir names the data folder of the server"));
    }
    refuse_what_is_there(to)?;
    let draft = Draft::beside(to)?;
    let copied = atelier_store_sqlite::copy(&database, &draft.0.join(DATABASE)).await;
    let copied = copied.map_err(|e| Failure::new(format!("the database cannot be copied: {e}")))?;
    make_private(&draft.0.join(DATABASE))?;
    for name in FILES.into_iter().filter(|name| *name != DATABASE) {
        copy_private(&from.join(name), &draft.0.join(name))?;
    }
    prove_key(&draft.0, master_key).await?;
    let manifest = Manifest::write(&draft.0, now.as_millis(), copied)?;
    draft.place(&manifest, to)?;
    Ok(manifest)
}

fn refuse_what_is_there(to: &Path) -> Result<(), Failure> {
    let taken = match std::fs::symlink_metadata(to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(of_file(to)(e)),
        Ok(seen) if seen.is_dir() && !archive::is_named_so(to) => {
            std::fs::read_dir(to).map_err(of_file(to))?.next().is_some()
        }
        Ok(_) => true,
    };
    if taken {
        return Err(Failure::new(format!("{} is there already; a backup overwrites nothing", to.display()))
            .hint("name a new file (`.tar`), or a new or an empty folder"));
    }
    Ok(())
}

/// A backup that cannot be opened is none.
async fn prove_key(folder: &Path, master_key: Option<&SecretString>) -> Result<(), Failure> {
    if master_key.is_none() && !folder.join(MASTER_KEY).exists() {
        return Err(Failure::new(format!("there is no `{MASTER_KEY}` in the data folder"))
            .hint("set `ATELIER_MASTER_KEY` as the server has it; it is not put into the backup"));
    }
    let sealer = Sealer::load_or_create(folder, master_key, Arc::new(crate::serve::ThreadEntropy));
    let sealer = sealer.map_err(|e| Failure::new(format!("the master key: {e}")))?;
    let proven = atelier_store_sqlite::prove_key(&folder.join(DATABASE), &sealer).await;
    proven.map_err(|e| Failure::new(e.to_string()))
}

fn make_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(of_file(path))
}

/// Copies a file if it is there; only its owner may read the copy, which is on disk when this returns.
pub(super) fn copy_private(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut source = match std::fs::File::open(from) {
        Ok(source) => source,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(of_file(from)(e)),
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut out = made.map_err(of_file(to))?;
    io::copy(&mut source, &mut out).and_then(|_| out.sync_all()).map_err(of_file(to))
}

/// A backup that is being made, in a folder beside its place; gone when it does not get there.
struct Draft(PathBuf);

impl Draft {
    fn beside(to: &Path) -> Result<Self, Failure> {
        let to = std::path::absolute(to).map_err(of_file(to))?;
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(of_file(parent))?;
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let draft = to.with_file_name(name);
        make_private_folder(&draft)?;
        Ok(Self(draft))
    }

    fn place(self, manifest: &Manifest, to: &Path) -> Result<(), Failure> {
        let to = std::path::absolute(to).map_err(of_file(to))?;
        if archive::is_named_so(&to) {
            let packed = self.0.join("packed.tar");
            archive::pack(&self.0, manifest, &packed)?;
            std::fs::hard_link(&packed, &to).map_err(of_file(&to))?;
        } else {
            sync_folder(&self.0)?;
            std::fs::rename(&self.0, &to).map_err(of_file(&to))?;
        }
        to.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
