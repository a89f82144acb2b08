//! The launcher that waits.
//!
//! To become a program of this size costs a launcher some milliseconds, before it can hear what it is to make. So one has done
//! that already and waits; it knows nothing and holds nothing of anybody. Whoever finds none starts one. The next is
//! started a moment after a launch: what that has begun needs the processors first.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Running, command};
use crate::config::Launcher;

/// How long a launcher that is gone waits for its successor.
const BREATH: Duration = Duration::from_millis(200);

/// The launchers of one runtime. The one that waits ends with this.
#[derive(Debug)]
pub(crate) struct Launchers {
    launcher: Launcher,
    spare: Arc<Mutex<Spare>>,
}

#[derive(Debug)]
enum Spare {
    None,
    Coming,
    Waits(Running),
}

impl Launchers {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self { launcher, spare: Arc::new(Mutex::new(Spare::None)) }
    }

    /// A launcher that waits to be told what to make.
    pub(super) fn begin(&self) -> io::Result<Running> {
        if let Some(mut waiting) = take(&self.spare)
            && waiting.lives()
        {
            return Ok(waiting);
        }
        start(&self.launcher)
    }

    /// Has one wait for the next launch, unless one does.
    pub(super) fn provide(&self) {
        {
            let mut spare = lock(&self.spare);
            if !matches!(*spare, Spare::None) {
                return;
            }
            *spare = Spare::Coming;
        }
        let (spare, launcher) = (Arc::downgrade(&self.spare), self.launcher.clone());
        tokio::spawn(async move {
            tokio::time::sleep(BREATH).await;
            let Some(spare) = spare.upgrade() else { return };
            let started = start(&launcher).inspect_err(|e| tracing::debug!("no launcher waits: {e}"));
            *lock(&spare) = started.map_or(Spare::None, Spare::Waits);
        });
    }
}

fn lock(spare: &Mutex<Spare>) -> std::sync::MutexGuard<'_, Spare> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that comes stays on its way.
fn take(spare: &Mutex<Spare>) -> Option<Running> {
    let mut spare = lock(spare);
    match std::mem::replace(&mut *spare, Spare::None) {
        Spare::Waits(running) => Some(running),
        other => {
            *spare = other;
            None
        }
    }
}

fn start(launcher: &Launcher) -> io::Result<Running> {
    command(launcher).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Running)
}
