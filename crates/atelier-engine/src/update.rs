//! Changing a notebook: its name, its description, and what its next start makes of it.
//!
//! A change is one commit and is there when it is answered. The flavor, the image and the hooks are written at once and
//! take effect at the next start, because nothing but a start reads them.
//!
//! A field that says what is so already asks for nothing, in every status: clients send several fields together although
//! only one of them is new. Only a field that differs meets the table of statuses.

use atelier_core::caller::Caller;
use atelier_core::flavor::{CUSTOM, Flavor};
use atelier_core::hook::Hooks;
use atelier_core::id::{ImageId, NotebookId};
use atelier_core::image::Image;
use atelier_core::limits::MAX_VOLUME_GIB;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;

use crate::commands::own;
use crate::shares::{Share, names};
use crate::write::{Called, Change};
use crate::{Engine, OfferedFlavor, Size};

/// What a notebook is to become, its fields already checked by themselves. `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateNotebook {
    /// Its name.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// How large it is.
    pub size: Option<Size>,
    /// The image.
    pub image_id: Option<ImageId>,
    /// The volume's size in GiB.
    pub capacity_gib: Option<u32>,
    /// All of its hooks.
    pub hooks: Option<Hooks>,
}

/// Where words about a notebook may change, and its volume may grow.
const AT_WORK_OR_AT_REST: [Status; 3] = [Status::Running, Status::Stopped, Status::StartFailed];
/// Where that may change which only a start reads.
const AT_REST: [Status; 2] = [Status::Stopped, Status::StartFailed];

impl Engine {
    /// Changes a notebook. Answers with the whole of it.
    pub async fn update(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        wanted: UpdateNotebook,
    ) -> Result<Notebook, Refusal> {
        let images = if wanted.image_id.is_some() { self.images().await? } else { Vec::new() };
        let by = Called::new(caller, request_id, "UpdateNotebook");
        let (engine, origin) = (self.clone(), by.origin());
        self.detached(async move {
            let updated = engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    let changed = engine.write_fields(&mut notebook, &wanted, &images)?;
                    if changed.is_empty() {
                        return Ok(Change::of(notebook).called(&by));
                    }
                    let why = format!("{} changed `{}`", origin.actor, changed.join("`, `"));
                    let event = engine.event(&notebook, &origin, "notebook.updated", why);
                    Ok(Change { events: vec![event], ..Change::of(notebook) }.called(&by))
                })
                .await?;
            Ok(engine.as_shown(updated))
        })
        .await
    }

    /// The flavors that a notebook may be switched to, and which of them are sold out.
    pub async fn switchable_flavors(&self, caller: &Caller, id: NotebookId) -> Result<Vec<OfferedFlavor>, Refusal> {
        let notebook = self.show(caller, id).await?;
        let mut offered = self.offer_to(&notebook).await?.map(|offer| offer.flavors).unwrap_or_default();
        let share = self.inner.shares.of_notebook(&notebook);
        offered.retain(|offered| share.is_some_and(|share| may_switch(&notebook, &offered.flavor, share)));
        Ok(offered)
    }

    /// Writes what differs into `notebook`; the names of it.
    pub(crate) fn write_fields(
        &self,
        notebook: &mut Notebook,
        wanted: &UpdateNotebook,
        images: &[Image],
    ) -> Result<Vec<&'static str>, Refusal> {
        let mut changed = Vec::new();
        if let Some(name) = wanted.name.as_ref().filter(|name| **name != notebook.name) {
            may_change(notebook, "name", &AT_WORK_OR_AT_REST)?;
            notebook.name.clone_from(name);
            changed.push("name");
        }
        if let Some(text) = wanted.description.as_ref().filter(|text| **text != notebook.description) {
            may_change(notebook, "description", &AT_WORK_OR_AT_REST)?;
            notebook.description.clone_from(text);
            changed.push("description");
        }
        if let Some(size) = wanted.size.as_ref().filter(|size| !size.is(&notebook.flavor)) {
            may_change(notebook, size.field(), &AT_REST)?;
            notebook.flavor = self.switched(notebook, size)?;
            changed.push(size.field());
        }
        if let Some(id) = wanted.image_id.filter(|id| *id != notebook.image.id) {
            let image = find_image(images, id)?;
            may_change(notebook, "image_id", &AT_REST)?;
            notebook.image = image;
            changed.push("image_id");
        }
        if let Some(hooks) = wanted.hooks.as_ref().filter(|hooks| **hooks != notebook.hooks) {
            may_change(notebook, "hooks", &AT_REST)?;
            notebook.hooks.clone_from(hooks);
            changed.push("hooks");
        }
        if let Some(gib) = wanted.capacity_gib.filter(|gib| Some(*gib) != notebook.volume.wanted_gib()) {
            grow(notebook, gib)?;
            changed.push("storage_new_size");
        }
        Ok(changed)
    }

    /// The flavor of this size that the notebook may be switched to: one of its own share.
    fn switched(&self, notebook: &Notebook, to: &Size) -> Result<Flavor, Refusal> {
        let share = self.inner.shares.of_notebook(notebook);
        let found = match (to, share) {
            (Size::Flavor(id), Some(share)) => switchable(notebook, share).find(|flavor| flavor.id == *id).cloned(),
            (Size::Custom(spec), Some(share)) if share.pool.is_some() => {
                Some(share.custom(*spec)?).filter(|flavor| notebook.feature.allows(flavor))
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let id = match to {
                Size::Flavor(id) => id,
                Size::Custom(_) => CUSTOM,
            };
            let others = names(share.into_iter().flat_map(|share| switchable(notebook, share)));
            let message = format!("notebook `{}` cannot be switched to flavor `{id}`, only to {others}", notebook.id);
            Refusal::new(Code::FlavorNotSwitchable, message)
        })
    }
}

/// The flavors of its share that a notebook may be switched to.
fn switchable<'s>(notebook: &'s Notebook, share: &'s Share) -> impl Iterator<Item = &'s Flavor> {
    share.flavors.iter().filter(|flavor| may_switch(notebook, flavor, share))
}

/// Another flavor that its feature allows, and that its share can hold at all.
fn may_switch(notebook: &Notebook, to: &Flavor, share: &Share) -> bool {
    to.id != notebook.flavor.id && notebook.feature.allows(to) && !share.capacity.is_too_small_for(to)
}

/// The image of this id.
pub(crate) fn find_image(images: &[Image], id: ImageId) -> Result<Image, Refusal> {
    images
        .iter()
        .find(|image| image.id == id)
        .cloned()
        .ok_or_else(|| Refusal::new(Code::UnknownImage, format!("image `{id}` does not exist; see ListImage")))
}

/// Refuses a change of `field` in the present status.
fn may_change(notebook: &Notebook, field: &str, when: &[Status]) -> Result<(), Refusal> {
    let status = notebook.status();
    if when.contains(&status) {
        return Ok(());
    }
    let when: Vec<_> = when.iter().map(|status| status.as_str()).collect();
    let message = format!("notebook is {status}; `{field}` can be changed only in {}", when.join(", "));
    Err(Refusal::new(Code::FieldLocked, message))
}

/// Gives a notebook a larger volume: under one that runs it grows from now on, at rest the next start finds it.
fn grow(notebook: &mut Notebook, gib: u32) -> Result<(), Refusal> {
    let status = notebook.status();
    let locked = may_change(notebook, "storage_new_size", &AT_WORK_OR_AT_REST);
    let category = notebook.volume.category();
    let Some(size) = notebook.volume.size_mut() else {
        return Err(Refusal::unsupported(&format!("`storage_new_size` of a volume of category {category}")));
    };
    let now = size.wanted_gib();
    if gib < now {
        let message = format!("`storage_new_size` must be {now} to {MAX_VOLUME_GIB} GB: a volume does not shrink");
        return Err(Refusal::new(Code::VolumeSizeOutOfRange, message));
    }
    locked?;
    if let Some(gib) = size.growing_to_gib {
        let message = format!("the volume is growing to {gib} GB; `storage_new_size` can be changed when it has");
        return Err(Refusal::new(Code::Conflict, message));
    }
    size.growing_to_gib = Some(gib);
    if status != Status::Running {
        notebook.volume.settle();
    }
    Ok(())
}
