//! Claims: what one notebook of a machine holds, and no other, for as long as anything of it may run.
//!
//! A claim must hold also between servers with data folders of their own that run on one machine, and it must outlive
//! the server that made it. So it is a file in a folder that all of them share, changed only under a lock that the
//! kernel releases when its holder dies, and put in place as a whole, so that no crash leaves half a claim. Claims of an
//! earlier boot, and of notebooks whose folder is gone, hold nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file;
use crate::process::boot_id;

const LOCK: &str = "lock";

/// Who holds something.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Holder {
    notebook: PathBuf,
    boot_id: String,
}

/// The claims to things of one kind, each by its name.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    folder: PathBuf,
}

impl Claims {
    /// Those in this folder, which is made with the first of them.
    pub(crate) const fn of_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Nobody else changes a claim until this is dropped.
    pub(crate) fn lock(&self) -> io::Result<Locked<'_>> {
        file::folder(&self.folder, 0o700)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.path(LOCK))?;
        file.lock()?;
        Ok(Locked { claims: self, boot_id: boot_id()?, _lock: file })
    }

    /// What the notebook with this folder holds, or held in an earlier boot.
    pub(crate) fn of(&self, notebook: &Path) -> io::Result<Vec<String>> {
        let all = self.all()?.into_iter();
        Ok(all.filter(|(_, holder)| holder.notebook == notebook).map(|(name, _)| name).collect())
    }

    /// The notebook with this folder holds nothing afterwards.
    pub(crate) fn release(&self, notebook: &Path) -> io::Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.of(notebook)?.iter().try_for_each(|name| file::remove(&self.path(name)))
    }

    /// Where something is kept beside the claims that is changed under their lock; no claim is called so.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whatever else is in the folder is no claim, because it does not read like one.
    fn all(&self) -> io::Result<Vec<(String, Holder)>> {
        let whole = |name: &String| Path::new(name).extension().is_none_or(|end| end != file::FRESH);
        let names = file::names(&self.folder)?.into_iter().filter(whole);
        let mut all = Vec::new();
        for name in names {
            if let Some(text) = file::read(&self.path(&name))?
                && let Ok(holder) = serde_json::from_slice(&text)
            {
                all.push((name, holder));
            }
        }
        Ok(all)
    }
}

/// The claims, while nobody else changes them.
pub(crate) struct Locked<'c> {
    claims: &'c Claims,
    boot_id: String,
    _lock: File,
}

impl Locked<'_> {
    /// What other notebooks hold than the one with this folder, and what that one holds or held.
    pub(crate) fn others_and_own(&self, notebook: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
        let in_use = |holder: &Holder| {
            // Whoever cannot be asked may still have it.
            holder.boot_id == self.boot_id && holder.notebook.try_exists().unwrap_or(true)
        };
        let (own, others): (Vec<_>, Vec<_>) =
            self.claims.all()?.into_iter().partition(|(_, holder)| holder.notebook == notebook);
        let others = others.into_iter().filter(|(_, holder)| in_use(holder));
        Ok((others.map(|(name, _)| name).collect(), own.into_iter().map(|(name, _)| name).collect()))
    }

    /// The notebook with this folder holds it afterwards, in this boot.
    pub(crate) fn take(&self, name: &str, notebook: &Path) -> io::Result<()> {
        let holder = Holder { notebook: notebook.to_owned(), boot_id: self.boot_id.clone() };
        file::replace(&self.claims.path(name), &serde_json::to_vec(&holder)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_ends_with_its_release_with_its_notebook_and_with_the_boot() {
        let [run, a, b] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let claims = Claims::of_folder(run.path().join("things"));
        let others = |notebook: &Path| claims.lock().unwrap().others_and_own(notebook).unwrap().0;
        claims.release(a.path()).unwrap();
        assert!(!run.path().join("things").exists(), "a release makes nothing");
        claims.lock().unwrap().take("x", a.path()).unwrap();
        assert_eq!((others(a.path()), others(b.path())), (vec![], vec!["x".to_owned()]));
        assert_eq!(claims.of(a.path()).unwrap(), ["x"]);
        claims.release(b.path()).unwrap();
        assert_eq!(others(b.path()), ["x"]);
        claims.release(a.path()).unwrap();
        assert_eq!((others(b.path()), claims.of(a.path()).unwrap()), (vec![], vec![]));

        let before = Holder { notebook: a.path().to_owned(), boot_id: "another boot".into() };
        std::fs::write(claims.path("x"), serde_json::to_vec(&before).unwrap()).unwrap();
        assert_eq!((others(b.path()), claims.of(a.path()).unwrap()), (vec![], vec!["x".to_owned()]));
        claims.lock().unwrap().take("x", a.path()).unwrap();
        std::fs::write(claims.path("y.new"), std::fs::read(claims.path("x")).unwrap()).unwrap();
        assert_eq!(others(b.path()), ["x"]);
        std::fs::remove_dir(a.path()).unwrap();
        assert_eq!(others(b.path()), [""; 0]);
    }
}
