//! The launcher that waits.
//!
//! To become a program of this size costs a launcher some milliseconds, before it can hear what it is to make. So one has done
//! that already and waits; it knows nothing and holds nothing of anybody. Whoever finds none starts one. The next is
//! started a moment after a launch: what that has begun needs the processors first.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::{ChildStdin, Command};

use super::{LaunchSpec, Running, command};
use crate::config::Launcher;

/// The argument by which process lists show which one waits, or has.
const AHEAD: &str = "ahead";
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
    /// There is to be none any more.
    Closed,
}

impl Launchers {
    /// `ahead`: whether one is to wait.
    pub(crate) fn new(launcher: Launcher, ahead: bool) -> Self {
        let spare = if ahead { Spare::None } else { Spare::Closed };
        Self { launcher, spare: Arc::new(Mutex::new(spare)) }
    }

    /// A launcher that has been told what to make, and the way to say more.
    pub(super) async fn begin(&self, spec: &LaunchSpec) -> io::Result<(Running, Option<ChildStdin>)> {
        let waiting = self.replace(Spare::None);
        self.provide();
        if let Some(mut running) = waiting
            // It may have been killed meanwhile, and has begun nothing then.
            && let Ok(stdin) = running.tell(spec).await
        {
            return Ok((running, stdin));
        }
        let mut running = spawn(&mut command(&self.launcher))?;
        let stdin = running.tell(spec).await?;
        Ok((running, stdin))
    }

    /// None waits afterwards, nor ever again.
    pub(crate) async fn close(&self) {
        if let Some(running) = self.replace(Spare::Closed) {
            running.end().await;
        }
    }

    /// The one that waits. Another one that is on its way is not stopped by this unless it is to be the last.
    fn replace(&self, by: Spare) -> Option<Running> {
        let mut spare = lock(&self.spare);
        match (&*spare, &by) {
            (Spare::Waits(_), _) | (_, Spare::Closed) => match std::mem::replace(&mut *spare, by) {
                Spare::Waits(running) => Some(running),
                _ => None,
            },
            _ => None,
        }
    }

    /// Has one wait for the next launch, unless one does.
    fn provide(&self) {
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
            let mut spare = lock(&spare);
            if matches!(*spare, Spare::Coming) {
                let started = spawn(command(&launcher).arg(AHEAD));
                *spare = started
                    .inspect_err(|e| tracing::debug!("no launcher waits: {e}"))
                    .map_or(Spare::None, Spare::Waits);
            }
        });
    }
}

fn lock(spare: &Mutex<Spare>) -> MutexGuard<'_, Spare> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(command: &mut Command) -> io::Result<Running> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Running)
}
