//! `atelier notebook`: what is done to a notebook as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::inside::{Cp, ExecArgs, Top};
use super::{Connection, pair};

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
    /// Have the volume that your notebooks share (EFS) instead of one of its own
    #[arg(long, conflicts_with_all = ["volume", "uri"])]
    pub shared: bool,
    /// Have this folder of a file share (EFS, DEDICATED) as its volume; in a pool, with --volume-id
    #[arg(long, value_name = "HOST:/PATH", requires_all = ["volume_id", "pool"], conflicts_with = "volume")]
    pub uri: Option<String>,
    /// The id of the file share, a UUID
    #[arg(long, value_name = "ID", requires = "uri")]
    pub volume_id: Option<String>,
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
    #[arg(value_name = "KEY=VALUE", value_parser = pair("a tag is written KEY=VALUE"))]
    pub tags: Vec<(String, String)>,
    /// What to take off it
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
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
