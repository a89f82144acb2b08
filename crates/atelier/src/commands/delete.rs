//! `atelier notebook delete`: asks before it takes a volume away.

use std::io::{BufRead, IsTerminal, Write};

use atelier_wire::Notebook;
use reqwest::Method;
use serde_json::Value;

use super::{Context, lookup, record, wait};
use crate::args::Delete;
use crate::client::Client;
use crate::failure::Failure;

/// Deletes the named notebooks, one after the other, after all of them were found.
pub(crate) async fn run(context: &Context, args: Delete) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let mut found: Vec<Notebook> = Vec::new();
    for text in &args.notebooks {
        let notebook: Notebook = record(&lookup::notebook(&client, text).await?)?;
        if found.iter().all(|other| other.id != notebook.id) {
            found.push(notebook);
        }
    }
    if !args.yes && !agreed(&question(&found), IN_TRASH)? {
        context.printer.say("nothing was deleted");
        return Ok(());
    }
    let mut answers = Vec::new();
    for notebook in &found {
        answers.push(client.call(Method::DELETE, &format!("/notebooks/{}", notebook.id), None).await?);
    }
    if !args.waiting.no_wait {
        for notebook in &found {
            wait::until_gone(&client, context.printer, notebook).await?;
        }
    }
    let word = if args.waiting.no_wait { "deleting" } else { "deleted" };
    let line = |notebook: &Notebook| format!("{word} `{}`", notebook.name);
    context.printer.result(&Value::from(answers), || found.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// The client does not know for how long.
const IN_TRASH: &str =
    "It rests in the trash for a while, if there is one here: `atelier volume restore` brings it back.";

/// Whether somebody at the terminal agrees to what `question` says. `warning`: what they should know.
pub(super) fn agreed(question: &str, warning: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!("refusing to {question} without being asked on a terminal"))
            .hint("--yes does it without asking"));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{}? {warning} [y/N] ", capitalised(question))?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn question(notebooks: &[Notebook]) -> String {
    let names: Vec<_> = notebooks.iter().map(|notebook| format!("`{}`", notebook.name)).collect();
    let volumes = notebooks.iter().filter_map(|notebook| notebook.volume.as_ref());
    let own: Vec<_> = volumes.filter(|volume| volume.category == "EVS").filter_map(|volume| volume.capacity).collect();
    let with = match own.as_slice() {
        [] => String::new(),
        [gib] => format!(" with the volume of {gib} GiB"),
        several => format!(" with the volumes of {} GiB", several.iter().sum::<u32>()),
    };
    format!("delete {}{with}", names.join(", "))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
