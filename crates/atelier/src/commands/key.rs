//! `atelier key …`: access keys, for programs that sign their requests.

use atelier_wire::credential::{Credential, CredentialAnswer, CredentialsAnswer};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Context, encoded, record, user};
use crate::args::{Connection, KeyCommand, KeyList, KeyMade, OneKey};
use crate::client::Client;
use crate::failure::Failure;
use crate::tables;

const KEYS: &str = "/v3.0/OS-CREDENTIAL/credentials";

/// Runs one of the commands.
pub(crate) async fn run(context: &Context, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(context, args).await,
        KeyCommand::List(args) => list(context, args).await,
        KeyCommand::Disable(args) => switch(context, args, false).await,
        KeyCommand::Enable(args) => switch(context, args, true).await,
        KeyCommand::Delete(args) => delete(context, args).await,
    }
}

async fn create(context: &Context, args: KeyMade) -> Result<(), Failure> {
    let client = connect(context, &args.connection).await?;
    let owner = owner(&client, args.owner.as_deref()).await?;
    let body = json!({"credential": {"user_id": owner, "description": args.description.unwrap_or_default()}});
    let answer =
        client.identity(Method::POST, KEYS, Some(&body)).await.map_err(|failure| match failure.code.as_deref() {
            Some("ModelArts.0118") => failure.hint("`atelier key delete KEY` makes room"),
            _ => failure,
        })?;
    let key = record::<CredentialAnswer>(&answer)?.credential;
    context.printer.say("the secret is shown only now");
    context.printer.result(&answer["credential"], || {
        tables::fields(&[("access key", key.access.clone()), ("secret key", key.secret.clone().unwrap_or_default())])
    })
}

async fn list(context: &Context, args: KeyList) -> Result<(), Failure> {
    let client = connect(context, &args.connection).await?;
    let owner = owner(&client, args.owner.as_deref()).await?;
    let answer = client.identity(Method::GET, &format!("{KEYS}?user_id={owner}"), None).await?;
    let keys = record::<CredentialsAnswer>(&answer)?.credentials;
    context.printer.result(&answer["credentials"], || tables::keys(&keys))
}

async fn switch(context: &Context, args: OneKey, active: bool) -> Result<(), Failure> {
    let client = connect(context, &args.connection).await?;
    let status = if active { "active" } else { "inactive" };
    let answer =
        client.identity(Method::PUT, &one(&args.key), Some(&json!({"credential": {"status": status}}))).await?;
    let key: Credential = record::<CredentialAnswer>(&answer)?.credential;
    context.printer.result(&answer["credential"], || format!("access key {} is {}", key.access, key.status))
}

async fn delete(context: &Context, args: OneKey) -> Result<(), Failure> {
    let client = connect(context, &args.connection).await?;
    client.identity(Method::DELETE, &one(&args.key), None).await?;
    context.printer.result(&Value::Null, || format!("deleted access key {}", args.key))
}

async fn connect(context: &Context, connection: &Connection) -> Result<Client, Failure> {
    Client::connect(connection, &context.surroundings).await
}

/// The id of the user with this name; of whoever asks, when nobody is named.
async fn owner(client: &Client, name: Option<&str>) -> Result<String, Failure> {
    match name {
        Some(name) => user::id_of(client, name).await,
        None => client.user_id().await,
    }
}

fn one(access: &str) -> String {
    format!("{KEYS}/{}", encoded(access))
}
