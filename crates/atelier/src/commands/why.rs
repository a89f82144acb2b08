//! `atelier notebook why`: who works or what computes in a notebook, and when and why it stops by itself.

use atelier_core::{Clock as _, SystemClock};
use atelier_wire::Notebook;
use reqwest::Method;
use serde_json::Value;

use super::{Context, lookup, record};
use crate::args::One;
use crate::client::Client;
use crate::failure::Failure;
use crate::{tables, times};

/// Runs the command. Of a notebook that does not run, it says what ended it.
pub(crate) async fn run(context: &Context, args: One) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    if found.status != "RUNNING" {
        return ended(context, &client, &found).await;
    }
    let known = client.own(Method::GET, &format!("/notebooks/{}/activity", found.id)).await?;
    context.printer.result(&known, || tables::activity(&found.name, &known, SystemClock.now()))
}

async fn ended(context: &Context, client: &Client, found: &Notebook) -> Result<(), Failure> {
    let answer = client.own(Method::GET, &format!("/notebooks/{}/events", found.id)).await?;
    let ends = |event: &&Value| matches!(event["what"].as_str(), Some("stop.asked" | "delete.asked" | "fault"));
    let last = answer["events"].as_array().into_iter().flatten().rfind(ends).cloned().unwrap_or_default();
    context.printer.result(&last, || {
        let status = format!("`{}` is {}", found.name, found.status);
        match last["why"].as_str() {
            Some(why) => format!("{status} since {}: {why}", times::point(last["at"].as_i64().unwrap_or_default())),
            None => format!("{status}; nothing has stopped it"),
        }
    })
}
