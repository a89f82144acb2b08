//! Volumes that were set aside: those of deleted notebooks, and those that nobody knows.
//!
//! A notebook's folder is moved aside by one rename, which is on disk when it is answered. When a notebook of that id is
//! there again, because it was restored or because a newer backup of the database was put back, its storage is found
//! there before a new one would be made. What rests here for how long, and whose it is, the engine knows and not this.

use std::fs;
use std::io;

use atelier_runtime::Lost;

use crate::file;
use crate::place::{Place, Places};
use crate::volume;

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
    tracing::info!(notebook = %place.id, "the volume of notebook {} was set aside, and is found again", place.id);
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
        let place = places.of(name.parse().ok()?);
        let bytes = volume::bytes_on_disk(&place.lost_volume());
        Some(Lost { notebook: place.id, place: place.lost.display().to_string(), bytes })
    });
    Ok(lost.collect())
}
