//! The free instance: one for each user, made when it is first opened and started again when it is opened later.

use atelier_core::caller::Caller;
use atelier_core::feature::Feature;
use atelier_core::hook::Hooks;
use atelier_core::id::ImageId;
use atelier_core::image;
use atelier_core::lease::LeaseKind;
use atelier_core::limits::MIN_VOLUME_GIB;
use atelier_core::notebook::{LegacyWords, Notebook};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_store::{NotebookFilter, NotebookQuery};

use crate::update::find_image;
use crate::write::{Called, hidden};
use crate::{CreateNotebook, Engine, NewVolume, Size};

/// The flavor of every free instance.
const FLAVOR: &str = "modelarts.vm.cpu.free";

/// The name of the operation, in the audit too.
const OPERATION: &str = "RunCodeLab";

impl Engine {
    /// Opens the caller's free instance: makes it where there is none, starts it where it rests, and answers with it
    /// where it is there already or on its way.
    pub async fn run_code_lab(
        &self,
        caller: &Caller,
        request_id: &str,
        image_id: Option<ImageId>,
    ) -> Result<Notebook, Refusal> {
        if let Some(id) = image_id {
            find_image(&self.images().await?, id)?;
        }
        let by = Called::new(caller, request_id, OPERATION);
        let opened = self.open_or_make(&by, image_id).await;
        match &opened {
            // Somebody who asked at the same time was quicker; then it is there now, or on its way.
            Err(refusal) if matches!(refusal.code(), Code::QuotaExhausted | Code::Conflict) => {
                if self.free_instance(caller).await?.is_some() {
                    self.open_or_make(&by, image_id).await
                } else {
                    opened
                }
            }
            _ => opened,
        }
    }

    async fn open_or_make(&self, by: &Called, image_id: Option<ImageId>) -> Result<Notebook, Refusal> {
        let Some(found) = self.free_instance(&by.caller).await? else {
            return self.create_by(by, self.free_wish(image_id), None).await;
        };
        if image_id.is_some_and(|id| id != found.image.id) {
            let wanted = format!("`{}`, the image of the free instance `{}`", found.image.id, found.id);
            return Err(Refusal::bad_value("image_id", &wanted));
        }
        match found.status() {
            Status::Init | Status::Creating | Status::Starting | Status::Running | Status::Snapshotting => Ok(found),
            _ => self.start_by(by, found.id, (None, None), |_| Ok(())).await,
        }
    }

    async fn free_instance(&self, caller: &Caller) -> Result<Option<Notebook>, Refusal> {
        let query = NotebookQuery {
            user_id: Some(caller.user_id.clone()),
            filter: NotebookFilter { feature: Some(Feature::Free), ..NotebookFilter::NONE },
            descending: true,
            limit: 1,
            ..NotebookQuery::all_of(caller.project_id.clone())
        };
        let mut page = self.inner.store.notebooks(&query).await.map_err(|e| hidden(&e))?;
        Ok(page.items.pop().map(|notebook| self.as_shown(notebook)))
    }

    /// The contract's own words for it, and `notebook_` with 8 characters that chance chooses.
    fn free_wish(&self, image_id: Option<ImageId>) -> CreateNotebook {
        let mut random = [0; 4];
        self.inner.entropy.fill(&mut random);
        CreateNotebook {
            name: format!("notebook_{:08x}", u32::from_be_bytes(random)),
            description: String::new(),
            feature: Feature::Free,
            tags: Tags::none(),
            size: Size::Flavor(FLAVOR.to_owned()),
            pool_id: None,
            image_id: image_id.unwrap_or(image::BUILT_IN),
            volume: NewVolume::Own { capacity_gib: MIN_VOLUME_GIB },
            hooks: Hooks::default(),
            grant: self.inner.config.grants.default_grant(),
            lease_kind: LeaseKind::Timing,
            workspace_id: "0".to_owned(),
            legacy: LegacyWords::default(),
        }
    }
}
