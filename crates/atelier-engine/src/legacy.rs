//! The commands of the legacy API, whose *instances* are notebooks. They are the commands of the other API under names of
//! their own in the audit, with further demands on the status in which they are accepted; and one that only they have:
//! a change of the automatic stop of every start.

use atelier_core::auto_stop::AutoStop;
use atelier_core::caller::Caller;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_store::{Condition, NotebookFilter, NotebookQuery, SortKey};

use crate::commands::{Demand, own};
use crate::write::{Called, Change, hidden};
use crate::{CreateNotebook, Engine};

/// The operation of the legacy API that starts and stops.
const MANAGE: &str = "ManageDevEnvironInstance";

/// What is to be changed of an instance; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceChange {
    /// Free text.
    pub description: Option<String>,
    /// Its automatic stop.
    pub auto_stop: Option<AutoStop>,
}

impl InstanceChange {
    /// The automatic stop that was asked for counts from the next start on: the lease that runs stays as it is.
    fn apply(&self, notebook: &mut Notebook) {
        if let Some(description) = &self.description {
            notebook.description.clone_from(description);
        }
        if let Some(auto_stop) = self.auto_stop {
            let before = notebook.start_terms();
            let terms = auto_stop.terms(before);
            if terms != before {
                notebook.next_terms = Some(terms);
            }
            notebook.legacy.prompt = auto_stop.prompt.unwrap_or(notebook.legacy.prompt);
        }
    }
}

impl Engine {
    /// Makes a notebook, unless its owner has another of its name.
    pub async fn create_legacy(
        &self,
        caller: &Caller,
        request_id: &str,
        new: CreateNotebook,
    ) -> Result<Notebook, Refusal> {
        let by = Called::new(caller, request_id, "CreateDevEnvironInstance");
        self.create_by(&by, new, Some(Condition::NameIsFree)).await
    }

    /// Starts a notebook with the lease that it has at every start.
    pub async fn start_legacy(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        demand: Demand,
    ) -> Result<Notebook, Refusal> {
        self.start_by(&Called::new(caller, request_id, MANAGE), id, (None, None), demand).await
    }

    /// Stops a notebook.
    pub async fn stop_legacy(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        demand: Demand,
    ) -> Result<Notebook, Refusal> {
        self.stop_as(Called::new(caller, request_id, MANAGE), id, demand).await
    }

    /// Removes a notebook with its volume.
    pub async fn delete_legacy(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        demand: Demand,
    ) -> Result<Notebook, Refusal> {
        self.delete_as(Called::new(caller, request_id, "DeleteDevEnvironInstance"), id, demand).await
    }

    /// Changes a notebook, whatever it is doing, unless it is being removed.
    pub async fn change_legacy(
        &self,
        caller: &Caller,
        request_id: &str,
        id: NotebookId,
        change: InstanceChange,
    ) -> Result<Notebook, Refusal> {
        let by = Called::new(caller, request_id, "UpdateDevEnvironInstance");
        let (engine, origin) = (self.clone(), by.origin());
        self.detached(async move {
            engine
                .change(id, |mut notebook| {
                    own(&by.caller, &notebook)?;
                    if notebook.status() == Status::Deleting {
                        let message = "the instance is DELETING; neither `description` nor `auto_stop` can change now";
                        return Err(Refusal::new(Code::FieldLocked, message));
                    }
                    change.apply(&mut notebook);
                    let why = format!("{} changed description or automatic stop", origin.actor);
                    let event = engine.event(&notebook, &origin, "changed", why);
                    Ok(Change { events: vec![event], ..Change::of(notebook) }.called(&by))
                })
                .await
        })
        .await
    }

    /// The caller's notebooks, or with `everybodys` all of the project, that have what `filter` asks for and that `shows`
    /// wants to see, in order.
    pub async fn list_legacy(
        &self,
        caller: &Caller,
        everybodys: bool,
        filter: NotebookFilter,
        (sort_key, descending): (SortKey, bool),
        mut shows: impl FnMut(&Notebook) -> bool + Send,
    ) -> Result<Vec<Notebook>, Refusal> {
        let owner = (!everybodys).then(|| caller.user_id.clone());
        let all = NotebookQuery::all_of(caller.project_id.clone());
        let query = NotebookQuery { user_id: owner, filter, sort_key, descending, ..all };
        let page = self.inner.store.notebooks(&query).await.map_err(|e| hidden(&e))?;
        let kept = page.items.into_iter().filter(|notebook| shows(notebook));
        Ok(kept.map(|notebook| self.as_shown(notebook)).collect())
    }
}
