//! The command line's grammar, apart from what the commands do: help, completion and parsing come from here.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Its name or id [default: all]
    pub notebook: Option<String>,
    /// Go on as more happens
    #[arg(long, short)]
    pub follow: bool,
    /// Only what happened after the event with this id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List calls that changed something or were refused, newest first
    #[command(visible_alias = "ls")]
    List(AuditList),
    /// Check that no record was changed or removed; fails when one was
    Verify(Connection),
}

#[derive(Debug, Args)]
pub(crate) struct AuditList {
    /// Only of this user, by name or id
    #[arg(long, value_name = "USER")]
    pub by: Option<String>,
    /// Only about this notebook, by id, or by name when it is yours
    #[arg(long, value_name = "NOTEBOOK")]
    pub notebook: Option<String>,
    /// Only of this operation, such as CreateNotebook
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// Not before this time: so long ago, such as `2h`, or a time such as `2026-11-21T08:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = crate::times::parse_moment)]
    pub since: Option<crate::times::Moment>,
    /// Before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = crate::times::parse_moment)]
    pub until: Option<crate::times::Moment>,
    /// Records at most
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub limit: u32,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub connection: Connection,
    /// Read the password from the first line of stdin, without asking
    #[arg(long)]
    pub password_stdin: bool,
}

/// Whether to wait until the notebook rests.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until it is done (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return as soon as the server has accepted
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotebookCommand {
    /// Create a notebook and start it
    Create(Create),
    /// List your notebooks, or everybody's
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one notebook
    Show(One),
    /// Change a notebook's name, description, flavor or image; the last two only while it is stopped
    Update(Update),
    /// Hang tags on a notebook, take them off, or list them
    Tag(TagArgs),
    /// Start a stopped notebook
    Start(Start),
    /// Stop a running notebook; its volume stays
    Stop(Stop),
    /// Delete notebooks; their volumes rest in the trash for a while: `atelier volume restore`
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Set the time until a notebook stops by itself
    Renew(Renew),
    /// Print the address that opens a notebook, its token included
    Open(Open),
    /// Open your free instance: make it where there is none, start it where it rests, print its address
    Lab(Lab),
    /// Print the log of a notebook's server
    Logs(Logs),
    /// Run a command in a running notebook, with your own stdin, stdout, stderr and, where both ends have one, terminal
    Exec(ExecArgs),
    /// Copy files and folders into a running notebook, or out of it
    Cp(Cp),
    /// Show what running notebooks use: processors, memory, processes, volume
    Top(Top),
    /// Print what happened to a notebook, when and why
    Events(One),
    /// Say who works or what computes in a notebook, and when and why it stops by itself
    Why(One),
    /// Give a notebook a new token; whoever came in by the old one is out at once
    Revoke(One),
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

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    pub name: String,
    /// Its size; see `atelier flavor list` [default: the largest that the machine can hold, up to 2 vCPU]
    #[arg(long, value_name = "FLAVOR")]
    pub flavor: Option<String>,
    /// The pool that it is in, by its id [default: none]
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// CPUs in place of a flavor, such as 0.75; in a pool, with --memory
    #[arg(long, value_name = "CPUS", requires_all = ["memory", "pool"], conflicts_with = "flavor")]
    pub cpus: Option<serde_json::Number>,
    /// MiB of memory in place of a flavor; in a pool, with --cpus
    #[arg(long, value_name = "MIB", requires = "cpus")]
    pub memory: Option<u64>,
    /// Its image, by id or name [default: the built-in one]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// The size of its volume in GiB
    #[arg(long, default_value_t = 5, value_name = "GIB")]
    pub volume: u32,
    /// The time until it stops by itself, such as `90m` or `4h`, or `never` [default: the server's, 1h]
    #[arg(long, value_name = "TIME", value_parser = crate::times::parse_grant, allow_hyphen_values = true)]
    pub duration: Option<i64>,
    /// Count that time from the last activity: it stops when it was idle for so long
    #[arg(long)]
    pub idle: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    #[command(flatten)]
    pub hooks: HookArgs,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only those in this status, such as RUNNING
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Everybody's, not only your own; for administrators
    #[arg(long)]
    pub all: bool,
    /// This user's, by name or id; for administrators
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub owner: Option<String>,
    /// The free instance instead of the others; `notebook lab` makes it
    #[arg(long)]
    pub free: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").args(["pre_start", "post_start"]).required(true).multiple(true))]
pub(crate) struct Update {
    /// Its name or id
    pub notebook: String,
    /// Its new name
    #[arg(long, group = "change", value_name = "NAME")]
    pub name: Option<String>,
    /// What it is for; an empty text clears it
    #[arg(long, group = "change", value_name = "TEXT")]
    pub description: Option<String>,
    /// Its size from the next start on; see `atelier flavor list`
    #[arg(long, group = "change", value_name = "FLAVOR")]
    pub flavor: Option<String>,
    /// CPUs in place of a flavor, such as 0.75, from the next start on; in a pool, with --memory
    #[arg(long, group = "change", value_name = "CPUS", requires = "memory", conflicts_with = "flavor")]
    pub cpus: Option<serde_json::Number>,
    /// MiB of memory in place of a flavor, from the next start on; in a pool, with --cpus
    #[arg(long, group = "change", value_name = "MIB", requires = "cpus")]
    pub memory: Option<u64>,
    /// Its image from the next start on, by id or name
    #[arg(long, group = "change", value_name = "IMAGE")]
    pub image: Option<String>,
    #[command(flatten)]
    pub hooks: HookArgs,
    /// Run nothing at its starts any more
    #[arg(long, group = "change", conflicts_with_all = ["pre_start", "post_start"])]
    pub no_hooks: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct HookArgs {
    /// A shell script of this machine that runs in the notebook before each start of its server
    #[arg(long, value_name = "FILE")]
    pub pre_start: Option<PathBuf>,
    /// A shell script of this machine that runs in the notebook as soon as its server serves
    #[arg(long, value_name = "FILE")]
    pub post_start: Option<PathBuf>,
    /// Whether the start waits for these scripts, and fails when they do
    #[arg(long, value_enum, default_value_t = HookMode::Block, value_name = "MODE")]
    pub hook_mode: HookMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HookMode {
    Block,
    Async,
}

#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Its name or id
    pub notebook: String,
    /// What to hang on it
    #[arg(value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// What to take off it
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// A key and its value, which may hold further `=`.
fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is written KEY=VALUE".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its name or id
    pub notebook: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Its name or id
    pub notebook: String,
    /// The time until it stops by itself, such as `90m` or `4h`, or `never` [default: the last one]
    #[arg(long, value_name = "TIME", value_parser = crate::times::parse_grant, allow_hyphen_values = true)]
    pub duration: Option<i64>,
    /// Count that time from the last activity: it stops when it was idle for so long
    #[arg(long)]
    pub idle: bool,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Its name or id
    pub notebook: String,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Their names or ids
    #[arg(required = true)]
    pub notebooks: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Its name or id
    pub notebook: String,
    /// The time from now until it stops by itself, such as `90m` or `4h`, or `never`
    #[arg(long, value_name = "TIME", value_parser = crate::times::parse_grant, default_value = "1h", allow_hyphen_values = true)]
    pub duration: i64,
    /// Count that time from the last activity: it stops when it was idle for so long
    #[arg(long)]
    pub idle: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Its name or id
    pub notebook: String,
    /// Open it in the browser, too
    #[arg(long)]
    pub browser: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Lab {
    /// Its image when it is made, by id or name [default: the built-in one]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Open it in the browser, too
    #[arg(long)]
    pub browser: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Its name or id
    pub notebook: String,
    /// Go on printing what is added, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Its name or id
    pub notebook: String,
    /// Whether the command gets a terminal [default: auto; with nothing behind it: always]
    #[arg(
        long, short, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_value = "auto", default_missing_value = "always", hide_default_value = true
    )]
    pub tty: Tty,
    /// Where it runs, from ~/work on [default: ~/work]
    #[arg(long, short = 'w', value_name = "FOLDER")]
    pub workdir: Option<String>,
    /// A variable of its environment; may be given again
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// What is copied: NOTEBOOK:PATH from ~/work on, a path here, or `-` for stdin
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Where it comes to be, in a folder when it is one: the same forms, or `-` for stdout; one of the two is a notebook's
    #[arg(value_name = "TO")]
    pub to: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tty {
    /// When stdin and stdout are terminals
    Auto,
    /// Whatever stdin and stdout are
    Always,
    /// Never
    Never,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be a name, `=` and a value".into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Their names or ids; of one alone its processes are shown, too [default: all of yours that run]
    #[arg(value_name = "NOTEBOOK")]
    pub notebooks: Vec<String>,
    /// Everybody's, not only your own; for administrators
    #[arg(long, conflicts_with = "notebooks")]
    pub all: bool,
    /// Print once, instead of anew every 2 seconds; the default where stdout is no terminal
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images that notebooks can be made from
    #[command(visible_alias = "ls")]
    List(Connection),
    /// Make the built-in image now; a failed making is tried again
    Build(Connection),
}

#[derive(Debug, Subcommand)]
pub(crate) enum FlavorCommand {
    /// List the sizes that notebooks come in
    #[command(visible_alias = "ls")]
    List(FlavorList),
}

#[derive(Debug, Args)]
pub(crate) struct FlavorList {
    /// Those of this pool, by its id
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FeatureCommand {
    /// List what can be made, how many of it you may have, and how many you have
    #[command(visible_alias = "ls")]
    List(Connection),
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationsCommand {
    /// List operations, newest first
    #[command(visible_alias = "ls")]
    List(OperationsList),
    /// Show one: its steps, who drives it, until when, and what comes next
    Show(OneOperation),
    /// Ask once more for what a failed operation was to do
    Retry(OneOperation),
    /// Turn a running operation round: what it began is taken back, and its notebook fails
    Cancel(OneOperation),
    /// List what belongs to no notebook, and the volumes that were set aside; for administrators
    Orphans(Connection),
}

#[derive(Debug, Args)]
pub(crate) struct OperationsList {
    /// Only those on this notebook: its name or id
    #[arg(long, value_name = "NOTEBOOK")]
    pub notebook: Option<String>,
    /// Only those in this state: running, undoing, done, failed or cancelled
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only those of this kind: create, start, stop or delete
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Everybody's, not only your own; for administrators
    #[arg(long)]
    pub all: bool,
    /// How many at most, up to 100
    #[arg(long, default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Only those older than this one: the next page
    #[arg(long, value_name = "OPERATION")]
    pub before: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct OneOperation {
    /// Its id
    pub operation: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List the volumes of your notebooks, or those in the trash
    #[command(visible_alias = "ls")]
    List(VolumesList),
    /// Bring a deleted notebook back, stopped, with its volume
    Restore(VolumeRestore),
    /// Remove volumes from the trash for good
    #[command(visible_alias = "rm")]
    Delete(VolumeDelete),
}

#[derive(Debug, Args)]
pub(crate) struct VolumesList {
    /// Those of deleted notebooks, and until when they can be restored
    #[arg(long)]
    pub trash: bool,
    /// Everybody's, in the trash also those that nobody knows; for administrators
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeRestore {
    /// The deleted notebook: its name or id, or the id of its volume
    pub volume: String,
    /// The notebook's new name [default: the one that it had]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeDelete {
    /// The deleted notebooks: their names or ids, or the ids of their volumes
    #[arg(required = true)]
    pub volumes: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the commented file with every key and its default
    Default,
    /// Check file, environment and flags, and report every mistake
    Check(Settings),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn hooks_are_named_together_and_are_a_change_by_themselves() {
        let parses =
            |line: &[&str]| Arguments::try_parse_from(["atelier", "notebook"].iter().chain(line)).map_err(|e| e.kind());
        assert!(parses(&["create", "x", "--pre-start", "a", "--post-start", "b", "--hook-mode", "async"]).is_ok());
        assert!(parses(&["update", "x", "--post-start", "b"]).is_ok());
        assert!(parses(&["update", "x", "--no-hooks"]).is_ok());
        let missing = clap::error::ErrorKind::MissingRequiredArgument;
        assert_eq!(parses(&["update", "x", "--hook-mode", "async"]).err(), Some(missing));
        assert!(parses(&["update", "x", "--no-hooks", "--post-start", "b"]).is_err());
    }

    #[test]
    fn the_last_of_wait_and_no_wait_counts() {
        let waits = |flags: &[&str]| {
            let line = ["atelier", "notebook", "stop", "x"].iter().chain(flags);
            let Command::Notebook(NotebookCommand::Stop(stop)) = Arguments::parse_from(line).command else {
                panic!("not a stop")
            };
            !stop.waiting.no_wait || stop.waiting.wait
        };
        assert!(waits(&[]) && waits(&["--wait"]) && waits(&["--no-wait", "--wait"]));
        assert!(!waits(&["--no-wait"]));
    }

    #[test]
    fn a_command_for_a_notebook_stands_behind_two_dashes() {
        let exec = |words: &[&str]| {
            let line = ["atelier", "notebook", "exec", "nb"].iter().chain(words);
            match Arguments::try_parse_from(line).map(|arguments| arguments.command) {
                Ok(Command::Notebook(NotebookCommand::Exec(exec))) => Ok(exec),
                Ok(_) => panic!("not an exec"),
                Err(e) => Err(e.to_string()),
            }
        };
        let plain = exec(&["--", "ls", "-t", "--", "x"]).unwrap();
        assert_eq!((plain.tty, plain.command.join(" ").as_str()), (Tty::Auto, "ls -t -- x"));
        let full = exec(&["-t", "-w", "sub", "-e", "A=b=c", "--env", "D=", "--", "sh"]).unwrap();
        assert_eq!((full.tty, full.workdir.as_deref()), (Tty::Always, Some("sub")));
        assert_eq!(full.env, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
        assert_eq!(exec(&["--tty=never", "--", "sh"]).unwrap().tty, Tty::Never);
        for wrong in [&["ls"][..], &[], &["--"], &["-e", "A", "--", "ls"], &["-e", "=b", "--", "ls"]] {
            assert!(exec(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn never_and_minus_one_are_the_same_grant() {
        for word in ["never", "-1"] {
            let line = ["atelier", "notebook", "renew", "x", "--duration", word];
            let Command::Notebook(NotebookCommand::Renew(renew)) = Arguments::parse_from(line).command else {
                panic!("not a renewal")
            };
            assert_eq!(renew.duration, -1);
        }
    }
}
