//! The command line's grammar, apart from what the commands do: help, completion and parsing come from here.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

mod inside;
mod notebook;
mod offers;
mod people;
mod records;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::inside::*;
pub(crate) use self::notebook::*;
pub(crate) use self::offers::*;
pub(crate) use self::people::*;
pub(crate) use self::records::*;

/// Development environments on your own machine: real JupyterLab servers behind the ModelArts DevEnviron API.
#[derive(Debug, Parser)]
#[command(name = "atelier", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Global {
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// How results are printed on stdout
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: the API's own records
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Settings),
    /// Run the server, if none runs, and bring up the notebook `hello`
    Up(Settings),
    /// Stop the notebook `hello`; works with and without a server
    Down(Settings),
    /// Create, list, start, stop, delete, open notebooks
    #[command(subcommand, visible_alias = "nb")]
    Notebook(NotebookCommand),
    /// List images, and make the built-in one
    #[command(subcommand)]
    Image(ImageCommand),
    /// List the sizes that notebooks come in
    #[command(subcommand)]
    Flavor(FlavorCommand),
    /// Print what happened to your notebooks, or to one; administrators see everybody's
    Events(Events),
    /// Read and verify the record of who changed what (administrators)
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List operations, show one, turn one round, ask again for one that failed
    #[command(subcommand, visible_alias = "ops")]
    Operations(OperationsCommand),
    /// List volumes, restore those of deleted notebooks, remove them for good
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// List what can be made, how many of it you may have, and how many you have
    #[command(subcommand)]
    Feature(FeatureCommand),
    /// Show what there is room for, and why not; for administrators
    Capacity(Connection),
    /// Log in to a server and remember it
    Login(Login),
    /// Revoke the tokens that are remembered here, and forget them
    Logout,
    /// Print a token for the API
    Token(Connection),
    /// Make, list, switch off and delete access keys, for programs that sign their requests
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make or import, list, show and delete key pairs for SSH
    #[command(subcommand)]
    Keypair(KeypairCommand),
    /// Make, list, switch off users and change passwords
    #[command(subcommand)]
    User(UserCommand),
    /// Look what this machine allows, what is missing, what that costs and what cures it
    Doctor(Settings),
    /// Print a completion script
    Completion {
        /// For this shell
        shell: clap_complete::Shell,
    },
    /// Back up what the server knows, while it runs or while it does not; volumes are not in a backup
    Backup(Backup),
    /// Put a backup back, while no server runs
    Restore(Restore),
    /// Show or check the configuration of the server
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What the server is told on the command line; everything else is in the file or the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Settings {
    /// The configuration file [default: atelier.toml in the data folder, if there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/atelier as root, else $XDG_DATA_HOME/atelier]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// The address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// What makes the notebooks: `local`, or `simulated`, which runs nothing [default: local]
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A new file that ends in `.tar`, or a new or an empty folder
    #[arg(value_name = "FILE|FOLDER")]
    pub to: PathBuf,
    /// The data folder [default: the server's]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE|FOLDER")]
    pub from: PathBuf,
    /// The data folder [default: the server's]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Restore also where there is a database; it is kept in a folder beside the new one
    #[arg(long)]
    pub replace: bool,
}

/// How the server is found: flags, then the environment, then `atelier login`, then admin.json of the data folder.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The server's address
    #[arg(long, env = "ATELIER_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// A token; other users of this machine can see it here, but not in ATELIER_TOKEN
    #[arg(long, env = "ATELIER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The user; ATELIER_PASSWORD holds the password
    #[arg(long, env = "ATELIER_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// The user's domain [default: atelier]
    #[arg(long, env = "ATELIER_DOMAIN", value_name = "NAME")]
    pub domain: Option<String>,
    /// The project [default: the only one]
    #[arg(long, env = "ATELIER_PROJECT", value_name = "NAME")]
    pub project: Option<String>,
    /// The data folder whose admin.json is used
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Certificates of CAs to trust besides the usual ones (PEM)
    #[arg(long, env = "ATELIER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the commented file with every key and its default
    Default,
    /// Check file, environment and flags, and report every mistake
    Check(Settings),
}

/// Two words with `=` between them; the second one may hold further ones. `wrong` is said of anything else.
fn pair(wrong: &'static str) -> impl Fn(&str) -> Result<(String, String), String> + Clone {
    move |text| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(wrong.to_owned()),
    }
}
