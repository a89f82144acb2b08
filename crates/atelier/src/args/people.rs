//! Who may come in: log-ins, users, access keys, key pairs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub connection: Connection,
    /// Read the password from the first line of stdin, without asking
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an access key; its secret is shown only now
    Create(KeyMade),
    /// List access keys
    #[command(visible_alias = "ls")]
    List(KeyList),
    /// Switch an access key off; it counts no more from the next request on
    Disable(OneKey),
    /// Switch an access key on again
    Enable(OneKey),
    /// Delete an access key, and the temporary ones that were earned with it
    #[command(visible_alias = "rm")]
    Delete(OneKey),
}

#[derive(Debug, Args)]
pub(crate) struct KeyMade {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Whose it shall be; for administrators [default: yours]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct KeyList {
    /// Whose to list; for administrators [default: yours]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct OneKey {
    /// Its public half
    pub key: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeypairCommand {
    /// Make a key pair and write its private half to a file, or import a public one
    Create(KeypairMade),
    /// List your key pairs
    #[command(visible_alias = "ls")]
    List(Connection),
    /// Show one key pair
    Show(OneKeypair),
    /// Delete key pairs
    #[command(visible_alias = "rm")]
    Delete(Keypairs),
}

#[derive(Debug, Args)]
pub(crate) struct KeypairMade {
    /// Its name: letters, digits, `-` and `_`
    pub name: String,
    /// Import the public key in this file, such as ~/.ssh/id_ed25519.pub, instead of making a pair
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "algorithm"])]
    pub import: Option<PathBuf>,
    /// A new file for the private half; never one that exists [default: NAME.pem here]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What to make: ED25519, RSA_2048, RSA_3072 or RSA_4096 [default: ED25519]
    #[arg(long, value_name = "KIND")]
    pub algorithm: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct OneKeypair {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Keypairs {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user who may work in the project; for administrators
    Create(UserMade),
    /// List the users; for administrators
    #[command(visible_alias = "ls")]
    List(Connection),
    /// Switch a user off: their tokens, keys and open notebooks count no more; for administrators
    Disable(OneUser),
    /// Switch a user on again; for administrators
    Enable(OneUser),
    /// Change your own password, or give a user another one
    Password(UserPassword),
}

#[derive(Debug, Args)]
pub(crate) struct UserMade {
    /// Its name
    pub name: String,
    /// It may administer others
    #[arg(long)]
    pub admin: bool,
    /// Read its password from the first line of stdin; without this, one is made up and printed
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct OneUser {
    /// Its name or id
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct UserPassword {
    /// Whose; for administrators [default: yours]
    pub name: Option<String>,
    /// Read it from stdin: the new password; for your own, the present one in a line before it
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub connection: Connection,
}
