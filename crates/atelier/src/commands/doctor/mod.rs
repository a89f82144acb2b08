//! `atelier doctor`: what this machine, its configuration and its data folder allow, what is missing, what that costs,
//! and what cures it.
//!
//! It tries the things themselves rather than reading versions ([`atelier_runtime_local::probe`]), leaves nothing behind,
//! and runs beside a server as well as without one. It must be run before any thread is started: its probes fork.

mod finding;
mod kernel;
mod place;

use self::finding::{Finding, State};
use super::{Context, configuration};
use crate::args::Settings;
use crate::failure::Failure;

/// Runs `atelier doctor`.
pub(crate) fn run(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = configuration::load(&context.surroundings.configuration(settings)?)?;
    let mut findings = kernel::look(context.surroundings.root)?;
    findings.extend(place::look(&config));
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
