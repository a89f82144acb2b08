//! `atelier volume …`: volumes of notebooks, and those that rest in the trash.

use atelier_core::id::NotebookId;
use atelier_core::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Context, delete, encoded, lookup};
use crate::args::{VolumeCommand, VolumeDelete, VolumeRestore, VolumesList};
use crate::client::Client;
use crate::failure::Failure;
use crate::tables;

/// Runs `atelier volume …`.
pub(crate) async fn run(context: &Context, command: VolumeCommand) -> Result<(), Failure> {
    match command {
        VolumeCommand::List(args) => list(context, args).await,
        VolumeCommand::Restore(args) => restore(context, args).await,
        VolumeCommand::Delete(args) => discard(context, args).await,
    }
}

async fn list(context: &Context, args: VolumesList) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let answer = client.own(Method::GET, &format!("/volumes?trash={}&all={}", args.trash, args.all)).await?;
    let volumes = answer["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    context.printer.result(&answer["volumes"], || {
        if args.trash {
            tables::trash(volumes, args.all, SystemClock.now())
        } else {
            tables::volumes(volumes, args.all)
        }
    })
}

async fn restore(context: &Context, args: VolumeRestore) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let id = find(&trashed(&client).await?, &args.volume)?;
    let body = args.name.map_or_else(|| json!({}), |name| json!({"name": name}));
    let answer = client.own_with(Method::POST, &format!("/volumes/{id}/restore"), &body).await;
    let answer = answer.map_err(|failure| match failure.code.as_deref() {
        Some("ModelArts.6301") => failure.hint("--name gives it another name"),
        _ => failure,
    })?;
    let name = answer["volume"]["name"].as_str().unwrap_or_default();
    context
        .printer
        .result(&answer["volume"], || format!("restored `{name}`; `atelier notebook start {name}` starts it"))
}

async fn discard(context: &Context, args: VolumeDelete) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let trash = trashed(&client).await?;
    let mut ids = Vec::new();
    for volume in &args.volumes {
        let id = find(&trash, volume)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let names: Vec<_> = args.volumes.iter().map(|name| format!("`{name}`")).collect();
    let question = format!("remove {} from the trash", names.join(", "));
    if !args.yes && !delete::agreed(&question, "What is on it cannot be had back.")? {
        context.printer.say("nothing was removed");
        return Ok(());
    }
    for id in &ids {
        client.stream(Method::DELETE, &format!("/volumes/{id}")).await?;
    }
    context.printer.result(&json!(ids), || format!("removed {}", names.join(", ")))
}

/// The caller's trash.
async fn trashed(client: &Client) -> Result<Vec<Value>, Failure> {
    let answer = client.own(Method::GET, "/volumes?trash=true").await?;
    Ok(answer["volumes"].as_array().cloned().unwrap_or_default())
}

/// The id of the notebook whose volume is meant: by that id, the volume's own, or the notebook's name where only one of
/// these has it.
fn find(volumes: &[Value], text: &str) -> Result<String, Failure> {
    let word = |volume: &Value, name: &str| volume[name].as_str().unwrap_or_default().to_owned();
    let meant = |volume: &&Value| ["notebook_id", "id", "name"].iter().any(|name| volume[*name] == text);
    let found: Vec<_> = volumes.iter().filter(meant).map(|volume| word(volume, "notebook_id")).collect();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        // Somebody else's: whether the caller may, the server says.
        [] if text.parse::<NotebookId>().is_ok() => Ok(encoded(text)),
        [] => {
            let names: Vec<_> = volumes.iter().map(|volume| word(volume, "name")).collect();
            let names = names.iter().map(String::as_str);
            Err(lookup::missing(
                "volume in the trash of a notebook",
                text,
                names,
                "`atelier volume list --trash` lists yours",
            ))
        }
        several => {
            let message =
                format!("{} notebooks in the trash were called `{text}`: {}", several.len(), several.join(", "));
            Err(Failure::new(message).hint("name one of them by its id"))
        }
    }
}
