//! The containers that this server knows to run, made by it or found running.
//!
//! Each is watched through its init's socket: the init says when the notebook server ends, and the connection ends
//! when the container does. Both only wake whoever waits for changes; what has changed is looked up then.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_init::protocol::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::control::Init;
use crate::process::Handle;

/// A running container.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) pid: i32,
    pub(crate) first: Arc<Handle>,
    watch: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// The running containers.
#[derive(Debug, Default)]
pub(crate) struct LiveOnes {
    all: Mutex<HashMap<NotebookId, Arc<Live>>>,
    changed: Arc<Notify>,
}

impl LiveOnes {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<NotebookId, Arc<Live>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows and watches a container from here on.
    pub(crate) fn add(&self, id: NotebookId, pid: i32, first: Handle, shared: PathBuf) -> Arc<Live> {
        let first = Arc::new(first);
        let watch = tokio::spawn(watch(shared, Arc::clone(&first), Arc::clone(&self.changed)));
        let live = Arc::new(Live { pid, first, watch });
        self.all().insert(id, Arc::clone(&live));
        live
    }

    pub(crate) fn get(&self, id: NotebookId) -> Option<Arc<Live>> {
        self.all().get(&id).cloned()
    }

    pub(crate) fn forget(&self, id: NotebookId) -> Option<Arc<Live>> {
        self.all().remove(&id)
    }

    /// Returns when something has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Wakes at every change of the container's state, until it has ended.
async fn watch(shared: PathBuf, first: Arc<Handle>, changed: Arc<Notify>) {
    while first.lives().unwrap_or(false) {
        if let Ok(mut init) = Init::connect(&shared).await
            && init.ask(Command::Watch).await.is_ok()
        {
            while init.next().await.is_ok() {
                changed.notify_one();
            }
        }
        // The socket goes a moment before the process does; a dropped connection alone is no end.
        let _ = tokio::time::timeout(Duration::from_secs(1), end_of(&first)).await;
    }
    changed.notify_one();
}

async fn end_of(process: &Handle) -> std::io::Result<()> {
    // SAFETY: an owned descriptor stays open and the same for as long as it is owned.
    let descriptor = unsafe { AsyncFd::register_with_interest(process.duplicate()?, Interest::READABLE) }?;
    let _ready = descriptor.readable().await?;
    Ok(())
}
