//! Putting a backup back.
//!
//! The order is what makes it safe: the data folder is locked, the backup is copied into it and verified there (every
//! checksum, the database from end to end, the key), then what was there moves into a folder of its own, then the
//! backup moves into its place. A crash leaves the old, or the new, or a folder without a database, which no server
//! starts on; restoring again ends it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_core::Timestamp;
use atelier_core::caller::Origin;
use atelier_core::event::NotebookEvent;
use atelier_core::id::{EventId, NotebookId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::OperationState;
use atelier_core::status::{Event, Status};
use atelier_core::volume::VolumeKind;
use atelier_store::{Commit, NotebookStore as _, NotebookWrite};
use atelier_store_sqlite::{Sealer, SqliteStore, files_of};
use secrecy::SecretString;

use super::make::copy_private;
use super::manifest::{FILES, MANIFEST, Manifest};
use super::{DATABASE, MASTER_KEY, archive, make_private_folder, of_file, sync_folder};
use crate::config::FILE_NAME;
use crate::failure::Failure;
use crate::folder::DataFolder;
use crate::serve::ThreadEntropy;
use crate::times;

/// Where the backup is verified, inside the data folder.
const ARRIVING: &str = "restore.new";

/// Longer than anything rests in the trash.
const LONGEST_MS: i64 = 1 << 48;

/// What a restore is told.
pub(crate) struct Wish<'a> {
    /// The backup: a folder or a tar file.
    pub(crate) from: &'a Path,
    /// Whether a folder that holds a database may be restored into.
    pub(crate) replace: bool,
    /// The value of `ATELIER_MASTER_KEY`.
    pub(crate) master_key: Option<SecretString>,
}

/// What came of it.
pub(crate) struct Restored {
    pub(crate) manifest: Manifest,
    /// Where what was there before is now.
    pub(crate) kept: Option<PathBuf>,
    /// Notebooks whose volumes are not there.
    pub(crate) without_volume: Vec<Notebook>,
}

/// Restores into a data folder that this process holds.
pub(crate) async fn restore(folder: &DataFolder, wish: Wish<'_>, now: Timestamp) -> Result<Restored, Failure> {
    let target = folder.path();
    if !wish.replace
        && let Some(there) = occupied(target)
    {
        return Err(Failure::new(format!("{} already holds `{there}`", target.display()))
            .hint("--replace restores all the same, and keeps what is there in a folder beside it"));
    }
    let arriving = Arriving::fetch(wish.from, &target.join(ARRIVING))?;
    let manifest = Manifest::verify(&arriving.0)?;
    let sealer = prove(&arriving.0, &manifest, wish.master_key.as_ref()).await?;
    let kept = set_aside(target, &manifest, now)?;
    arriving.take_place(target, &manifest)?;
    let without_volume = tell_of_volumes(target, sealer, &manifest, now).await?;
    Ok(Restored { manifest, kept, without_volume })
}

/// The first of our files that is there, if any.
fn occupied(target: &Path) -> Option<String> {
    let database = files_of(&target.join(DATABASE));
    let ours =
        database.into_iter().chain(FILES.iter().filter(|name| **name != FILE_NAME).map(|name| target.join(name)));
    ours.filter(|path| path.exists()).find_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
}

/// The database is whole and of a schema that this program knows, and the key opens it.
async fn prove(folder: &Path, manifest: &Manifest, master_key: Option<&SecretString>) -> Result<Sealer, Failure> {
    let broken = |e: atelier_store::StoreError| Failure::new(format!("the backup cannot be used: {e}"));
    let database = folder.join(DATABASE);
    atelier_store_sqlite::examine(&database).await.map_err(broken)?;
    let master_key = if manifest.has(MASTER_KEY) { None } else { master_key };
    if master_key.is_none() && !manifest.has(MASTER_KEY) {
        return Err(Failure::new("the backup was made without its master key").hint("set `ATELIER_MASTER_KEY`"));
    }
    let sealer = Sealer::load_or_create(folder, master_key, Arc::new(ThreadEntropy));
    let sealer = sealer.map_err(|e| Failure::new(format!("the master key: {e}")))?;
    atelier_store_sqlite::prove_key(&database, &sealer).await.map_err(broken)?;
    Ok(sealer)
}

/// Moves what was there into a folder of its own. The configuration of the machine stays.
fn set_aside(target: &Path, manifest: &Manifest, now: Timestamp) -> Result<Option<PathBuf>, Failure> {
    let database = files_of(&target.join(DATABASE));
    let others = FILES.iter().filter(|name| ![DATABASE, FILE_NAME].contains(name)).map(|name| target.join(name));
    // A key that the backup does not bring may still be in use.
    let goes = |path: &PathBuf| path.exists() && (manifest.has(MASTER_KEY) || !path.ends_with(MASTER_KEY));
    let there: Vec<_> = database.into_iter().chain(others).filter(goes).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let kept = target.join(format!("before-restore-{}", now.as_millis()));
    make_private_folder(&kept)?;
    for path in there {
        let to = kept.join(path.file_name().unwrap_or_default());
        std::fs::rename(&path, &to).map_err(of_file(&path))?;
    }
    sync_folder(&kept)?;
    sync_folder(target)?;
    Ok(Some(kept))
}

/// A backup inside the data folder, not yet in its place; gone when it does not get there.
struct Arriving(PathBuf);

impl Arriving {
    fn fetch(from: &Path, to: &Path) -> Result<Self, Failure> {
        match std::fs::remove_dir_all(to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(of_file(to)(e)),
            _ => {}
        }
        make_private_folder(to)?;
        let arriving = Self(to.to_owned());
        if from.is_dir() {
            for name in FILES.into_iter().chain([MANIFEST]) {
                copy_private(&from.join(name), &to.join(name))?;
            }
        } else {
            archive::unpack(from, to)?;
        }
        Ok(arriving)
    }

    fn take_place(&self, target: &Path, manifest: &Manifest) -> Result<(), Failure> {
        sync_folder(&self.0)?;
        // The database last: where it is, everything is.
        let (database, others): (Vec<_>, Vec<_>) = manifest.names().partition(|name| *name == DATABASE);
        for name in others.into_iter().chain(database) {
            let to = target.join(name);
            if name == FILE_NAME && to.exists() {
                continue;
            }
            std::fs::rename(self.0.join(name), &to).map_err(of_file(&to))?;
        }
        sync_folder(target)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the runtimes of this machine keep the volume of a notebook; a folder of the operator's is not theirs.
fn has_volume(target: &Path, notebook: &Notebook) -> bool {
    let shared = notebook.volume.id;
    match notebook.volume.kind {
        VolumeKind::Own(_) => has_own_volume(target, notebook.id),
        VolumeKind::Shared { .. } => [format!("shares/{shared}.img"), format!("simulated/shares/{shared}")]
            .iter()
            .any(|place| target.join(place).exists()),
        VolumeKind::Dedicated(_) => true,
    }
}

fn has_own_volume(target: &Path, id: NotebookId) -> bool {
    let id = id.to_string();
    // Where it is, or where it was set aside: a start finds it there, too.
    ["notebooks", "lost"].iter().any(|folder| target.join(folder).join(&id).join("volume.img").exists())
        || ["simulated", "simulated/lost"].iter().any(|folder| target.join(folder).join(&id).join("volume").exists())
}

/// Whether a notebook in this status has a volume, if nothing was lost.
const fn should_have_one(status: Status) -> bool {
    matches!(
        status,
        Status::Running
            | Status::Starting
            | Status::Stopping
            | Status::Stopped
            | Status::Snapshotting
            | Status::StartFailed
            | Status::Error
            | Status::Frozen
    )
}

/// Writes into each notebook whose volume is not there that it is not, so that nobody takes an empty one for their own.
async fn tell_of_volumes(
    target: &Path,
    sealer: Sealer,
    manifest: &Manifest,
    now: Timestamp,
) -> Result<Vec<Notebook>, Failure> {
    let broken = |e: atelier_store::StoreError| Failure::new(format!("the restored database: {e}"));
    let store = SqliteStore::open(&target.join(DATABASE), sealer).await.map_err(broken)?;
    let mut without = Vec::new();
    store
        .every_notebook(&mut |notebook| {
            if should_have_one(notebook.status()) && !has_volume(target, &notebook) {
                without.push(notebook);
            }
        })
        .await
        .map_err(broken)?;
    // What is in the trash may have come back since the backup: its time begins anew.
    store.shift_trash(LONGEST_MS, now).await.map_err(broken)?;
    let why = format!(
        "restored from a backup of {}, without its volume: what was in it is not here; a start makes an empty one",
        times::point(manifest.made_at)
    );
    for notebook in &mut without {
        tell(&store, notebook, &why, now).await.map_err(broken)?;
    }
    store.close().await;
    Ok(without)
}

async fn tell(
    store: &SqliteStore,
    notebook: &mut Notebook,
    why: &str,
    now: Timestamp,
) -> Result<(), atelier_store::StoreError> {
    // What rests stays where it is; what ran, or was on its way, has failed.
    let _ = notebook.apply(Event::Broke, now);
    notebook.fail_reason = Some(why.to_owned());
    notebook.progress.clear();
    let mut operations = store.operations_of(notebook.id).await?;
    operations.retain(|operation| !operation.state.is_ended());
    for operation in &mut operations {
        operation.state = OperationState::Failed;
        operation.ended_at = Some(now);
        operation.error = Some(why.to_owned());
    }
    let event = NotebookEvent {
        id: EventId::generate(now, &ThreadEntropy),
        notebook_id: notebook.id,
        project_id: notebook.project_id.clone(),
        at: now,
        what: "restore.volume-missing".into(),
        origin: Origin::system(),
        why: why.to_owned(),
    };
    let update = NotebookWrite::Update(Box::new(notebook.clone()));
    store.commit(Commit { notebook: Some(update), operations, events: vec![event], ..Commit::default() }).await?;
    Ok(())
}
