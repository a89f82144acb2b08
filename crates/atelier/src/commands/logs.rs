//! `atelier notebook logs`: the log of a notebook's server, as it is and as it grows.

use atelier_wire::Notebook;
use reqwest::Method;

use super::{Context, lookup, record};
use crate::args::Logs;
use crate::client::Client;
use crate::failure::Failure;

/// Prints the log, and what is added while somebody watches.
pub(crate) async fn run(context: &Context, args: Logs) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let notebook: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let path = format!("/notebooks/{}/logs?follow={}", notebook.id, args.follow);
    let mut answer = client.stream(Method::GET, &path).await?;
    while let Some(bytes) = client.chunk(&mut answer).await? {
        context.printer.bytes(&bytes)?;
    }
    Ok(())
}
