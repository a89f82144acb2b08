//! `atelier notebook top`, `exec` and `cp`: what is done in a running one.

use clap::{Args, ValueEnum};

use super::{Connection, pair};

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
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair("it must be a name, `=` and a value"))]
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
