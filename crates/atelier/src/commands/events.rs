//! `atelier events`: what happened, and what happens.
//!
//! The live form reads Server-Sent Events. When the connection ends it is made anew from the last event that was seen, so
//! that a restart of the server shows as a pause and nothing is missed or printed twice.

use std::time::Duration;

use atelier_wire::Notebook;
use reqwest::Method;
use serde_json::Value;

use super::{Context, encoded, lookup, record};
use crate::args::{Events, Format};
use crate::client::Client;
use crate::failure::Failure;
use crate::times;

/// As many as the server answers at once.
const PAGE: usize = 1000;
/// How long to wait before the connection is made anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints events, oldest first.
pub(crate) async fn run(context: &Context, args: Events) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let path = match &args.notebook {
        Some(text) => {
            let found: Notebook = record(&lookup::notebook(&client, text).await?)?;
            format!("/notebooks/{}/events", found.id)
        }
        None => "/events".to_owned(),
    };
    if args.follow {
        follow(context, &client, &path, args.after).await
    } else {
        list(context, &client, &path, args.after).await
    }
}

async fn list(context: &Context, client: &Client, path: &str, mut after: Option<String>) -> Result<(), Failure> {
    let mut all = Vec::new();
    loop {
        let answer = client.own(Method::GET, &asking(path, false, after.as_deref())).await?;
        let page = answer["events"].as_array().cloned().unwrap_or_default();
        let whole = page.len() < PAGE;
        after = page.last().and_then(|event| event["id"].as_str()).map(str::to_owned).or(after);
        all.extend(page);
        if whole {
            break;
        }
    }
    let all = Value::from(all);
    context.printer.result(&all, || all.as_array().into_iter().flatten().map(|event| line(event) + "\n").collect())
}

async fn follow(context: &Context, client: &Client, path: &str, mut after: Option<String>) -> Result<(), Failure> {
    loop {
        let mut answer = client.stream(Method::GET, &asking(path, true, after.as_deref())).await?;
        let mut reader = Reader::default();
        // A broken connection is as good as one that ended: what comes next shows whether the server is there.
        while let Ok(Some(bytes)) = client.chunk(&mut answer).await {
            for event in reader.take(&bytes) {
                let printed = match context.printer.format() {
                    Format::Json => event.to_string(),
                    Format::Table => line(&event),
                };
                context.printer.line(&printed)?;
                after = event["id"].as_str().map(str::to_owned).or(after);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn asking(path: &str, follow: bool, after: Option<&str>) -> String {
    let after = after.map(|id| format!("&after={}", encoded(id))).unwrap_or_default();
    format!("{path}?follow={follow}{after}")
}

fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let at = times::point(event["at"].as_i64().unwrap_or_default());
    format!("{at}  {}  {:<16}  {}: {}", text("notebook_id"), text("what"), text("actor"), text("why"))
}

/// Takes events out of a stream, however it is cut.
#[derive(Default)]
struct Reader {
    rest: Vec<u8>,
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            events.extend(text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b"id: 1\nevent: a\ndata: {\"id\":\"1\"}\n\n: still here\n\nid: 2\ndata: {\"id\":\"2\"}\n\nid: 3";
        for size in 1..stream.len() {
            let mut reader = Reader::default();
            let ids: Vec<_> =
                stream.chunks(size).flat_map(|piece| reader.take(piece)).map(|e| e["id"].clone()).collect();
            assert_eq!(ids, ["1", "2"], "pieces of {size}");
        }
    }
}
