//! `atelier doctor`: what this machine, its configuration and its data folder allow, what is missing, what that costs,
//! and what cures it.
//!
//! It tries the things themselves rather than reading versions ([`atelier_runtime_local::probe`]), leaves nothing behind,
//! and runs beside a server as well as without one. It must be run before any thread is started: its probes fork.

mod finding;
mod kept;
mod kernel;
mod limits;
mod place;
mod sources;
mod time;

use std::path::{Path, PathBuf};

use atelier_core::{Clock as _, SystemClock};

use self::finding::{Finding, State};
use super::{Context, configuration};
use crate::args::Settings;
use crate::failure::Failure;
use crate::folder::DataFolder;

/// Runs `atelier doctor`.
pub(crate) fn run(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = configuration::load(&context.surroundings.configuration(settings)?)?;
    let root = context.surroundings.root;
    let data = &config.server.data_dir;
    let holder = DataFolder::holder(data).ok().flatten();
    let mut findings = kernel::look(root)?;
    findings.extend(kernel::shifting(root, [data.as_path(), &config.local.cache_dir], &config.roots)?);
    findings.extend(limits::look(holder.as_ref()));
    findings.extend(time::look(data, holder.as_ref(), SystemClock.now()));
    findings.extend(place::look(&config));
    findings.push(sources::look(&config, root)?);
    // Last: it starts threads.
    findings.extend(kept::look(data, holder.is_some())?);
    context.printer.result(&finding::records(&findings), || finding::told(&findings))?;
    match findings.iter().filter(|finding| finding.state == State::Failure).count() {
        0 => Ok(()),
        1 => Err(Failure::new("one thing that notebooks need is missing")),
        several => Err(Failure::new(format!("{several} things that notebooks need are missing"))),
    }
}

/// A shorter way to say that something is there.
fn ok(topic: &'static str, found: impl Into<String>) -> Finding {
    Finding::ok(topic, found)
}

/// A folder for one trial, which the caller removes with [`removed`].
fn scratch() -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let name = format!("atelier-doctor-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let path = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// What a child had mounted ended with it; the folder holds plain files at most.
fn removed(scratch: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(scratch).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", scratch.display())))
}

/// The nearest folder above a path, itself included, that is there.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
