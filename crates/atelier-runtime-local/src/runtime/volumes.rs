//! Volumes: a notebook's own, those that notebooks share, folders of the operator's, and what was set aside.
//!
//! Every notebook has a volume of its own, for its work or, where that lies in another one, for its packages. It is made, grown and
//! set aside under the notebook's lock. A shared volume is made and removed under a lock of its own, because it is no single
//! notebook's. A folder of the operator's is looked at, and never made or removed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_core::filling::Filling;
use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::volume::{ShareUri, VolumeKind};
use atelier_runtime::{AtUri, InstanceSpec, Lost, Root, RuntimeError, SharedStorage};
use tokio::time::sleep;

use super::{LocalRuntime, transient};
use crate::launch::{WORK, Work};
use crate::live::Live;
use crate::place::Place;
use crate::volume::Kept;
use crate::{control, dedicated, file, lost, sweep, volume};

/// How long the kernel may take to let go of a shared volume whose last instance has ended.
const LEFT_LIMIT: Duration = Duration::from_secs(1);

impl LocalRuntime {
    /// The size of what a notebook has for itself: its volume, or, where that is another one, its packages.
    fn own_bytes(&self, spec: &InstanceSpec) -> u64 {
        let gib = match &spec.volume.kind {
            VolumeKind::Own(size) => size.wanted_gib(),
            VolumeKind::Shared { .. } | VolumeKind::Dedicated(_) => self.config.layer_gib,
        };
        u64::from(gib) << 30
    }

    /// What is to lie at the place of the volume.
    pub(super) fn work(&self, spec: &InstanceSpec) -> Result<Work, RuntimeError> {
        Ok(match &spec.volume.kind {
            VolumeKind::Own(_) => Work::Own,
            VolumeKind::Shared { .. } => Work::Shared(self.places.share(spec.volume.id)),
            VolumeKind::Dedicated(uri) => {
                let found = Root::of(&self.config.roots, uri).ok_or_else(|| AtUri::Unlisted.trouble(uri))?;
                Work::Dedicated { root: found.0.to_owned(), below: found.1, uri: uri.to_string() }
            }
        })
    }

    /// A volume that is not the notebook's own is there afterwards.
    async fn prepare_work(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        match &spec.volume.kind {
            VolumeKind::Own(_) => Ok(()),
            VolumeKind::Shared { capacity_gib } => {
                let _lock = self.share_locks.take(spec.volume.id).await;
                let bytes = u64::from(*capacity_gib) << 30;
                volume::ensure(&self.places.share(spec.volume.id), bytes, Kept::ForGood).await
            }
            VolumeKind::Dedicated(uri) => match self.look_at(uri)? {
                AtUri::Folder => Ok(()),
                other => Err(other.trouble(uri)),
            },
        }
    }

    /// The notebook's volumes are there afterwards, also when its own was set aside.
    pub(super) async fn prepare_volumes(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        lost::bring_back(&place).map_err(transient("the volume that was set aside"))?;
        self.prepare_work(spec).await?;
        file::folder(&place.kept, 0o700).map_err(transient("the notebook's folder"))?;
        volume::ensure(&place.volume(), self.own_bytes(spec), Kept::ForGood).await
    }

    /// Makes the notebook's own volume, which is there, as large as it should be; also while it runs.
    pub(super) async fn grow_volume(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        if !place.volume().exists() {
            return Err(RuntimeError::Absent);
        }
        volume::ensure(&place.volume(), self.own_bytes(spec), Kept::ForGood).await?;
        match self.adopt(spec.notebook)? {
            Some(live) => grow(&place, &live).await,
            None => Ok(()),
        }
    }

    /// How full the volume of a running instance is.
    pub(super) async fn volume_filling(&self, id: NotebookId) -> Result<Filling, RuntimeError> {
        let live = self.present(id)?;
        self.asked(id, "how full its volume is", move || volume::filling(&work_of(&live)?)).await
    }

    /// Nothing of the notebook runs afterwards, and its own volume is set aside; answers where, if there was one.
    pub(super) async fn set_volume_aside(&self, id: NotebookId) -> Result<Option<String>, RuntimeError> {
        let _lock = self.locks.take(id).await;
        let place = self.places.of(id);
        self.clear(&place).await?;
        if place.volume().exists() {
            lost::set_aside(&self.places, &place).map_err(transient("the volume"))?;
        } else {
            sweep::folder(&place.kept).await?;
        }
        Ok(place.lost_volume().exists().then(|| place.lost.display().to_string()))
    }

    /// What was set aside.
    pub(super) fn lost_volumes(&self) -> Result<Vec<Lost>, RuntimeError> {
        lost::all(&self.places).map_err(transient("what was set aside"))
    }

    /// The shared volumes, whether anybody has them or not.
    pub(super) fn shared_volumes(&self) -> Result<Vec<SharedStorage>, RuntimeError> {
        let ids = self.places.shares().map_err(transient("the shared volumes"))?;
        let shared = ids.into_iter().map(|id| {
            let image = self.places.share(id);
            SharedStorage { id, bytes: volume::bytes_on_disk(&image), place: image.display().to_string() }
        });
        Ok(shared.collect())
    }

    /// A shared volume that no instance has is gone afterwards.
    pub(super) async fn remove_shared_volume(&self, id: VolumeId) -> Result<(), RuntimeError> {
        let _lock = self.share_locks.take(id).await;
        let image = self.places.share(id);
        let until = Instant::now() + LEFT_LIMIT;
        while !volume::remove_shared(&image).map_err(transient("the shared volume"))? {
            if Instant::now() > until {
                return Err(RuntimeError::Transient("an instance has the volume".into()));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// What is at the address of a folder of the operator's.
    pub(super) fn look_at(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError> {
        // Whoever asks does so on a thread that may wait: a file server can take its time.
        dedicated::look(&self.config.roots, uri).map_err(transient("the file share"))
    }
}

/// The folder of a running instance in which its volume should be.
fn work_of(live: &Live) -> io::Result<File> {
    let root = PathBuf::from(format!("/proc/{}/root", live.pid));
    control::open_folder_below(&control::open_folder(&root)?, Path::new(WORK))
}

/// Makes the file system of a running instance's volume as large as the volume.
async fn grow(place: &Place, live: &Arc<Live>) -> Result<(), RuntimeError> {
    let (image, running) = (place.volume(), Arc::clone(live));
    let growing = tokio::task::spawn_blocking(move || volume::grow(&image, &work_of(&running)?));
    match growing.await.map_err(io::Error::other).flatten() {
        Ok(()) => Ok(()),
        // It ended meanwhile: the next start mounts the volume in its full size.
        Err(_) if !live.first.lives().map_err(transient("the container"))? => Ok(()),
        Err(e) => Err(transient("the volume could not grow")(e)),
    }
}
