//! The table of contents of a backup, by which it is recognised and verified.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{DATABASE, MASTER_KEY, of_file};
use crate::client::target::ADMIN_FILE;
use crate::config::FILE_NAME;
use crate::failure::Failure;
use crate::folder::{LAYOUT, write_private};

/// Its name in a backup.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The form of backups that this program writes and reads.
const FORM: u32 = 1;
/// What a backup may hold besides the manifest. Nothing else is ever put into a data folder.
pub(crate) const FILES: [&str; 4] = [DATABASE, MASTER_KEY, ADMIN_FILE, FILE_NAME];

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The form of the backup.
    form: u32,
    /// When it was made, in milliseconds since 1970 UTC.
    pub(crate) made_at: i64,
    /// The program that made it.
    pub(crate) atelier: String,
    /// The layout of the data folder.
    layout: u32,
    /// The schema of the database.
    pub(crate) schema: i64,
    /// How many notebooks the database knows.
    pub(crate) notebooks: u64,
    /// Volumes are never in it.
    volumes: bool,
    /// Its files.
    files: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Describes the files in `folder` and writes the description beside them.
    pub(crate) fn write(folder: &Path, made_at: i64, copied: atelier_store_sqlite::Copied) -> Result<Self, Failure> {
        let there = FILES.iter().filter(|name| folder.join(name).exists());
        let manifest = Self {
            form: FORM,
            made_at,
            atelier: env!("CARGO_PKG_VERSION").to_owned(),
            layout: LAYOUT,
            schema: copied.schema,
            notebooks: copied.notebooks,
            volumes: false,
            files: there.map(|name| Entry::of(folder, name)).collect::<Result<_, _>>()?,
        };
        let path = folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| Failure::new(e.to_string()))?;
        write_private(&path, format!("{text}\n").as_bytes()).map_err(of_file(&path))?;
        Ok(manifest)
    }

    /// Reads the description in `folder`, and refuses a backup that is not as it was made.
    pub(crate) fn verify(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path)
            .map_err(|e| Failure::new(format!("this is no backup of atelier: `{MANIFEST}` cannot be read: {e}")))?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|e| Failure::new(format!("`{MANIFEST}` is damaged: {e}")))?;
        if manifest.form != FORM || manifest.layout > LAYOUT {
            return Err(Failure::new(format!(
                "the backup was made by atelier {} in form {} for layout {}; this version reads form {FORM} and layouts up \
                 to {LAYOUT}",
                manifest.atelier, manifest.form, manifest.layout
            )));
        }
        manifest.files.iter().try_for_each(|entry| entry.verify(folder))?;
        if manifest.has(DATABASE) { Ok(manifest) } else { Err(Failure::new(format!("the backup has no `{DATABASE}`"))) }
    }

    /// Whether this file is in the backup.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|entry| entry.name == name)
    }

    /// The names of its files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|entry| entry.name.as_str())
    }
}

impl Entry {
    fn of(folder: &Path, name: &str) -> Result<Self, Failure> {
        let (bytes, sha256) = digest(&folder.join(name))?;
        Ok(Self { name: name.to_owned(), bytes, sha256 })
    }

    fn verify(&self, folder: &Path) -> Result<(), Failure> {
        if !FILES.contains(&self.name.as_str()) {
            return Err(Failure::new(format!("`{MANIFEST}` names `{}`, which no backup holds", self.name)));
        }
        if Self::of(folder, &self.name)? == *self {
            return Ok(());
        }
        Err(Failure::new(format!("the backup is damaged: `{}` is not the file that was written", self.name))
            .hint("take an older backup; nothing was changed"))
    }
}

fn digest(path: &Path) -> Result<(u64, String), Failure> {
    let mut file = File::open(path).map_err(of_file(path))?;
    let (mut hash, mut bytes, mut block) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut block).map_err(of_file(path))?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&block[..read]);
        bytes += read as u64;
    }
}
