//! `atelier backup` and `atelier restore`.

use std::path::PathBuf;

use atelier_core::{Clock as _, SystemClock};
use serde_json::json;

use super::{Context, configuration, serve};
use crate::args::{Backup, Restore, Settings};
use crate::backup::make::make;
use crate::backup::restore::{Restored, Wish, restore};
use crate::failure::Failure;
use crate::folder::DataFolder;
use crate::serve::of_folder;
use crate::times;

/// Backs up a data folder, with or without a server on it.
pub(crate) async fn backup(context: &Context, args: Backup) -> Result<(), Failure> {
    let folder = data_folder(context, args.data_dir)?;
    let manifest = make(&folder, &args.to, serve::master_key(context).as_ref(), SystemClock.now()).await?;
    let to = args.to.display();
    context.printer.say("volumes are not in a backup: copy those of stopped notebooks from `notebooks/*/volume.img`");
    let record = json!({"backup": to.to_string(), "notebooks": manifest.notebooks, "made_at": manifest.made_at});
    context.printer.result(&record, || format!("backed up {} notebooks to {to}", manifest.notebooks))
}

/// Restores a backup into a data folder that no server uses.
pub(crate) async fn restored(context: &Context, args: Restore) -> Result<(), Failure> {
    let path = data_folder(context, args.data_dir)?;
    let now = SystemClock.now();
    let folder = DataFolder::open(&path, std::process::id().cast_signed(), now).map_err(of_folder)?;
    let wish = Wish { from: &args.from, replace: args.replace, master_key: serve::master_key(context) };
    let done = restore(&folder, wish, now).await?;
    tell(context, &done);
    let record = json!({
        "data_dir": path.display().to_string(),
        "notebooks": done.manifest.notebooks,
        "made_at": done.manifest.made_at,
        "kept": done.kept.as_ref().map(|kept| kept.display().to_string()),
        "without_volume": done.without_volume.iter().map(|notebook| notebook.id.to_string()).collect::<Vec<_>>(),
    });
    context.printer.result(&record, || {
        let (notebooks, made) = (done.manifest.notebooks, times::point(done.manifest.made_at));
        format!("restored {notebooks} notebooks as of {made} into {}", path.display())
    })
}

fn tell(context: &Context, done: &Restored) {
    if let Some(kept) = &done.kept {
        context.printer.say(&format!("what was there is now in {}", kept.display()));
    }
    for notebook in &done.without_volume {
        let (name, id) = (&notebook.name, notebook.id);
        context.printer.say(&format!("notebook `{name}` ({id}) has no volume here; it says so itself"));
    }
}

/// The data folder, as the server's configuration has it.
fn data_folder(context: &Context, data_dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let settings = Settings { data_dir, ..Settings::default() };
    Ok(configuration::load(&context.surroundings.configuration(&settings)?)?.server.data_dir)
}
