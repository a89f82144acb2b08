//! `atelier keypair …`: key pairs for SSH. The private half of a pair that the server makes goes into a file that nobody
//! else can read, and nowhere else: not to the terminal, not into the record for programs.
//!
//! The file is made before the pair: where it cannot be made, or is there already, no pair is made whose private half
//! would be lost.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use atelier_wire::key_pair::{KeyPairAnswer, KeyPairMade, KeyPairMadeAnswer, KeyPairSummary, KeyPairsAnswer};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Context, encoded, record};
use crate::args::{Connection, KeypairCommand, KeypairMade, Keypairs, OneKeypair};
use crate::client::Client;
use crate::failure::Failure;
use crate::{tables, times};

/// Runs one of the commands.
pub(crate) async fn run(context: &Context, command: KeypairCommand) -> Result<(), Failure> {
    match command {
        KeypairCommand::Create(args) => create(context, args).await,
        KeypairCommand::List(connection) => list(context, connection).await,
        KeypairCommand::Show(args) => show(context, args).await,
        KeypairCommand::Delete(args) => delete(context, args).await,
    }
}

async fn create(context: &Context, args: KeypairMade) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let mut wanted = json!({"name": args.name, "type": "ssh"});
    let private = if let Some(path) = &args.import {
        wanted["public_key"] = public_key(path)?.into();
        None
    } else {
        wanted["algorithm"] = args.algorithm.clone().into();
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.pem", args.name)));
        Some(PrivateFile::reserve(path)?)
    };
    let answer = client.identity(Method::POST, &base(&client), Some(&json!({"keypair": wanted}))).await;
    let mut answer = answer.map_err(|failure| match failure.code.as_deref() {
        Some("ModelArts.0118" | "ModelArts.6301") => failure.hint("`atelier keypair delete NAME` makes room"),
        _ => failure,
    })?;
    let pair = record::<KeyPairMadeAnswer>(&answer)?.keypair;
    let kept = match private {
        Some(file) => Some(keep(&client, file, &pair).await?),
        None => None,
    };
    if let Some(description) = &args.description {
        let body = json!({"keypair": {"description": description}});
        client.identity(Method::PUT, &one(&client, &args.name), Some(&body)).await?;
    }
    report(context, &mut answer["keypair"], &pair, kept.as_deref())
}

/// Writes the private half. A pair whose private half is lost is of no use: it is removed again.
async fn keep(client: &Client, file: PrivateFile, pair: &KeyPairMade) -> Result<PathBuf, Failure> {
    let private = pair.private_key.as_deref().unwrap_or_default();
    match file.write(private) {
        Ok(path) => Ok(path),
        Err(failure) => {
            client.identity(Method::DELETE, &one(client, &pair.name), None).await?;
            Err(failure.hint(format!("key pair `{}` was removed again", pair.name)))
        }
    }
}

fn report(context: &Context, record: &mut Value, pair: &KeyPairMade, kept: Option<&Path>) -> Result<(), Failure> {
    let mut rows = vec![("key pair", pair.name.clone()), ("fingerprint", pair.fingerprint.clone())];
    if let Some(path) = kept {
        let shown = path.display().to_string();
        context.printer.say(&format!("the private half is in {shown} and nowhere else"));
        if let Some(record) = record.as_object_mut() {
            record.remove("private_key");
            record.insert("private_key_file".into(), shown.clone().into());
        }
        rows.push(("private key", shown));
    }
    context.printer.result(record, || tables::fields(&rows))
}

async fn list(context: &Context, connection: Connection) -> Result<(), Failure> {
    let client = Client::connect(&connection, &context.surroundings).await?;
    let (mut records, mut marker) = (Vec::new(), String::new());
    loop {
        let path = format!("{}?limit=1000&marker={}", base(&client), encoded(&marker));
        let mut answer = client.identity(Method::GET, &path, None).await?;
        let page = record::<KeyPairsAnswer>(&answer)?.page_info;
        records.extend(answer["keypairs"].as_array_mut().into_iter().flatten().map(|item| item["keypair"].take()));
        let Some(next) = page.next_marker else { break };
        marker = next;
    }
    let pairs: Vec<_> = records.iter().map(record::<KeyPairSummary>).collect::<Result<_, _>>()?;
    context.printer.result(&records.into(), || tables::key_pairs(&pairs))
}

async fn show(context: &Context, args: OneKeypair) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let answer = client.identity(Method::GET, &one(&client, &args.name), None).await.map_err(explained)?;
    let pair = record::<KeyPairAnswer>(&answer)?.keypair;
    context.printer.result(&answer["keypair"], || {
        tables::fields(&[
            ("name", pair.name),
            ("kind", pair.algorithm),
            ("fingerprint", pair.fingerprint),
            ("description", pair.description),
            ("created", times::point(pair.create_time)),
            ("public key", pair.public_key),
        ])
    })
}

async fn delete(context: &Context, args: Keypairs) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    for name in &args.names {
        client.identity(Method::DELETE, &one(&client, name), None).await.map_err(explained)?;
        context.printer.result(&Value::Null, || format!("deleted key pair {name}"))?;
    }
    Ok(())
}

fn explained(failure: Failure) -> Failure {
    if failure.is_not_found() { failure.hint("`atelier keypair list` lists them") } else { failure }
}

fn base(client: &Client) -> String {
    format!("/v3/{}/keypairs", client.project_id())
}

fn one(client: &Client, name: &str) -> String {
    format!("{}/{}", base(client), encoded(name))
}

fn public_key(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(format!("the public key in {} cannot be read: {e}", path.display())))?;
    if text.contains("PRIVATE KEY") {
        let message = format!("{} holds a private key, which must not leave this machine", path.display());
        return Err(Failure::new(message).hint("the public one is usually beside it, in a file that ends in `.pub`"));
    }
    Ok(text.trim_end().to_owned())
}

/// A new file that only its owner can read; gone again unless something was written to it.
struct PrivateFile {
    file: File,
    path: PathBuf,
    keep: bool,
}

impl PrivateFile {
    fn reserve(path: PathBuf) -> Result<Self, Failure> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { file, path, keep: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let message = format!("{} exists already, and a private key may be in it", path.display());
                Err(Failure::new(message).hint("`--file FILE` names another"))
            }
            Err(error) => Err(Failure::new(format!("{} cannot be made: {error}", path.display()))),
        }
    }

    fn write(mut self, private: &str) -> Result<PathBuf, Failure> {
        let written = self.file.write_all(private.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|e| Failure::new(format!("{} cannot be written: {e}", self.path.display())))?;
        self.keep = true;
        Ok(self.path.clone())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.keep {
            // It was ours alone and is empty or useless.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_its_owner_s_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.pem");
        drop(PrivateFile::reserve(path.clone()).unwrap());
        assert!(!path.exists(), "nothing was written to it");
        PrivateFile::reserve(path.clone()).unwrap().write("secret").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(PrivateFile::reserve(path.clone()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
    }

    #[test]
    fn a_private_key_is_never_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        assert!(public_key(&path).unwrap_err().to_string().contains("must not leave"));
        std::fs::write(&path, "ssh-ed25519 AAAA me\n").unwrap();
        assert_eq!(public_key(&path).unwrap(), "ssh-ed25519 AAAA me");
    }
}
