//! A notebook as a row.

use atelier_core::Timestamp;
use atelier_core::flavor::Flavor;
use atelier_core::gpu::FlavorGpus;
use atelier_core::id::{ImageId, NotebookId, VolumeId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, Lease, Terms};
use atelier_core::notebook::{LegacyWords, NewNotebook, Notebook, Owner};
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::volume::{Size, Volume, VolumeKind};
use atelier_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::Sealer;
use crate::columns::{
    hooks_from_json, hooks_to_json, integer, named, number, parsed, steps_from_json, steps_to_json, tags_from_json,
    tags_to_json, unreadable, uuid,
};
use crate::script::Script;

/// Where the token is sealed for.
pub(crate) const TOKEN: &str = "notebooks.token_sealed";
/// Where the upstream secret is sealed for.
pub(crate) const UPSTREAM_SECRET: &str = "notebooks.upstream_secret_sealed";

/// The columns of `notebooks`.
///
/// A lease counts from the creation of its notebook, so that time is kept once, as `create_at`. In the trash a row lies
/// as JSON: a column that is added later, and may not be null, needs a default for that.
#[derive(sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct NotebookRow {
    pub(crate) id: Vec<u8>,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) domain_id: String,
    pub(crate) domain_name: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) flavor_id: String,
    pub(crate) flavor_description: String,
    pub(crate) flavor_cpu_millis: i64,
    pub(crate) flavor_memory_mib: i64,
    pub(crate) flavor_free: i64,
    pub(crate) image_id: Vec<u8>,
    pub(crate) image_name: String,
    pub(crate) image_tag: String,
    pub(crate) image_namespace: String,
    pub(crate) image_description: String,
    pub(crate) image_swr_path: String,
    pub(crate) image_size_bytes: Option<i64>,
    pub(crate) volume_id: Vec<u8>,
    pub(crate) volume_capacity_gib: i64,
    pub(crate) workspace_id: String,
    pub(crate) status: String,
    pub(crate) fail_reason: Option<String>,
    pub(crate) create_at: i64,
    pub(crate) update_at: i64,
    pub(crate) lease_kind: String,
    pub(crate) lease_update_at: i64,
    pub(crate) lease_grant_ms: Option<i64>,
    pub(crate) lease_end_at: Option<i64>,
    pub(crate) token_sealed: Vec<u8>,
    pub(crate) upstream_secret_sealed: Vec<u8>,
    pub(crate) ever_ran: i64,
    pub(crate) progress: String,
    pub(crate) generation: i64,
    pub(crate) feature: String,
    pub(crate) tags: String,
    pub(crate) next_lease_kind: Option<String>,
    pub(crate) next_lease_grant_ms: Option<i64>,
    pub(crate) legacy_profile_id: Option<String>,
    pub(crate) legacy_prompt: i64,
    pub(crate) volume_growing_to_gib: Option<i64>,
    pub(crate) pool_id: Option<String>,
    pub(crate) pool_name: Option<String>,
    pub(crate) hooks: Option<String>,
    pub(crate) flavor_gpus: Option<i64>,
    pub(crate) flavor_gpu_kind: Option<String>,
    pub(crate) volume_kind: Option<String>,
    pub(crate) volume_uri: Option<String>,
}

/// The kind of a volume that is shared.
const SHARED: &str = "SHARED";
/// The kind of a volume that is the operator's.
const DEDICATED: &str = "DEDICATED";

/// Writes the columns of the course of `notebook`, and no others, where its row has this generation, and raises that; else
/// the script ends here. All writes but a few write no more: what is not named need not be sealed and leaves the indexes
/// alone.
pub(crate) fn write_course(
    script: &mut Script,
    notebook: &Notebook,
    id: &[u8],
    generation: i64,
) -> Result<(), StoreError> {
    let lease = notebook.lease;
    script.statement(
        "update notebooks set status = ?, fail_reason = ?, update_at = ?, lease_kind = ?, lease_update_at = ?,
            lease_grant_ms = ?, lease_end_at = ?, next_lease_kind = ?, next_lease_grant_ms = ?, ever_ran = ?,
            progress = ?, generation = generation + 1
        where id = ? and generation = ?",
    );
    script.bind(notebook.status().as_str())?;
    script.bind(notebook.fail_reason.clone())?;
    script.bind(notebook.update_at.as_millis())?;
    script.bind(lease.kind().as_str())?;
    script.bind(lease.update_at().as_millis())?;
    script.bind(in_column(lease.grant()))?;
    script.bind(lease.expiry().map(Timestamp::as_millis))?;
    script.bind(notebook.next_terms.map(|terms| terms.kind.as_str()))?;
    script.bind(notebook.next_terms.and_then(|terms| in_column(terms.grant)))?;
    script.bind(i64::from(notebook.ever_ran))?;
    script.bind(steps_to_json(&notebook.progress)?)?;
    script.bind(id.to_vec())?;
    script.bind(generation)?;
    script.unless_one_row_changed();
    Ok(())
}

impl NotebookRow {
    /// The row of `notebook`, its secrets sealed.
    pub(crate) fn seal(notebook: Notebook, sealer: &Sealer) -> Result<Self, StoreError> {
        let id = notebook.id.to_string();
        let (pool_id, pool_name) = notebook.pool.clone().map(|pool| (pool.id, pool.name)).unzip();
        let (gpus, gpu_kind) = notebook.flavor.gpus.clone().map(|gpus| (gpus.count, gpus.kind)).unzip();
        let lease = notebook.lease;
        Ok(Self {
            status: notebook.status().as_str().into(),
            token_sealed: sealer.seal(TOKEN, &id, &notebook.token)?,
            upstream_secret_sealed: sealer.seal(UPSTREAM_SECRET, &id, &notebook.upstream_secret)?,
            id: notebook.id.as_uuid().as_bytes().to_vec(),
            project_id: notebook.project_id.to_string(),
            user_id: notebook.owner.user_id.to_string(),
            user_name: notebook.owner.user_name,
            domain_id: notebook.owner.domain_id.to_string(),
            domain_name: notebook.owner.domain_name,
            name: notebook.name,
            description: notebook.description,
            flavor_id: notebook.flavor.id,
            flavor_description: notebook.flavor.description,
            flavor_cpu_millis: notebook.flavor.cpu_millis.into(),
            flavor_memory_mib: integer("flavor_memory_mib", notebook.flavor.memory_mib)?,
            flavor_free: notebook.flavor.free.into(),
            image_id: notebook.image.id.as_uuid().as_bytes().to_vec(),
            image_name: notebook.image.name,
            image_tag: notebook.image.tag,
            image_namespace: notebook.image.namespace,
            image_description: notebook.image.description,
            image_swr_path: notebook.image.swr_path,
            image_size_bytes: notebook.image.size_bytes.map(|n| integer("image_size_bytes", n)).transpose()?,
            volume_id: notebook.volume.id.as_uuid().as_bytes().to_vec(),
            volume_capacity_gib: notebook.volume.capacity_gib().unwrap_or_default().into(),
            volume_growing_to_gib: notebook.volume.growing_to_gib().map(i64::from),
            volume_kind: in_kind_column(&notebook.volume.kind).map(Into::into),
            volume_uri: notebook.volume.uri().map(|uri| uri.as_str().to_owned()),
            workspace_id: notebook.workspace_id,
            fail_reason: notebook.fail_reason,
            create_at: notebook.create_at.as_millis(),
            update_at: notebook.update_at.as_millis(),
            lease_kind: lease.kind().as_str().into(),
            lease_update_at: lease.update_at().as_millis(),
            lease_grant_ms: in_column(lease.grant()),
            lease_end_at: lease.expiry().map(Timestamp::as_millis),
            ever_ran: notebook.ever_ran.into(),
            progress: steps_to_json(&notebook.progress)?,
            generation: integer("generation", notebook.generation)?,
            feature: notebook.feature.as_str().into(),
            tags: tags_to_json(&notebook.tags)?,
            next_lease_kind: notebook.next_terms.map(|terms| terms.kind.as_str().into()),
            next_lease_grant_ms: notebook.next_terms.and_then(|terms| in_column(terms.grant)),
            legacy_profile_id: notebook.legacy.profile_id,
            legacy_prompt: notebook.legacy.prompt.into(),
            hooks: hooks_to_json(&notebook.hooks)?,
            flavor_gpus: gpus.map(|count| count.get().into()),
            flavor_gpu_kind: gpu_kind.flatten(),
            pool_id,
            pool_name,
        })
    }

    /// The notebook of this row, its secrets unsealed.
    pub(crate) fn unseal(self, sealer: &Sealer) -> Result<Notebook, StoreError> {
        let status = named("status", &Status::ALL, Status::as_str, &self.status)?;
        let update_at = Timestamp::from_millis(self.update_at);
        let (fail_reason, ever_ran) = (self.fail_reason.clone(), self.ever_ran != 0);
        let generation = number("generation", self.generation)?;
        let next_terms = self.next_terms()?;
        let mut notebook = Notebook::from(self.into_new(sealer)?).with_stored_status(status);
        notebook.fail_reason = fail_reason;
        notebook.update_at = update_at;
        notebook.ever_ran = ever_ran;
        notebook.generation = generation;
        notebook.next_terms = next_terms;
        Ok(notebook)
    }

    fn into_new(self, sealer: &Sealer) -> Result<NewNotebook, StoreError> {
        let id = NotebookId::from_uuid(uuid("id", &self.id)?);
        let row = id.to_string();
        Ok(NewNotebook {
            id,
            token: sealer.unseal(TOKEN, &row, &self.token_sealed)?,
            upstream_secret: sealer.unseal(UPSTREAM_SECRET, &row, &self.upstream_secret_sealed)?,
            lease: self.lease()?,
            progress: steps_from_json("progress", &self.progress)?,
            volume: self.volume()?,
            project_id: parsed("project_id", &self.project_id)?,
            create_at: Timestamp::from_millis(self.create_at),
            owner: Owner {
                user_id: parsed("user_id", &self.user_id)?,
                user_name: self.user_name,
                domain_id: parsed("domain_id", &self.domain_id)?,
                domain_name: self.domain_name,
            },
            flavor: Flavor {
                id: self.flavor_id,
                description: self.flavor_description,
                cpu_millis: number("flavor_cpu_millis", self.flavor_cpu_millis)?,
                memory_mib: number("flavor_memory_mib", self.flavor_memory_mib)?,
                free: self.flavor_free != 0,
                gpus: gpus(self.flavor_gpus, self.flavor_gpu_kind.as_deref())?,
            },
            pool: self.pool_id.zip(self.pool_name).map(|(id, name)| InPool { id, name }),
            image: Image {
                id: ImageId::from_uuid(uuid("image_id", &self.image_id)?),
                name: self.image_name,
                tag: self.image_tag,
                namespace: self.image_namespace,
                description: self.image_description,
                swr_path: self.image_swr_path,
                size_bytes: self.image_size_bytes.map(|n| number("image_size_bytes", n)).transpose()?,
            },
            legacy: LegacyWords { profile_id: self.legacy_profile_id, prompt: self.legacy_prompt != 0 },
            hooks: hooks_from_json("hooks", self.hooks.as_deref())?,
            feature: parsed("feature", &self.feature)?,
            tags: tags_from_json("tags", &self.tags)?,
            name: self.name,
            description: self.description,
            workspace_id: self.workspace_id,
        })
    }

    /// The id of its volume, where it shares that.
    pub(crate) fn shared_volume_id(&self) -> Option<&[u8]> {
        (self.volume_kind.as_deref() == Some(SHARED)).then_some(self.volume_id.as_slice())
    }

    fn volume(&self) -> Result<Volume, StoreError> {
        let capacity_gib = number("volume_capacity_gib", self.volume_capacity_gib)?;
        let kind = match (self.volume_kind.as_deref(), self.volume_uri.as_deref()) {
            (None, None) => {
                let growing = self.volume_growing_to_gib.map(|gib| number("volume_growing_to_gib", gib));
                VolumeKind::Own(Size { capacity_gib, growing_to_gib: growing.transpose()? })
            }
            (Some(SHARED), None) => VolumeKind::Shared { capacity_gib },
            (Some(DEDICATED), Some(uri)) => VolumeKind::Dedicated(parsed("volume_uri", uri)?),
            _ => return Err(unreadable("volume_kind")),
        };
        Ok(Volume { id: VolumeId::from_uuid(uuid("volume_id", &self.volume_id)?), kind })
    }

    fn next_terms(&self) -> Result<Option<Terms>, StoreError> {
        let kind = self.next_lease_kind.as_deref().map(|kind| parsed("next_lease_kind", kind)).transpose()?;
        Ok(kind.map(|kind| Terms { grant: from_column(self.next_lease_grant_ms), kind }))
    }

    fn lease(&self) -> Result<Lease, StoreError> {
        let grant = from_column(self.lease_grant_ms);
        let written = Timestamp::from_millis(self.lease_update_at);
        let kind = parsed("lease_kind", &self.lease_kind)?;
        let lease = Lease::written(Timestamp::from_millis(self.create_at), written, grant, kind);
        // The end of an idle lease says when its notebook was last active: nothing else is kept of that.
        Ok(match (grant, self.lease_end_at) {
            (Grant::Millis(ms), Some(end)) => lease.active_at(Timestamp::from_millis(end.saturating_sub(ms))),
            _ => lease,
        })
    }
}

/// The GPUs of a flavor from their columns.
fn gpus(count: Option<i64>, kind: Option<&str>) -> Result<Option<FlavorGpus>, StoreError> {
    let count = count.map(|count| number("flavor_gpus", count)).transpose()?;
    Ok(count.and_then(|count| FlavorGpus::of(count, kind)))
}

/// A kind of volume as a column holds it: null for the notebook's own.
const fn in_kind_column(kind: &VolumeKind) -> Option<&'static str> {
    match kind {
        VolumeKind::Own(_) => None,
        VolumeKind::Shared { .. } => Some(SHARED),
        VolumeKind::Dedicated(_) => Some(DEDICATED),
    }
}

/// A grant as a column holds it: null for never.
const fn in_column(grant: Grant) -> Option<i64> {
    match grant {
        Grant::Never => None,
        Grant::Millis(ms) => Some(ms),
    }
}

fn from_column(grant_ms: Option<i64>) -> Grant {
    grant_ms.map_or(Grant::Never, Grant::Millis)
}
