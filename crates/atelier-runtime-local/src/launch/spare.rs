//! The launcher that waits.
//!
//! To become a program of this size, and to mount a layer, costs a launcher some milliseconds each, before it can hear what it
//! is to make. So one has done that already and waits. It knows nothing of anybody, and what it holds is nobody's: an empty
//! layer, mounted at no place, which becomes an instance's by being renamed. Whoever finds none starts one. The next is
//! started a moment after a launch: what that has begun needs the processors first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use atelier_runtime::RuntimeError;
use tokio::process::Command;

use super::{AHEAD, LaunchSpec, Running, command, could_not_run};
use crate::config::Launcher;
use crate::file;
use crate::volume::Template;

/// How long a launcher that is gone waits for its successor.
const BREATH: Duration = Duration::from_millis(200);

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

/// A launcher that waits, and the image file of its layer.
#[derive(Debug)]
struct Waiting {
    running: Running,
    layer: PathBuf,
}

impl Waiting {
    fn start(launcher: &Launcher, layer: PathBuf) -> io::Result<Self> {
        let running = spawn(command(launcher).arg(AHEAD).arg(&layer))?;
        Ok(Self { running, layer })
    }

    /// Its layer is the instance's from here on.
    fn given(self, layer: &Path) -> io::Result<Running> {
        fs::rename(&self.layer, layer)?;
        Ok(self.running)
    }

    /// It has ended afterwards, and its layer is gone.
    async fn end(self) {
        self.running.end().await;
        if let Err(e) = file::remove(&self.layer) {
            tracing::warn!("the layer of a launcher that waited could not be removed: {e}");
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
        let given = waiting.and_then(|waiting| waiting.given(&spec.layer).ok());
        self.provide();
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

    /// Has one wait for the next launch, unless one does.
    fn provide(&self) {
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
            tokio::time::sleep(BREATH).await;
            if !is_to_come(&spare) {
                return;
            }
            let layer = template.copy_ahead().await;
            let Some(spare) = spare.upgrade() else { return };
            let mut spare = lock(&spare);
            if matches!(*spare, Spare::Coming) {
                let started = layer.map_err(|e| e.to_string());
                let started = started.and_then(|layer| Waiting::start(&launcher, layer).map_err(|e| e.to_string()));
                *spare = started
                    .inspect_err(|e| tracing::debug!("no launcher waits: {e}"))
                    .map_or(Spare::None, |waiting| Spare::Waits(Box::new(waiting)));
            } else if let Ok(layer) = layer {
                // Closed meanwhile.
                let _ = file::remove(&layer);
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
