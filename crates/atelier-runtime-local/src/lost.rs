//! Volumes that nobody knows.
//!
//! An instance without a notebook is cleared away, but its volume is somebody's work: its folder is moved aside, by one
//! rename, to where the operator finds it. When a notebook of that id is there again, for instance because a newer
//! backup of the database was put back, its storage is found there before a new one would be made.

use std::fs;
use std::io;

use atelier_runtime::Lost;

use crate::file;
use crate::place::{Place, Places};

/// Moves the notebook's folder aside.
pub(crate) fn set_aside(places: &Places, place: &Place) -> io::Result<()> {
    file::folder(places.lost(), 0o700)?;
    if place.lost.exists() {
        return Err(io::Error::other(format!("`{}` is there already", place.lost.display())));
    }
    rename(place, &place.kept, &place.lost)
}

/// Moves it back, when it was set aside and nothing has taken its place.
pub(crate) fn bring_back(place: &Place) -> io::Result<()> {
    if !place.lost.exists() || place.volume().exists() {
        return Ok(());
    }
    // A folder without a volume holds a log at most.
    file::absent_is_none(fs::remove_dir_all(&place.kept))?;
    rename(place, &place.lost, &place.kept)?;
    tracing::warn!(notebook = %place.id, "the volume of notebook {} was set aside, and is found again", place.id);
    Ok(())
}

fn rename(place: &Place, from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    fs::rename(from, to)?;
    file::sync_folder_of(&place.lost)?;
    file::sync_folder_of(&place.kept)
}

/// What was set aside.
pub(crate) fn all(places: &Places) -> io::Result<Vec<Lost>> {
    let names = file::names(places.lost())?;
    let lost = names.iter().filter_map(|name| {
        let place = places.lost().join(name).display().to_string();
        Some(Lost { notebook: name.parse().ok()?, place })
    });
    Ok(lost.collect())
}
