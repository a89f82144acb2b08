//! The launcher that waits.
//!
//! To become a program of this size, and to mount a layer, costs a launcher some milliseconds each, before it can hear what it
//! is to make. So one has done that already and waits. It knows nothing of anybody, and what it holds is nobody's: an empty
//! layer, mounted at no place, which becomes an instance's by being renamed. Whoever finds none starts one. The next is
//! started a moment after a notebook has answered for the first time: until then that one needs the processors.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use atelier_runtime::RuntimeError;
use tempfile::TempPath;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::{AHEAD, LaunchSpec, Running, command, could_not_run};
use crate::config::Launcher;
use crate::volume::Template;

/// How long the next one is put off: whoever has waited for the notebook looks at it now.
const BREATH: Duration = Duration::from_millis(40);
/// How long the end of the last one is waited for: its layer is unmounted by it.
const FAREWELL: Duration = Duration::from_secs(2);

/// The launchers of one runtime. The one that waits ends with this.
#[derive(Debug)]
pub(crate) struct Launchers {
    launcher: Launcher,
    template: Arc<Template>,
    spare: Arc<Mutex<Spare>>,
}

#[derive(Debug)]
enum Spare {
    None,
    Coming,
    Waits(Box<Waiting>),
    /// There is to be none any more.
    Closed,
}

/// A launcher that waits, and the image file of its layer, which goes with this unless it is given away.
#[derive(Debug)]
struct Waiting {
    running: Running,
    layer: TempPath,
}

impl Waiting {
    fn start(launcher: &Launcher, layer: TempPath) -> io::Result<Self> {
        let running = spawn(command(launcher).arg(AHEAD).arg(&layer))?;
        Ok(Self { running, layer })
    }

    /// Its layer is the instance's from here on.
    fn given(self, layer: &Path) -> io::Result<Running> {
        self.layer.persist(layer)?;
        Ok(self.running)
    }

    /// It has ended afterwards, unless its disk keeps it.
    async fn end(self) {
        if timeout(FAREWELL, self.running.end()).await.is_err() {
            tracing::warn!("the launcher that waited does not end within {FAREWELL:?}");
        }
    }
}

impl Launchers {
    /// `ahead`: whether one is to wait.
    pub(crate) fn new(launcher: Launcher, template: Template, ahead: bool) -> Self {
        let spare = if ahead { Spare::None } else { Spare::Closed };
        Self { launcher, template: Arc::new(template), spare: Arc::new(Mutex::new(spare)) }
    }

    /// A launcher that has been told what to make, of an instance that has its layer.
    pub(super) async fn begin(&self, spec: &LaunchSpec) -> Result<Running, RuntimeError> {
        let waiting = self.replace(Spare::None);
        let given = waiting.map(|waiting| waiting.given(&spec.layer));
        let given = given.transpose().unwrap_or_else(|e| {
            tracing::warn!("the layer that waited could not be given away: {e}");
            None
        });
        if let Some(mut running) = given
            // It may have been killed meanwhile, and has begun nothing then.
            && running.tell(spec).await.is_ok()
        {
            return Ok(running);
        }
        self.template.copy_to(&spec.layer).await?;
        let begun = async {
            let mut running = spawn(&mut command(&self.launcher))?;
            running.tell(spec).await.map(|()| running)
        };
        begun.await.map_err(|e| could_not_run(&e))
    }

    /// None waits afterwards, nor ever again.
    pub(crate) async fn close(&self) {
        if let Some(waiting) = self.replace(Spare::Closed) {
            waiting.end().await;
        }
    }

    /// The one that waits. Another one that is on its way is not stopped by this unless it is to be the last.
    fn replace(&self, by: Spare) -> Option<Box<Waiting>> {
        let mut spare = lock(&self.spare);
        match (&*spare, &by) {
            (Spare::Waits(_), _) | (_, Spare::Closed) => match std::mem::replace(&mut *spare, by) {
                Spare::Waits(waiting) => Some(waiting),
                _ => None,
            },
            _ => None,
        }
    }

    /// Has one wait for the next launch soon, unless one does. To be called when nothing is waited for.
    pub(crate) fn provide(&self) {
        {
            let mut spare = lock(&self.spare);
            if !matches!(*spare, Spare::None) {
                return;
            }
            *spare = Spare::Coming;
        }
        let coming = (Arc::downgrade(&self.spare), self.launcher.clone(), Arc::clone(&self.template));
        tokio::spawn(async move {
            let (spare, launcher, template) = coming;
            sleep(BREATH).await;
            if !is_to_come(&spare) {
                return;
            }
            let layer = template.copy_ahead().await;
            let Some(spare) = spare.upgrade() else { return };
            let mut spare = lock(&spare);
            if matches!(*spare, Spare::Coming) {
                let start = |layer| Waiting::start(&launcher, layer).map_err(|e| could_not_run(&e));
                *spare = layer
                    .and_then(start)
                    .inspect_err(|e| tracing::debug!("no launcher waits: {e}"))
                    .map_or(Spare::None, |waiting| Spare::Waits(Box::new(waiting)));
            }
        });
    }
}

fn is_to_come(spare: &Weak<Mutex<Spare>>) -> bool {
    spare.upgrade().is_some_and(|spare| matches!(*lock(&spare), Spare::Coming))
}

fn lock(spare: &Mutex<Spare>) -> MutexGuard<'_, Spare> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(command: &mut Command) -> io::Result<Running> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Running)
}
