//! What the data folder holds: a layout that this version knows, and a database that is whole.
//!
//! The database is read only, for a few seconds at most, as a backup reads it: a server beside it goes on writing.

use std::path::Path;
use std::time::Duration;

use atelier_store_sqlite::Look;

use super::finding::{Finding, State};
use super::ok;
use crate::backup::DATABASE;
use crate::failure::Failure;
use crate::folder::{DataFolder, FolderError, layout};

/// How long the database is looked at.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look(data: &Path, held: bool) -> Result<Vec<Finding>, Failure> {
    Ok(vec![version(data), database(data, held)?])
}

fn version(data: &Path) -> Finding {
    let topic = "layout of the data folder";
    let cost = "the server does not start";
    match layout(data) {
        Ok(Some(version)) => ok(topic, format!("version {version}, which this program knows")),
        Ok(None) => ok(topic, "none yet; the first start writes it"),
        Err(e @ FolderError::Newer { .. }) => {
            let cure = "use the newer atelier that wrote it, or name another folder in `server.data_dir`";
            Finding::bad(topic, State::Failure, e.to_string(), cost, cure)
        }
        Err(e @ FolderError::Io { .. }) => {
            Finding::bad(topic, State::Unknown, e.to_string(), "nothing is known of it", "run as its owner")
        }
        Err(e) => {
            let cure = "write the version into it that the folder was made with (1 until now)";
            Finding::bad(topic, State::Failure, e.to_string(), cost, cure)
        }
    }
}

fn database(data: &Path, held: bool) -> Result<Finding, Failure> {
    let topic = "database";
    let path = data.join(DATABASE);
    if !atelier_store_sqlite::is_there(&path) {
        return Ok(without(topic, data));
    }
    if std::fs::File::open(&path).is_err() {
        return Ok(Finding::unseen(topic, "nothing is known of it"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looked = runtime.block_on(atelier_store_sqlite::look(&path, PATIENCE, !held));
    Ok(match looked {
        Ok(Look { schema, unchecked }) if unchecked.is_empty() => ok(topic, format!("sound, with schema {schema}")),
        Ok(Look { schema, unchecked }) => {
            let found = format!("sound as far as {PATIENCE:?} went, with schema {schema}");
            let cost = "damage in the rest is noticed by whoever reads it first";
            let cure = format!("`atelier backup` checks all of it; not looked at: {}", unchecked.join(", "));
            Finding::bad(topic, State::Unknown, found, cost, cure)
        }
        // A server that has come meanwhile may have changed what was taken for resting.
        Err(e) if !held && DataFolder::holder(data).is_ok_and(|holder| holder.is_some()) => Finding::bad(
            topic,
            State::Unknown,
            e.to_string(),
            "nothing is known of it",
            "ask again: a server has just started",
        ),
        Err(e) => {
            let cost = "the server does not start, or answers wrongly";
            Finding::bad(topic, State::Failure, e.to_string(), cost, "stop the server, and `atelier restore` a backup")
        }
    })
}

fn without(topic: &'static str, data: &Path) -> Finding {
    if !data.join("notebooks").exists() {
        return ok(topic, "none yet; the first start makes it");
    }
    let found = format!("{} has notebooks and no database", data.display());
    Finding::bad(topic, State::Failure, found, "the server does not start", "`atelier restore` a backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_of_tomorrow_and_a_damaged_one_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = || version(folder.path()).state;
        assert_eq!(state(), State::Ok);
        for (content, wanted) in [("1\n", State::Ok), ("2\n", State::Failure), ("x", State::Failure)] {
            std::fs::write(folder.path().join("layout"), content).unwrap();
            assert_eq!(state(), wanted, "{content}");
        }
    }

    #[test]
    fn a_database_that_is_none_or_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = || database(folder.path(), false).unwrap().state;
        assert_eq!(state(), State::Ok);
        std::fs::create_dir(folder.path().join("notebooks")).unwrap();
        assert_eq!(state(), State::Failure);
        std::fs::write(folder.path().join(DATABASE), "no database at all").unwrap();
        assert_eq!(state(), State::Failure);
    }
}
