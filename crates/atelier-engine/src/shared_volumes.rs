//! The volumes of new notebooks, and those that notebooks share.
//!
//! An owner's notebooks in a workspace that have no volume of their own share one. The first of them brings it, whoever
//! comes later joins, and both is decided in the transaction that writes the notebook: one that was written for another
//! volume than the others have is not written, and looks again. The store counts in every commit who has a volume, and who in
//! the trash had it. So it is there as long as somebody could need it: a notebook, or one that can be restored. When nobody
//! is left it has no name that anything could ask for, and is removed, by this round or the next.
//!
//! With the last notebook in the trash the volume rests there, too, and nobody else gets it meanwhile: who makes a notebook
//! then has a new one, and the old one can be restored when that is gone.

use std::collections::HashMap;

use atelier_core::caller::{Caller, Origin};
use atelier_core::id::VolumeId;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::volume::{ShareUri, Volume, VolumeKind};
use atelier_runtime::{AtUri, RuntimeError, SharedStorage};
use atelier_store::{SharedVolume, Sharing, StoreError};

use crate::Engine;
use crate::commands::{SAID_WITHIN, answered};
use crate::hands::Errand;
use crate::orphans::nobodys;
use crate::write::hidden;

/// How many looks at file shares there may be at a time.
pub(crate) const SHARE_LOOKS: usize = 16;

/// The volume that a new notebook is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewVolume {
    /// One of its own.
    Own {
        /// Its size in GiB.
        capacity_gib: u32,
    },
    /// That which its owner's notebooks in its workspace share.
    Shared {
        /// The size that it is thought to have, in GiB.
        capacity_gib: Option<u32>,
    },
    /// A folder of the operator's.
    Dedicated {
        /// The id that the caller gives it.
        id: VolumeId,
        /// Its address.
        uri: ShareUri,
    },
}

/// What the runtime has of a shared volume, and for whom.
pub(crate) struct Known {
    pub(crate) storage: SharedStorage,
    /// How many notebooks have it; `None` where nobody knows it.
    in_use: Option<u64>,
}

impl Known {
    /// Whether notebooks in the trash alone need it.
    pub(crate) fn rests(&self) -> bool {
        self.in_use == Some(0)
    }

    /// Whether it is nobody's.
    pub(crate) const fn is_lost(&self) -> bool {
        self.in_use.is_none()
    }
}

impl Engine {
    /// Refuses a volume that cannot be had.
    pub(crate) async fn check_volume(&self, wanted: &NewVolume) -> Result<(), Refusal> {
        let NewVolume::Dedicated { uri, .. } = wanted else { return Ok(()) };
        match self.look_at_share(uri).await {
            Ok(AtUri::Folder) => Ok(()),
            Ok(AtUri::NoRoots) => Err(Refusal::unsupported("`volume.ownership` DEDICATED")),
            Ok(AtUri::Unlisted) => Err(Refusal::bad_value(
                "volume.uri",
                "the address of a file share that this server offers, or of a folder below it",
            )),
            Ok(AtUri::Nothing) => Err(Refusal::bad_value("volume.uri", "the address of a folder that is there")),
            Err(error) => {
                tracing::warn!("the file share of `{uri}` cannot be looked at: {error}");
                Err(Refusal::new(Code::Unavailable, format!("the file share of `{uri}` does not answer; try again")))
            }
        }
    }

    /// A look holds its turn until it ends, whoever waits for it: of a file server that does not answer there are so many, and
    /// a thread for each.
    async fn look_at_share(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError> {
        let turns = self.inner.share_looks.clone();
        let turn = answered(async { turns.acquire_owned().await.map_err(|e| RuntimeError::Transient(e.to_string())) });
        let turn = turn.await?;
        let errand = Errand { limit: SAID_WITHIN, ..nobodys("look at a file share") };
        let (runtime, address) = (self.inner.runtime.clone(), uri.clone());
        let look = async move || {
            let _turn = turn;
            runtime.at_uri(&address).await
        };
        self.call(errand, look).await
    }

    /// The volume of a new notebook of the caller's, as far as that can be said before it is written, and how the notebook
    /// comes to it, where others can have it.
    pub(crate) async fn volume_of(
        &self,
        caller: &Caller,
        workspace_id: &str,
        wanted: &NewVolume,
    ) -> Result<(Volume, Option<Sharing>), Refusal> {
        let fresh = || VolumeId::generate(self.now(), &*self.inner.entropy);
        match wanted {
            NewVolume::Own { capacity_gib } => Ok((Volume::new(fresh(), *capacity_gib), None)),
            NewVolume::Dedicated { id, uri } => {
                Ok((Volume { id: *id, kind: VolumeKind::Dedicated(uri.clone()) }, None))
            }
            NewVolume::Shared { capacity_gib } => {
                let kind = VolumeKind::Shared { capacity_gib: self.inner.config.shared_gib };
                let (volume, sharing) = match self.shared_by(caller, workspace_id).await? {
                    Some(present) => (present, Sharing::Joins),
                    None => (Volume { id: fresh(), kind }, Sharing::Brings),
                };
                match (*capacity_gib, volume.capacity_gib()) {
                    (Some(thought), Some(gib)) if thought != gib => Err(Refusal::new(
                        Code::VolumeSizeOutOfRange,
                        format!(
                            "`volume.capacity` must be {gib} GB: that is the size of the volume that your notebooks share"
                        ),
                    )),
                    _ => Ok((volume, Some(sharing))),
                }
            }
        }
    }

    /// The volume that the caller's notebooks in the workspace share, if any does.
    async fn shared_by(&self, caller: &Caller, workspace_id: &str) -> Result<Option<Volume>, Refusal> {
        let found = self.inner.store.share_of(&caller.project_id, &caller.user_id, workspace_id).await;
        found.map_err(|e| hidden(&e))
    }

    /// All that the runtime has. It is asked first: a volume is known before it is made, and until it is gone.
    pub(crate) async fn shared_storage(&self) -> Result<HashMap<VolumeId, Known>, Refusal> {
        let runtime = self.inner.runtime.clone();
        let listed = self.call(nobodys("list the shared volumes"), async move || runtime.shares().await).await;
        let storage = listed.map_err(|error| {
            tracing::error!("the shared volumes cannot be listed: {error}");
            Refusal::internal()
        })?;
        let known = self.inner.store.shared_volumes().await.map_err(|e| hidden(&e))?;
        let in_use: HashMap<_, _> = known.into_iter().map(|shared| (shared.id, shared.in_use)).collect();
        let with_users = |storage: SharedStorage| {
            let in_use = in_use.get(&storage.id).copied();
            (storage.id, Known { storage, in_use })
        };
        Ok(storage.into_iter().map(with_users).collect())
    }

    /// The shared volumes that no notebook has, be it in the trash.
    pub async fn lost_shared_volumes(&self) -> Result<Vec<SharedStorage>, Refusal> {
        let all = self.shared_storage().await?.into_values();
        Ok(all.filter(Known::is_lost).map(|known| known.storage).collect())
    }

    /// Removes those that are left, and tells of it in the history of the notebook that had each last. What fails is done
    /// again by the next round.
    pub(crate) async fn remove_left_shared_volumes(&self) -> Result<(), StoreError> {
        let _alone = self.inner.removing.lock().await;
        for left in self.inner.store.shared_volumes().await?.into_iter().filter(SharedVolume::is_left) {
            if let Err(error) = self.remove_shared_volume(left.id).await {
                tracing::warn!("the shared volume {} is still there: {error}", left.id);
                continue;
            }
            let why = format!("nobody has the shared volume `{}` any more", left.id);
            let event = left
                .last
                .map(|(notebook, project)| self.event_of(notebook, project, &Origin::system(), "volume.removed", why));
            self.inner.store.forget_shared_volume(left.id, event).await?;
            tracing::info!("the shared volume {} is removed: nobody has it any more", left.id);
        }
        Ok(())
    }

    pub(crate) async fn remove_shared_volume(&self, id: VolumeId) -> Result<(), RuntimeError> {
        let runtime = self.inner.runtime.clone();
        self.call(nobodys("remove a shared volume"), async move || runtime.remove_share(id).await).await
    }
}
