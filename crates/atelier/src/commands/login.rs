//! `atelier login`, `atelier logout` and `atelier token`.

use std::io::{BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::Context;
use crate::args::{Connection, Login};
use crate::client::Client;
use crate::client::target::{Clues, LOGIN_FILE, Password, Remembered, read_json};
use crate::client::tokens::{TOKEN_FILE, earn, remembered, revoke, write_remembered};
use crate::client::transport::Transport;
use crate::failure::Failure;
use crate::times;

/// Logs in and remembers the token, not the password.
pub(crate) async fn login(context: &Context, args: Login) -> Result<(), Failure> {
    let clues = Clues::gather(&args.connection, &context.surroundings)?;
    let reach = clues.reach();
    let endpoint = reach.url.clone();
    let transport = Transport::to(&reach)?;
    let user_name = match args.connection.user.clone() {
        Some(name) => name,
        None => asked(&format!("User at {endpoint}: "))?,
    };
    let password = match (&clues.password, args.password_stdin) {
        (_, true) => SecretString::from(line_of_stdin()?),
        (Some(password), false) => password.clone(),
        (None, false) => asked_secret(&format!("Password of {user_name}: "))?,
    };
    let project_name = args.connection.project.clone();
    let password = Password { user_name, domain_name: clues.domain(), password, project_name };
    let token = earn(&transport, &password).await?;
    let path = context.surroundings.config_dir().join(LOGIN_FILE);
    let login = Remembered { ca_certificate: reach.ca_certificate, ..remembered(&endpoint, &password, &token) };
    write_remembered(&path, &login).map_err(|e| Failure::new(format!("{} cannot be written: {e}", path.display())))?;
    let until = times::point(token.expires_at);
    context.printer.say(&format!("logged in to {endpoint} as {} until {until}", password.user_name));
    Ok(())
}

/// Revokes the tokens that are remembered here, and forgets them. What cannot be revoked is forgotten all the same, and
/// said: it goes on being worth something until it expires.
pub(crate) async fn logout(context: &Context) -> Result<(), Failure> {
    let mut known = Vec::new();
    for file in [LOGIN_FILE, TOKEN_FILE] {
        let path = context.surroundings.config_dir().join(file);
        let Some(kept) = read_json::<Remembered>(&path)? else { continue };
        let connection = Connection { endpoint: Some(kept.endpoint.clone()), ..Connection::default() };
        let transport = Transport::to(&Clues::gather(&connection, &context.surroundings)?.reach())?;
        known.push((path, kept, transport));
    }
    let mut failed = None;
    let mut endpoints = Vec::new();
    for (path, kept, transport) in known {
        failed = revoke(&transport, &kept.token.into()).await.err().or(failed);
        std::fs::remove_file(&path).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", path.display())))?;
        endpoints.push(kept.endpoint);
    }
    endpoints.dedup();
    match (failed, endpoints.as_slice()) {
        (Some(failure), _) => Err(failure.hint("the token was forgotten here, but lives on until it expires")),
        (None, []) => {
            context.printer.say("nobody was logged in");
            Ok(())
        }
        (None, endpoints) => {
            context.printer.say(&format!("logged out of {}", endpoints.join(" and ")));
            Ok(())
        }
    }
}

/// Prints a token.
pub(crate) async fn token(context: &Context, connection: Connection) -> Result<(), Failure> {
    let client = Client::connect(&connection, &context.surroundings).await?;
    let token = client.token().await?;
    let text = token.text.expose_secret();
    let record = json!({
        "endpoint": client.endpoint(),
        "project_id": token.project_id,
        "token": text,
        "expires_at": token.expires_at,
    });
    context.printer.result(&record, || text.to_owned())
}

fn asked(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("no user was named").hint("name one with --user or ATELIER_USER"));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{question}")?;
    err.flush()?;
    line_of_stdin()
}

pub(crate) fn line_of_stdin() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| Failure::new(format!("stdin cannot be read: {e}")))?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    if line.is_empty() { Err(Failure::new("nothing was entered")) } else { Ok(line) }
}

/// Asks without showing what is typed.
pub(crate) fn asked_secret(question: &str) -> Result<SecretString, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new("no password was given")
            .hint("put it into ATELIER_PASSWORD, or write it to stdin with --password-stdin"));
    }
    let refused = |e: rustix::io::Errno| Failure::new(format!("the terminal refuses to be asked: {e}"));
    let usual = tcgetattr(&stdin).map_err(refused)?;
    let mut silent = usual.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    write!(std::io::stderr().lock(), "{question}")?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(refused)?;
    let line = line_of_stdin();
    tcsetattr(&stdin, OptionalActions::Flush, &usual).map_err(refused)?;
    writeln!(std::io::stderr().lock())?;
    line.map(SecretString::from)
}
