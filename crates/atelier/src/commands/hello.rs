//! `atelier up` and `atelier down`: one notebook, `hello`, without a thought for servers.
//!
//! `up` uses the server that runs on the data folder, or is one itself until Ctrl-C. `down` uses the server that runs,
//! or is one for as long as it takes, on an address that nobody is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_core::status::Status;
use atelier_wire::Notebook;
use reqwest::Method;
use serde_json::Value;

use super::notebook::{Wish, ask_start, make, own_volume};
use super::serve::{Ended, listening, master_key};
use super::{Context, configuration, lookup, open, record, wait};
use crate::args::{Connection, Settings};
use crate::client::{Client, Reach};
use crate::config::Config;
use crate::failure::Failure;
use crate::folder::DataFolder;
use crate::logging;
use crate::serve::{Announce, Door, Server};

/// The notebook's name.
const NAME: &str = "hello";
/// The size of its volume.
const VOLUME_GIB: u32 = 5;
/// How often, and how long apart, a server that has just started is looked at.
const LOOKS: u32 = 150;
const PAUSE: Duration = Duration::from_millis(200);
/// How long the server may take for its last answer: it is stopped all the same.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// No automatic stop.
const NEVER: i64 = -1;

/// Runs `atelier up`.
pub(crate) async fn up(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = quiet_config(context, settings, None)?;
    if let Some(client) = running_server(context, &config.server.data_dir).await? {
        return context.printer.line(&bring_up(context, &client).await?);
    }
    logging::start(&config);
    let mut ended = Ended::new()?;
    let data_dir = config.server.data_dir.clone();
    let server = Server::open(config, master_key(context), Announce::Yes, Door::Own).await?;
    if !context.printer.is_quiet() {
        listening(&server);
    }
    let (stop, reach) = (server.stop(), server.reach());
    let running = tokio::spawn(server.run());
    let shown = tokio::select! {
        shown = show_hello(context, &data_dir, &reach) => shown,
        () = ended.wait() => Err(Failure::new("interrupted before `hello` was ready").hint("`atelier up` goes on where it ended")),
    };
    let mut runs_on = None;
    if let Ok(client) = &shown {
        context.printer.say("Ctrl-C stops the server; `hello` runs on");
        ended.wait().await;
        runs_on = still_runs(client).await;
    }
    stop.cancel();
    let stopped = running.await.map_err(|e| Failure::new(format!("the server broke: {e}")));
    shown?;
    stopped?;
    context.printer.say(match runs_on {
        Some(true) => "the server has stopped; `hello` runs on. `atelier up` reaches it again, `atelier down` ends it",
        Some(false) => "the server has stopped, and `hello` does not run. `atelier up` brings up both",
        None => "the server has stopped. `atelier up` brings it up again, and `hello` where it does not run",
    });
    Ok(())
}

/// Whether it runs, after all that may have become of it; `None` when the server does not say so in time.
async fn still_runs(client: &Client) -> Option<bool> {
    let found = tokio::time::timeout(LAST_LOOK, lookup::named(client, NAME)).await.ok()?.ok()?;
    Some(best(&found).is_some_and(runs))
}

/// The client that has brought it up.
async fn show_hello(context: &Context, data_dir: &Path, reach: &Reach) -> Result<Client, Failure> {
    let client = connect(context, data_dir, reach).await?;
    let address = bring_up(context, &client).await?;
    context.printer.line(&address)?;
    Ok(client)
}

/// Runs `atelier down`.
pub(crate) async fn down(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = quiet_config(context, settings, Some("127.0.0.1:0"))?;
    let data_dir = config.server.data_dir.clone();
    if let Some(client) = running_server(context, &data_dir).await? {
        return take_down(context, &client).await;
    }
    if !data_dir.join("layout").exists() {
        context.printer.say(&format!("there is no notebook `{NAME}`: no server has run on {} yet", data_dir.display()));
        return Ok(());
    }
    logging::start(&config);
    let server = Server::open(config, master_key(context), Announce::No, Door::Own).await?;
    let (stop, reach) = (server.stop(), server.reach());
    let running = tokio::spawn(server.run());
    let taken = async { take_down(context, &connect(context, &data_dir, &reach).await?).await }.await;
    stop.cancel();
    running.await.map_err(|e| Failure::new(format!("the server broke: {e}")))?;
    taken
}

/// The configuration of the server, which says only what matters unless it is asked for more.
fn quiet_config(context: &Context, settings: &Settings, listen: Option<&str>) -> Result<Config, Failure> {
    let mut places = context.surroundings.configuration(settings)?;
    places.set_base("server.log_level", "warn");
    if let Some(listen) = listen {
        places.set_flag("server.listen", "this command", Some(listen.into()));
    }
    configuration::load(&places)
}

/// A client for the server that has this data folder; `None` when none has. One that has just started is waited for:
/// only its own word says where it listens now, and credentials go nowhere else.
async fn running_server(context: &Context, data_dir: &Path) -> Result<Option<Client>, Failure> {
    for _ in 0..LOOKS {
        let holder = DataFolder::holder(data_dir).map_err(|e| Failure::new(e.to_string()))?;
        let Some(holder) = holder else { return Ok(None) };
        if let Some(reach) = &holder.reach {
            context.printer.say(&format!("using the server at {} ({holder})", reach.url));
            return connect(context, data_dir, reach).await.map(Some);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::new(format!("the server that uses {} does not come up", data_dir.display())))
}

/// A client for the server on this data folder.
async fn connect(context: &Context, data_dir: &Path, reach: &Reach) -> Result<Client, Failure> {
    let connection = Connection { data_dir: Some(PathBuf::from(data_dir)), ..Connection::default() };
    Client::connect_at(&connection, &context.surroundings, Some(reach)).await
}

/// Makes, starts or just finds `hello`; its address.
async fn bring_up(context: &Context, client: &Client) -> Result<String, Failure> {
    let notebook = loop {
        let found = lookup::named(client, NAME).await?;
        match best(&found) {
            None => break create(context, client).await?,
            Some(notebook) => match next(notebook)? {
                Next::Watch => break client.get(&format!("/notebooks/{}", notebook.id)).await?,
                Next::Start => break ask_start(client, &notebook.id, Some(NEVER), false).await?,
                Next::AwaitStop => await_stop(context, client, notebook).await?,
                Next::Replace => replace(context, client, notebook).await?,
                Next::AwaitEnd => wait::until_gone(client, context.printer, notebook).await?,
            },
        }
    };
    let running: Notebook = record(&wait::until_running(client, context.printer, notebook).await?)?;
    open::address(&running)
}

async fn await_stop(context: &Context, client: &Client, notebook: &Notebook) -> Result<(), Failure> {
    let current = client.get(&format!("/notebooks/{}", notebook.id)).await?;
    wait::until_stopped(client, context.printer, current).await.map(drop)
}

async fn create(context: &Context, client: &Client) -> Result<Value, Failure> {
    context.printer.say(&format!("creating the notebook `{NAME}`"));
    let wish = Wish {
        name: NAME.into(),
        description: Some("made by atelier up".into()),
        volume: own_volume(VOLUME_GIB),
        duration: Some(NEVER),
        ..Wish::default()
    };
    make(client, wish).await
}

/// A creation that failed has left nothing that could be lost.
async fn replace(context: &Context, client: &Client, notebook: &Notebook) -> Result<(), Failure> {
    let reason = notebook.fail_reason.as_deref().unwrap_or("no reason was given");
    context.printer.say(&format!("the last creation of `{NAME}` failed ({reason}); trying again"));
    client.call(Method::DELETE, &format!("/notebooks/{}", notebook.id), None).await?;
    wait::until_gone(client, context.printer, notebook).await
}

/// What is to be done about a `hello` that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Watch,
    Start,
    AwaitStop,
    Replace,
    AwaitEnd,
}

fn next(notebook: &Notebook) -> Result<Next, Failure> {
    use Status as S;
    let unknown = |_| Failure::new(format!("this version does not know the status `{}`", notebook.status));
    match notebook.status.parse::<Status>().map_err(unknown)? {
        S::Init | S::Creating | S::Starting | S::Running | S::Snapshotting => Ok(Next::Watch),
        S::Stopped | S::StartFailed | S::Error => Ok(Next::Start),
        S::Stopping => Ok(Next::AwaitStop),
        S::CreateFailed => Ok(Next::Replace),
        S::Deleting | S::Deleted => Ok(Next::AwaitEnd),
        S::DeleteFailed | S::Frozen => Err(Failure::new(format!("notebook `{NAME}` is {}", notebook.status))
            .hint(format!("atelier notebook show {}", notebook.id))),
    }
}

/// Names need not be unique: a running one is the best, then the newest.
fn best(found: &[Notebook]) -> Option<&Notebook> {
    found.iter().max_by_key(|notebook| (runs(notebook), notebook.create_at))
}

fn runs(notebook: &Notebook) -> bool {
    notebook.status == "RUNNING"
}

async fn take_down(context: &Context, client: &Client) -> Result<(), Failure> {
    let found = lookup::named(client, NAME).await?;
    let Some(notebook) = best(&found) else {
        context.printer.say(&format!("there is no notebook `{NAME}`"));
        return Ok(());
    };
    if matches!(notebook.status.as_str(), "STOPPED" | "START_FAILED" | "CREATE_FAILED" | "DELETING") {
        context.printer.say(&format!("`{NAME}` does not run; it is {}", notebook.status));
    } else {
        let stopping = stop(context, client, notebook).await?;
        wait::until_stopped(client, context.printer, stopping).await?;
        context.printer.say(&format!("`{NAME}` is stopped; its volume is kept"));
    }
    context.printer.say(&format!("`atelier up` starts it again; `atelier notebook delete {NAME}` deletes it"));
    Ok(())
}

/// Asks for a stop, of one that is on its way up as soon as it is there; its record, on its way down.
async fn stop(context: &Context, client: &Client, notebook: &Notebook) -> Result<Value, Failure> {
    let mut current = client.get(&format!("/notebooks/{}", notebook.id)).await?;
    match next(notebook)? {
        Next::AwaitStop => return Ok(current),
        Next::Watch => current = wait::until_running(client, context.printer, current).await?,
        Next::Start | Next::Replace | Next::AwaitEnd => {}
    }
    let now: Notebook = record(&current)?;
    client.call(Method::POST, &format!("/notebooks/{}/stop", now.id), None).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hello(status: &str, create_at: i64) -> Notebook {
        serde_json::from_value(json!({
            "id": create_at.to_string(), "name": NAME, "status": status, "feature": "NOTEBOOK", "flavor": "f",
            "image": {"id": "i", "name": "n", "swr_path": "p", "type": "BUILD_IN"}, "workspace_id": "0",
            "lease": {"create_at": 0, "update_at": 0, "duration": -1, "enable": false, "type": "TIMING"},
            "create_at": create_at, "update_at": 0,
        }))
        .unwrap()
    }

    #[test]
    fn every_status_has_a_next_thing_to_do_or_is_told() {
        for status in Status::ALL {
            let told = next(&hello(status.as_str(), 0));
            assert_eq!(told.is_err(), matches!(status, Status::DeleteFailed | Status::Frozen), "{status}");
        }
        assert_eq!(next(&hello("STOPPED", 0)).unwrap(), Next::Start);
        assert_eq!(next(&hello("CREATE_FAILED", 0)).unwrap(), Next::Replace);
    }

    #[test]
    fn a_running_one_is_better_than_a_newer_one() {
        let found = [hello("STOPPED", 9), hello("RUNNING", 1), hello("STOPPED", 5)];
        assert_eq!(best(&found).unwrap().id, "1");
        assert_eq!(best(&found[..1]).unwrap().id, "9");
    }
}
