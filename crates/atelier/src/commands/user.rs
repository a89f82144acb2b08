//! `atelier user …`: who may log in, for administrators; and everybody's own password.

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::login::{asked_secret, line_of_stdin};
use super::{Context, lookup};
use crate::args::{Connection, OneUser, UserCommand, UserMade, UserPassword};
use crate::client::Client;
use crate::failure::Failure;
use crate::tables;

/// Runs one of the commands.
pub(crate) async fn run(context: &Context, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Create(args) => create(context, args).await,
        UserCommand::List(connection) => list(context, connection).await,
        UserCommand::Disable(args) => switch(context, args, false).await,
        UserCommand::Enable(args) => switch(context, args, true).await,
        UserCommand::Password(args) => password(context, args).await,
    }
}

async fn create(context: &Context, args: UserMade) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let mut body = json!({"name": args.name, "role": if args.admin { "admin" } else { "member" }});
    if args.password_stdin {
        body["password"] = line_of_stdin()?.into();
    }
    let answer = client.own_with(Method::POST, "/users", &body).await?;
    report(context, &answer, "made")
}

async fn list(context: &Context, connection: Connection) -> Result<(), Failure> {
    let client = Client::connect(&connection, &context.surroundings).await?;
    let users = users(&client).await?;
    context.printer.result(&users, || tables::users(&users))
}

async fn switch(context: &Context, args: OneUser, enabled: bool) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let path = format!("/users/{}", id_of(&client, &args.name).await?);
    let answer = client.own_with(Method::PATCH, &path, &json!({"enabled": enabled})).await?;
    report(context, &answer, if enabled { "switched on" } else { "switched off" })
}

async fn password(context: &Context, args: UserPassword) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let Some(name) = &args.name else { return own_password(context, &client, args.password_stdin).await };
    let path = format!("/users/{}/password", id_of(&client, name).await?);
    let body = if args.password_stdin { json!({"password": line_of_stdin()?}) } else { json!({}) };
    report(context, &client.own_with(Method::POST, &path, &body).await?, "given a new password")
}

/// The present password first, then the new one, also on stdin.
async fn own_password(context: &Context, client: &Client, stdin: bool) -> Result<(), Failure> {
    let asked = |question: &str| if stdin { line_of_stdin().map(SecretString::from) } else { asked_secret(question) };
    let (original, new) = (asked("Present password: ")?, asked("New password: ")?);
    let path = format!("/v3/users/{}/password", client.user_id().await?);
    let body = json!({"user": {"original_password": original.expose_secret(), "password": new.expose_secret()}});
    client.identity(Method::POST, &path, Some(&body)).await?;
    context.printer.say("`atelier login` logs in with it; every token of before is worth nothing now");
    context.printer.result(&Value::Null, || "changed the password".into())
}

fn report(context: &Context, answer: &Value, what: &str) -> Result<(), Failure> {
    let name = answer["user"]["name"].as_str().unwrap_or_default();
    context.printer.result(answer, || match answer["password"].as_str() {
        Some(password) => tables::fields(&[("user", name.to_owned()), ("password", password.to_owned())]),
        None => format!("user `{name}` was {what}"),
    })
}

async fn users(client: &Client) -> Result<Value, Failure> {
    Ok(client.own(Method::GET, "/users").await?["users"].take())
}

/// The id of the user with this name.
pub(crate) async fn id_of(client: &Client, name: &str) -> Result<String, Failure> {
    let users = users(client).await?;
    let list = users.as_array().map(Vec::as_slice).unwrap_or_default();
    let named = |user: &&Value| user["name"] == name || user["id"] == name;
    if let Some(id) = list.iter().find(named).and_then(|user| user["id"].as_str()) {
        return Ok(id.to_owned());
    }
    let known = list.iter().filter_map(|user| user["name"].as_str());
    Err(lookup::missing("user", name, known, "`atelier user list` lists them"))
}
