//! What is kept of what happened: events, audit, operations.

use clap::{Args, Subcommand};

use super::Connection;

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
