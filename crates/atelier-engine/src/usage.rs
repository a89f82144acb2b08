//! What running notebooks use at this moment, for people who look.
//!
//! It is the machine's word, whatever their own servers say. Nothing of it is kept: whoever wants a rate looks twice.

use atelier_core::Timestamp;
use atelier_core::caller::Caller;
use atelier_core::filling::Filling;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::{Process, RuntimeError, Usage};
use atelier_store::{NotebookFilter, SortKey};
use futures_util::StreamExt as _;

use crate::activity::ASK_LIMIT_MS;
use crate::{Engine, ListNotebooks, Whose};

/// Notebooks that are looked at side by side.
const AT_ONCE: usize = 16;

/// What a running notebook uses.
#[derive(Clone, Debug)]
pub struct NotebookUsage {
    /// The notebook.
    pub notebook: Notebook,
    /// When it was looked at.
    pub at: Timestamp,
    /// What it uses.
    pub usage: Usage,
    /// How full its volume is; `None` when that could not be found out, and of a dedicated one.
    pub filling: Option<Filling>,
}

fn not_running(status: Status) -> Refusal {
    Refusal::new(Code::NotRunning, format!("notebook is {status}; only one that is RUNNING uses anything"))
}

impl Engine {
    /// What one of the caller's notebooks uses, and its processes.
    pub async fn notebook_usage(
        &self,
        caller: &Caller,
        id: NotebookId,
    ) -> Result<(NotebookUsage, Vec<Process>), Refusal> {
        let notebook = self.show(caller, id).await?;
        if notebook.status() != Status::Running {
            return Err(not_running(notebook.status()));
        }
        let (used, processes) = tokio::join!(self.used_by(notebook), self.in_time(self.inner.runtime.processes(id)));
        let silent = || Refusal::new(Code::Unavailable, "what the notebook uses cannot be told at this moment");
        Ok((used.ok_or_else(silent)?, processes.ok_or_else(silent)?))
    }

    /// What every running notebook uses, the caller's own or everybody's in the project, by their names. One that cannot
    /// be looked at is left out.
    pub async fn usages(&self, caller: &Caller, whose: Whose) -> Result<Vec<NotebookUsage>, Refusal> {
        let wanted = ListNotebooks {
            filter: NotebookFilter { status: Some(Status::Running), ..NotebookFilter::NONE },
            sort_key: SortKey::Name,
            then_by: Vec::new(),
            descending: false,
            offset: 0,
            limit: u32::MAX,
        };
        let page = match whose {
            Whose::Own => self.list(caller, wanted).await?,
            Whose::Everybodys => self.list_all(caller, None, wanted).await?,
        };
        let looks = futures_util::stream::iter(page.items.into_iter().map(|notebook| self.used_by(notebook)));
        Ok(looks.buffered(AT_ONCE).filter_map(std::future::ready).collect().await)
    }

    async fn used_by(&self, notebook: Notebook) -> Option<NotebookUsage> {
        let id = notebook.id;
        let runtime = &self.inner.runtime;
        let filling = async {
            let measured = notebook.volume.uri().is_none();
            if measured { self.in_time(runtime.filling(id)).await } else { None }
        };
        // A disk may take longer to answer, and rates are made of the times.
        let usage = async { Some((self.in_time(runtime.usage(id)).await?, self.now())) };
        let (usage, filling) = tokio::join!(usage, filling);
        let (usage, at) = usage?;
        Some(NotebookUsage { notebook, at, usage, filling })
    }

    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, RuntimeError>>) -> Option<T> {
        tokio::select! {
            biased;
            answer = asking => answer.ok(),
            () = self.pass(ASK_LIMIT_MS) => None,
        }
    }
}
