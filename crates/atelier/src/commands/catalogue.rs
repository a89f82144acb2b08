//! `atelier flavor list`, `atelier image list`, `atelier image build`, `atelier feature list`: what notebooks are made of,
//! and how many there may be.

use atelier_wire::{FeatureQuota, ImagePage, NotebookFlavor};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Context, encoded, record};
use crate::args::{Connection, FeatureCommand, FlavorCommand, FlavorList, ImageCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::progress::Spinner;
use crate::tables;

/// Runs `atelier flavor …`.
pub(crate) async fn flavor(context: &Context, command: FlavorCommand) -> Result<(), Failure> {
    let FlavorCommand::List(FlavorList { pool, connection }) = command;
    let client = Client::connect(&connection, &context.surroundings).await?;
    let answer = flavors(&client, pool.as_deref()).await?;
    let flavors: Vec<NotebookFlavor> = record(&answer)?;
    context.printer.result(&answer, || tables::flavors(&flavors))
}

/// The flavors of a pool, or of what pools leave of the machine.
pub(crate) async fn flavors(client: &Client, pool: Option<&str>) -> Result<Value, Failure> {
    let Some(pool) = pool else {
        return Ok(client.get("/notebooks/flavors").await?["data"].take());
    };
    let mut flavors = client.get(&format!("/authoring/clusters/{}", encoded(pool))).await?["flavors"].take();
    // There memory is a text.
    for memory in flavors.as_array_mut().into_iter().flatten().map(|flavor| &mut flavor["memory"]) {
        *memory = memory.as_str().and_then(|text| text.parse::<u64>().ok()).into();
    }
    Ok(flavors)
}

/// Runs `atelier feature …`. The API shows one feature at a time, and there is one with a quota.
pub(crate) async fn feature(context: &Context, command: FeatureCommand) -> Result<(), Failure> {
    let FeatureCommand::List(connection) = command;
    let client = Client::connect(&connection, &context.surroundings).await?;
    let answers = vec![client.get("/authoring/features/NOTEBOOK").await?];
    let features = answers.iter().map(record::<FeatureQuota>).collect::<Result<Vec<_>, _>>()?;
    context.printer.result(&answers.into(), || tables::features(&features))
}

/// Runs `atelier image …`.
pub(crate) async fn image(context: &Context, command: ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::List(connection) => list(context, &connection).await,
        ImageCommand::Build(connection) => build(context, &connection).await,
    }
}

async fn list(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let client = Client::connect(connection, &context.surroundings).await?;
    let answer = client.get("/images?limit=1000").await?;
    let page: ImagePage = record(&answer)?;
    context.printer.result(&answer["data"], || tables::images(&page.data))
}

/// Follows the making of the built-in image: one JSON object in a line, the last one says how it ended.
async fn build(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let client = Client::connect(connection, &context.surroundings).await?;
    let id = atelier_core::image::BUILT_IN.to_string();
    let mut answer = client.stream(Method::POST, &format!("/images/{id}/build")).await?;
    let spinner = Spinner::new(context.printer, "making the built-in image ...");
    let mut lines = Lines::default();
    while let Some(bytes) = client.chunk(&mut answer).await? {
        for line in lines.take(&bytes) {
            match news(&line) {
                News::Doing(text) => spinner.say(&text),
                News::Failed(reason) => return Err(Failure::new(format!("the image could not be made: {reason}"))),
                News::Done => {
                    drop(spinner);
                    return context
                        .printer
                        .result(&json!({"id": id, "status": "ACTIVE"}), || format!("image {id} is ready"));
                }
            }
        }
    }
    Err(Failure::new("the server ended before the image was made").hint("`atelier image build` goes on where it ended"))
}

enum News {
    Doing(String),
    Failed(String),
    Done,
}

fn news(line: &str) -> News {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    match (line["error"].as_str(), line["doing"].as_str()) {
        (Some(reason), _) => News::Failed(reason.to_owned()),
        (None, Some(text)) => News::Doing(text.to_owned()),
        (None, None) => News::Done,
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_bytes_come() {
        let mut lines = Lines::default();
        assert!(lines.take(b"{\"doing\":").is_empty());
        assert_eq!(lines.take(b"\"a\"}\n{}\n{\"err"), ["{\"doing\":\"a\"}", "{}"]);
        assert_eq!(lines.take(b"or\":\"x\"}\n"), ["{\"error\":\"x\"}"]);
    }

    #[test]
    fn the_last_line_says_how_it_ended() {
        assert!(matches!(news("{\"doing\":\"a\"}"), News::Doing(text) if text == "a"));
        assert!(matches!(news("{\"error\":\"full\"}"), News::Failed(text) if text == "full"));
        assert!(matches!(news("{\"done\":true}"), News::Done));
    }
}
