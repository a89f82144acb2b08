//! Waiting until a notebook rests, showing its steps meanwhile.

use std::time::Duration;

use atelier_core::status::Status;
use atelier_wire::Notebook;
use serde_json::Value;

use super::record;
use crate::client::Client;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress::{Spinner, Steps};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(150);

/// Waits until the notebook is RUNNING; its record then. Fails when it goes anywhere else.
pub(crate) async fn until_running(client: &Client, printer: Printer, mut notebook: Value) -> Result<Value, Failure> {
    let mut steps = Steps::new(printer);
    loop {
        let now: Notebook = record(&notebook)?;
        steps.update(now.action_progress.as_deref().unwrap_or_default());
        let status = status_of(&now)?;
        if status.is_stable() {
            steps.end(status == Status::Running);
            return arrived(notebook, &now, status, Status::Running);
        }
        tokio::time::sleep(PAUSE).await;
        notebook = client.get(&format!("/notebooks/{}", now.id)).await.map_err(|f| vanished(f, &now))?;
    }
}

/// Waits until the notebook is STOPPED; its record then.
pub(crate) async fn until_stopped(client: &Client, printer: Printer, mut notebook: Value) -> Result<Value, Failure> {
    let first: Notebook = record(&notebook)?;
    let _spinner = Spinner::new(printer, &format!("stopping `{}` ...", first.name));
    loop {
        let now: Notebook = record(&notebook)?;
        let status = status_of(&now)?;
        if status.is_stable() {
            return arrived(notebook, &now, status, Status::Stopped);
        }
        tokio::time::sleep(PAUSE).await;
        notebook = client.get(&format!("/notebooks/{}", now.id)).await.map_err(|f| vanished(f, &now))?;
    }
}

/// Waits until the notebook is not there any more.
pub(crate) async fn until_gone(client: &Client, printer: Printer, notebook: &Notebook) -> Result<(), Failure> {
    let _spinner = Spinner::new(printer, &format!("deleting `{}` ...", notebook.name));
    loop {
        match client.get(&format!("/notebooks/{}", notebook.id)).await {
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) => return Err(failure),
            Ok(answer) => {
                let now: Notebook = record(&answer)?;
                if status_of(&now)? == Status::DeleteFailed {
                    return Err(failed(&now).hint("the deletion can be tried again"));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn status_of(notebook: &Notebook) -> Result<Status, Failure> {
    let unknown = |_| Failure::new(format!("this version does not know the status `{}`", notebook.status));
    notebook.status.parse().map_err(unknown)
}

fn arrived(answer: Value, notebook: &Notebook, status: Status, wanted: Status) -> Result<Value, Failure> {
    if status == wanted {
        return Ok(answer);
    }
    let failure = failed(notebook);
    Err(match status {
        Status::StartFailed | Status::Error => failure
            .hint(format!("its log: atelier notebook logs {}", notebook.id))
            .hint(format!("try again: atelier notebook start {}", notebook.id)),
        Status::CreateFailed => failure.hint(format!("remove it: atelier notebook delete {}", notebook.id)),
        _ => failure,
    })
}

fn failed(notebook: &Notebook) -> Failure {
    let reason = notebook.fail_reason.as_deref().unwrap_or("no reason was given");
    Failure::new(format!("notebook `{}` is {}: {reason}", notebook.name, notebook.status))
}

fn vanished(failure: Failure, notebook: &Notebook) -> Failure {
    if failure.is_not_found() {
        return Failure::new(format!("notebook `{}` was deleted meanwhile", notebook.name));
    }
    failure
}
