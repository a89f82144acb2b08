//! Tags: hung on notebooks, taken off, and which there are.

use std::collections::{BTreeMap, BTreeSet};

use atelier_core::caller::Caller;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_core::tags::{TagKey, TagValue, Tags};

use crate::Engine;
use crate::commands::own;
use crate::write::{Called, Change, hidden};

impl Engine {
    /// Hangs tags on a notebook; an existing key gets its new value. Refused when they would become too many.
    pub async fn add_tags(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        tags: Vec<(TagKey, TagValue)>,
    ) -> Result<(), Refusal> {
        let by = Called::new(caller, request_id, "CreateNotebookTags");
        self.retag(by, id, move |now| now.with(tags.clone())).await
    }

    /// Takes tags off a notebook; those that are not there are no matter.
    pub async fn remove_tags(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        keys: Vec<TagKey>,
    ) -> Result<(), Refusal> {
        let by = Called::new(caller, request_id, "DeleteNotebookTags");
        self.retag(by, id, move |now| Ok(now.without(&keys))).await
    }

    async fn retag(
        &self,
        by: Called,
        id: NotebookId,
        new: impl Fn(&Tags) -> Result<Tags, Refusal> + Send + Sync + 'static,
    ) -> Result<(), Refusal> {
        let (engine, origin) = (self.clone(), by.origin());
        self.detached(async move {
            let retagged = engine.change(id, |mut notebook| {
                own(&by.caller, &notebook)?;
                may_tag(&notebook)?;
                let tags = new(&notebook.tags)?;
                if tags == notebook.tags {
                    return Ok(Change::of(notebook).called(&by));
                }
                notebook.tags = tags;
                let event = engine.event(&notebook, &origin, "tags.changed", format!("{} changed tags", origin.actor));
                Ok(Change { events: vec![event], ..Change::of(notebook) }.called(&by))
            });
            retagged.await.map(drop)
        })
        .await
    }

    /// The tags in use on the notebooks of the caller's project: each key with all of its values.
    pub async fn tag_values(
        &self,
        caller: &Caller,
        workspace_id: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, Refusal> {
        self.inner.store.tag_values(&caller.project_id, workspace_id).await.map_err(|e| hidden(&e))
    }
}

fn may_tag(notebook: &Notebook) -> Result<(), Refusal> {
    match notebook.status() {
        Status::Deleting | Status::Deleted => Err(Refusal::new(
            Code::Conflict,
            format!("notebook is {}; its tags cannot be changed now", notebook.status()),
        )),
        _ => Ok(()),
    }
}
