//! What notebooks are made of: images, flavors, features, volumes.

use clap::{Args, Subcommand};

use super::Connection;

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
