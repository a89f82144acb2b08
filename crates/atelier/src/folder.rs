//! The data folder: one server at a time, in a layout that this version knows.
//!
//! * The folder is 0700: ids on disk are not shifted, so nothing but the mode keeps other users from a notebook's files.
//! * A folder that holds somebody else's files is never taken over: its mode would be changed, and it would be filled.
//! * The lock is the kernel's (`flock`), so it cannot outlive its holder. Who holds it is written inside, for people.
//! * `layout` holds the version of what is inside. A newer one is refused: this program does not know what it would
//!   break. There is only one so far; the first that replaces it upgrades older ones after making a backup. (A database
//!   of an older version is upgraded at any time, also after a backup: `backups` in the folder.)
//! * A folder that has been used and has no database any more is refused: a server would begin with an empty one, as if
//!   nothing had ever been there.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use atelier_core::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::backup::{DATABASE, MASTER_KEY};
use crate::client::Reach;
use crate::config::FILE_NAME;
use crate::times;

/// The version of the layout that this program writes.
pub(crate) const LAYOUT: u32 = 1;
/// What may lie in a folder that has no layout yet.
const BEFORE_LAYOUT: [&str; 4] = [LOCK, FILE_NAME, "layout.new", "lost+found"];
/// What lies in a folder before its database is made for the first time, the file that becomes it included.
const BEFORE_DATABASE: [&str; 5] = ["layout", MASTER_KEY, DATABASE, "backups", "tls"];
const LOCK: &str = "lock";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Another server has it.
    #[error("the data folder {} is used by another server: {holder}", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who has it, as it says itself.
        holder: Holder,
    },
    /// It was written by a newer program.
    #[error("the data folder {} has layout {found}; this version of atelier knows {LAYOUT} and older", path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// It belongs to something else.
    #[error("{} is not empty and is no data folder of atelier (it holds `{stranger}`); name an empty or a new folder", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Something in it that is not ours.
        stranger: String,
    },
    /// It was used, and its database is gone.
    #[error("the data folder {} has no database, but was used (it holds `{used}`)", path.display())]
    NoDatabase {
        /// The folder.
        path: PathBuf,
        /// Something in it that no server makes before the database.
        used: String,
    },
    /// Its layout cannot be read.
    #[error("{} is damaged: it must hold the version of the layout", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The machine refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who holds a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process, if it wrote it down.
    pub pid: Option<i32>,
    /// Since when, in milliseconds, if it wrote it down.
    pub since: Option<i64>,
    /// How clients on this machine reach it, as soon as they do.
    pub(crate) reach: Option<Reach>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, self.since) {
            (Some(pid), Some(since)) => write!(f, "process {pid}, since {}", times::point(since)),
            (Some(pid), None) => write!(f, "process {pid}"),
            _ => f.write_str("one that has just started"),
        }
    }
}

/// A data folder, held by this process for as long as this value lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    lock: File,
}

impl DataFolder {
    /// Makes or takes the folder at `path` for the process `pid`, at `now`.
    pub(crate) fn open(path: &Path, pid: i32, now: Timestamp) -> Result<Self, FolderError> {
        make_private(path)?;
        refuse_foreign(path)?;
        let lock = take_lock(path, pid, now)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|e| failed(path, e))?;
        check_layout(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Writes down, for [`DataFolder::holder`], where the holder can be reached.
    pub(crate) fn announce(&mut self, reach: &Reach) -> Result<(), FolderError> {
        // One write, so that nobody reads a half; the root of trust stands in the folder.
        let at = reach.at.map(|at| format!("at {at}\n")).unwrap_or_default();
        self.lock.write_all(format!("{at}url {}\n", reach.url).as_bytes()).map_err(|e| failed(&self.path.join(LOCK), e))
    }

    /// For a folder without a database: goes on only when none was ever there.
    pub(crate) fn refuse_without_database(&self) -> Result<(), FolderError> {
        for entry in std::fs::read_dir(&self.path).map_err(|e| failed(&self.path, e))? {
            let name = entry.map_err(|e| failed(&self.path, e))?.file_name().to_string_lossy().into_owned();
            let known = BEFORE_LAYOUT.iter().chain(&BEFORE_DATABASE).any(|known| *known == name);
            if !known && !name.starts_with('.') {
                return Err(FolderError::NoDatabase { path: self.path.clone(), used: name });
            }
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Who holds the folder at `path`; `None` when nobody does.
    pub(crate) fn holder(path: &Path) -> Result<Option<Holder>, FolderError> {
        let path = path.join(LOCK);
        let mut file = match OpenOptions::new().read(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(&path, e)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_holder(&mut file))),
            Err(e) => Err(failed(&path, e.into())),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { path: path.to_owned(), source }
}

fn make_private(path: &Path) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed(path, e)),
        _ => Ok(()),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), FolderError> {
    if path.join("layout").exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(|e| failed(path, e))? {
        let name = entry.map_err(|e| failed(path, e))?.file_name().to_string_lossy().into_owned();
        if !BEFORE_LAYOUT.contains(&name.as_str()) {
            return Err(FolderError::Foreign { path: path.to_owned(), stranger: name });
        }
    }
    Ok(())
}

fn take_lock(folder: &Path, pid: i32, now: Timestamp) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|e| failed(&path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(FolderError::Held { path: folder.to_owned(), holder: read_holder(&mut file) });
        }
        Err(e) => return Err(failed(&path, e.into())),
    }
    let text = format!("pid {pid}\nsince {}\n", now.as_millis());
    write_over(&mut file, text.as_bytes()).map_err(|e| failed(&path, e))?;
    Ok(file)
}

/// Writes over what is there, in one piece and in the same place: a full disk has no room for another one.
fn write_over(file: &mut File, text: &[u8]) -> io::Result<()> {
    let before = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut covering = text.to_vec();
    covering.resize(before.max(text.len()), b'\n');
    file.rewind()?;
    file.write_all(&covering)?;
    let end = u64::try_from(text.len()).unwrap_or(0);
    file.set_len(end)?;
    file.seek(io::SeekFrom::Start(end)).map(drop)
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    // A holder that cannot be read is only told of less exactly.
    let _ = file.read_to_string(&mut text);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Holder {
        pid: field("pid ").and_then(|pid| pid.parse().ok()),
        since: field("since ").and_then(|since| since.parse().ok()),
        reach: field("url ").map(|url| Reach {
            url: url.to_owned(),
            at: field("at ").and_then(|at| at.parse().ok()),
            ca_certificate: None,
        }),
    }
}

fn check_layout(folder: &Path) -> Result<(), FolderError> {
    if layout(folder)?.is_some() {
        return Ok(());
    }
    let path = folder.join("layout");
    write_private(&path, format!("{LAYOUT}\n").as_bytes()).map_err(|e| failed(&path, e))
}

/// The version of the layout of a folder; nothing where none is written down. One that this program does not know is an
/// error.
pub(crate) fn layout(folder: &Path) -> Result<Option<u32>, FolderError> {
    let path = folder.join("layout");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&path, e)),
    };
    match text.trim().parse::<u32>() {
        Ok(LAYOUT) => Ok(Some(LAYOUT)),
        Ok(found) if found > LAYOUT => Err(FolderError::Newer { path: folder.to_owned(), found }),
        _ => Err(FolderError::Damaged { path }),
    }
}

/// Writes a file that only its owner may read, at once or not at all, and on disk when this returns.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left by a crash; it may have another mode.
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_687_656_452_470);

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_folder_and_everything_in_it_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = DataFolder::open(&path, 7, NOW).unwrap();
        assert_eq!(folder.path(), path);
        assert_eq!(mode(&path), 0o700);
        for file in ["lock", "layout"] {
            assert_eq!(mode(&path.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn an_empty_folder_that_others_may_read_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        DataFolder::open(folder.path(), 7, NOW).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn a_second_server_is_refused_and_told_about_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("d");
        let mut first = DataFolder::open(&path, 4711, NOW).unwrap();
        let told = DataFolder::open(&path, 4712, NOW).unwrap_err().to_string();
        assert!(told.ends_with("used by another server: process 4711, since 2023-06-25 01:27:32 UTC"), "{told}");
        let holder = DataFolder::holder(&path).unwrap().unwrap();
        assert_eq!((holder.pid, holder.since, holder.reach), (Some(4711), Some(NOW.as_millis()), None));
        let reach = Reach { url: "https://a.example:1".into(), at: Some([127, 0, 0, 1].into()), ca_certificate: None };
        first.announce(&reach).unwrap();
        assert_eq!(DataFolder::holder(&path).unwrap().unwrap().reach, Some(reach));
        drop(first);
        assert_eq!(DataFolder::holder(&path).unwrap(), None);
        DataFolder::open(&path, 4712, NOW).unwrap();
    }

    #[test]
    fn the_root_of_a_fresh_disk_may_be_a_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lost+found")).unwrap();
        DataFolder::open(folder.path(), 7, NOW).unwrap();
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let told = DataFolder::open(folder.path(), 7, NOW).unwrap_err().to_string();
        assert!(told.contains("`thesis.tex`"), "{told}");
        assert_eq!(mode(folder.path()), 0o755);
        assert!(!folder.path().join("lock").exists());
    }

    #[test]
    fn a_configuration_file_may_lie_there_before_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
        DataFolder::open(folder.path(), 7, NOW).unwrap();
    }

    #[test]
    fn a_newer_layout_is_refused_and_a_damaged_one_too() {
        let folder = tempfile::tempdir().unwrap();
        for (content, told) in
            [("2\n", "has layout 2; this version of atelier knows 1"), ("x", "is damaged"), ("0", "is damaged")]
        {
            std::fs::write(folder.path().join("layout"), content).unwrap();
            let error = DataFolder::open(folder.path(), 7, NOW).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_used_folder_without_its_database_is_refused_and_a_first_start_may_be_repeated() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("d");
        let folder = DataFolder::open(&path, 7, NOW).unwrap();
        for left in [MASTER_KEY, ".master.key.0123", DATABASE, FILE_NAME] {
            std::fs::write(path.join(left), "").unwrap();
            folder.refuse_without_database().unwrap();
        }
        for used in ["admin.json", "notebooks", "simulated", "atelier.db-wal", "before-restore-1"] {
            std::fs::write(path.join(used), "").unwrap();
            let told = folder.refuse_without_database().unwrap_err().to_string();
            assert!(told.contains(&format!("`{used}`")), "{told}");
            std::fs::remove_file(path.join(used)).unwrap();
        }
    }

    #[test]
    fn a_private_file_replaces_a_public_one_and_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "old").unwrap();
        std::fs::write(folder.path().join("f.new"), "torn").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(mode(&path), 0o600);
        assert!(!folder.path().join("f.new").exists());
    }
}
