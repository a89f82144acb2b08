//! `atelier notebook update` and `atelier notebook tag`.

use atelier_wire::{CustomHooks, Notebook, NotebookUpdateRequest, Tag, TagsRequest};
use reqwest::Method;

use super::notebook::{custom_spec, report};
use super::{Context, hooks, lookup, record};
use crate::args::{TagArgs, Update};
use crate::client::Client;
use crate::failure::Failure;

/// Changes what was named and leaves the rest.
pub(crate) async fn update(context: &Context, args: Update) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let image_id = match &args.image {
        Some(image) => Some(lookup::image(&client, image).await?),
        None => None,
    };
    let hooks = if args.no_hooks { Some(CustomHooks::default()) } else { hooks::wanted(&args.hooks, found.hooks)? };
    let wish = NotebookUpdateRequest {
        name: args.name,
        description: args.description,
        flavor: args.flavor,
        custom_spec: custom_spec(args.cpus, args.memory),
        image_id,
        hooks,
        ..NotebookUpdateRequest::default()
    };
    let body = serde_json::to_value(wish).map_err(|e| Failure::new(e.to_string()))?;
    let answer = client.call(Method::PUT, &format!("/notebooks/{}", found.id), Some(&body)).await;
    let answer = answer.map_err(|failure| match failure.code.as_deref() {
        Some("ModelArts.6347") if found.status == "RUNNING" => {
            failure.hint(format!("stop it first: atelier notebook stop {}", found.name))
        }
        _ => failure,
    })?;
    report(context, &answer)
}

/// Hangs tags on a notebook and takes others off; without any, only shows those that it has.
pub(crate) async fn tag(context: &Context, args: TagArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let gone = args.remove.into_iter().map(|key| Tag { key, value: None }).collect();
    send(&client, Method::DELETE, &format!("/notebooks/{}/tags/delete", found.id), gone).await?;
    let new = args.tags.into_iter().map(|(key, value)| Tag { key, value: Some(value) }).collect();
    send(&client, Method::POST, &format!("/notebooks/{}/tags/create", found.id), new).await?;
    let answer = client.get(&format!("/notebooks/{}", found.id)).await?;
    let now: Notebook = record(&answer)?;
    context.printer.result(&answer["tags"], || now.tags.iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn send(client: &Client, method: Method, path: &str, tags: Vec<Tag>) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    let body = serde_json::to_value(TagsRequest { tags }).map_err(|e| Failure::new(e.to_string()))?;
    client.call(method, path, Some(&body)).await.map(drop)
}

/// A tag as it is written on the command line.
pub(crate) fn line(tag: &Tag) -> String {
    format!("{}={}", tag.key, tag.value.as_deref().unwrap_or_default())
}
