//! `atelier operations …` and `atelier capacity`: what is under way, and what there is room for.

use atelier_core::{Clock, SystemClock};
use reqwest::Method;
use serde_json::Value;

use super::{Context, encoded, lookup};
use crate::args::{Connection, OneOperation, OperationsCommand, OperationsList};
use crate::client::Client;
use crate::failure::Failure;
use crate::tables::{self, fields};
use crate::times;

/// Runs `atelier operations …`.
pub(crate) async fn run(context: &Context, command: OperationsCommand) -> Result<(), Failure> {
    match command {
        OperationsCommand::List(args) => list(context, args).await,
        OperationsCommand::Show(args) => one(context, args, Method::GET, "").await,
        OperationsCommand::Retry(args) => one(context, args, Method::POST, "/retry").await,
        OperationsCommand::Cancel(args) => one(context, args, Method::POST, "/cancel").await,
        OperationsCommand::Orphans(connection) => orphans(context, &connection).await,
    }
}

async fn list(context: &Context, args: OperationsList) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let notebook = match &args.notebook {
        // Of everybody's notebooks only ids are known here.
        Some(named) if args.all => Some(named.clone()),
        Some(named) => lookup::notebook(&client, named).await?["id"].as_str().map(str::to_owned),
        None => None,
    };
    let filters = [("notebook", notebook), ("state", args.state), ("kind", args.kind), ("before", args.before)];
    let filters = filters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded(&value?))));
    let path = format!("/operations?limit={}&all={}{}", args.limit, args.all, filters.collect::<String>());
    let answer = client.own(Method::GET, &path).await?;
    context.printer.result(&answer["operations"], || tables::operations(&answer, SystemClock.now()))
}

async fn one(context: &Context, args: OneOperation, method: Method, verb: &str) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let answer = client.own(method, &format!("/operations/{}{verb}", encoded(&args.operation))).await?;
    context.printer.result(&answer, || shown(&answer))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn shown(operation: &Value) -> String {
    let now = SystemClock.now();
    let time =
        |name: &str| operation[name].as_i64().map(|at| format!("{} ({})", times::point(at), times::ago(at, now)));
    let name = text(&operation["notebook_name"]).unwrap_or_else(|| "gone".into());
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut line = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    line("id", text(&operation["id"]));
    line("kind", text(&operation["kind"]));
    line("state", text(&operation["state"]));
    line("notebook", Some(format!("{name} {}", text(&operation["notebook_id"]).unwrap_or_default())));
    line("status", text(&operation["notebook_status"]));
    line("asked by", text(&operation["actor"]));
    line("why", text(&operation["why"]));
    line("began", time("began_at"));
    line("ended", time("ended_at"));
    line("error", text(&operation["error"]));
    line("driven by", text(&operation["driver"]["pid"]).map(|pid| format!("the server, pid {pid}")));
    line("step ends by", operation["step_deadline"].as_i64().map(times::point));
    line("ends by", operation["deadline"].as_i64().map(times::point));
    for call in operation["hanging"].as_array().into_iter().flatten() {
        let since = call["since"].as_i64().unwrap_or_default();
        line("hangs", Some(format!("{} since {}", text(&call["what"]).unwrap_or_default(), times::point(since))));
    }
    for step in operation["steps"].as_array().into_iter().flatten() {
        line("step", Some(step_line(step)));
    }
    line("next", text(&operation["next"]));
    fields(&lines)
}

fn step_line(step: &Value) -> String {
    let took = step["duration_ms"].as_i64().map(|ms| format!(", {ms} ms")).unwrap_or_default();
    let note = text(&step["note"]).map(|note| format!(": {note}")).unwrap_or_default();
    let word = |name: &str| text(&step[name]).unwrap_or_default();
    format!("{}: {}, begun {} times{took}{note}", word("description"), word("state"), word("attempts"))
}

async fn orphans(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let client = Client::connect(connection, &context.surroundings).await?;
    let answer = client.own(Method::GET, "/orphans").await?;
    let lines = || {
        let found = answer["found"].as_array().into_iter().flatten().map(|orphan| {
            let word = |name: &str| text(&orphan[name]).unwrap_or_default();
            let since = times::point(orphan["since"].as_i64().unwrap_or_default());
            let stopped = if orphan["stopped"] == true { "stopped" } else { "not stopped yet" };
            format!("{}  found {since}, {stopped} {}\n", word("notebook_id"), word("trouble"))
        });
        let lost = answer["lost"].as_array().into_iter().flatten().map(|lost| {
            let word = |name: &str| text(&lost[name]).unwrap_or_default();
            format!("{}  its volume was set aside: {}\n", word("notebook_id"), word("place"))
        });
        let all: String = found.chain(lost).collect();
        if all.is_empty() { "no orphans".into() } else { all }
    };
    context.printer.result(&answer, lines)
}

/// Runs `atelier capacity`.
pub(crate) async fn capacity(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let client = Client::connect(connection, &context.surroundings).await?;
    let answer = client.own(Method::GET, "/capacity").await?;
    context.printer.result(&answer, || tables::capacity(&answer))
}
