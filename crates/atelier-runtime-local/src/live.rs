//! The containers that this server knows to run, made by it or found running.
//!
//! Each is watched through its init's socket: the init says when the notebook server ends, and the connection ends
//! when the container does. Both only wake whoever waits for changes; what has changed is looked up then.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atelier_core::id::NotebookId;
use atelier_init::protocol::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::control::Init;
use crate::groups::Groups;
use crate::kernels::Kernels;
use crate::priority::Priority;
use crate::process::Handle;
use crate::slot::UIDS;

/// The pause before an init is connected to again, the first time and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// How long what is known of kernels is good enough: whoever looks after notebooks may come much more often.
const KERNELS_PERIOD: Duration = Duration::from_secs(25);

/// A notebook's kernels when they were looked at last: one that has ended cannot be asked any more who it was.
#[derive(Debug, Default)]
struct Looked {
    at: Option<Instant>,
    kernels: Kernels,
}

/// A fork that was begun before anybody has asked for it, and goes on by itself.
#[derive(Debug, Default)]
pub(crate) struct Ahead(tokio::sync::Mutex<Option<JoinHandle<Result<(), String>>>>);

impl Ahead {
    /// Begins it, unless one goes on, or has ended and nobody has asked how.
    pub(crate) async fn begin(&self, fork: impl Future<Output = Result<(), String>> + Send + 'static) {
        let mut begun = self.0.lock().await;
        if begun.is_none() {
            *begun = Some(tokio::spawn(fork));
        }
    }

    /// Waits for it, if there is one, and is told how it ended once. A wait that is given up loses nothing.
    pub(crate) async fn ended(&self) -> Option<Result<(), String>> {
        let mut begun = self.0.lock().await;
        let ended = begun.as_mut()?.await;
        *begun = None;
        Some(ended.unwrap_or_else(|e| Err(e.to_string())))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(fork) = self.0.get_mut() {
            fork.abort();
        }
    }
}

/// A running container.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) pid: i32,
    pub(crate) first: Arc<Handle>,
    /// The first user of the machine that is its own.
    uid_base: u32,
    kernels: Arc<Mutex<Looked>>,
    priority: Mutex<Priority>,
    /// The fork of its first notebook server.
    pub(crate) server: Ahead,
    /// The fork of what forks its kernels.
    pub(crate) forking: Ahead,
    watch: JoinHandle<()>,
    groups: JoinHandle<()>,
}

impl Live {
    fn looked(&self) -> MutexGuard<'_, Looked> {
        looked(&self.kernels)
    }

    /// Whether it is time to look at its kernels again.
    pub(crate) fn is_due(&self) -> bool {
        self.looked().at.is_none_or(|at| at.elapsed() >= KERNELS_PERIOD)
    }

    /// Its kernels are these.
    pub(crate) fn remember(&self, kernels: Kernels) {
        let mut looked = self.looked();
        // One that got its group meanwhile is not among them yet.
        looked.kernels.retain(|pid, _| matches!(Handle::of(*pid), Ok(Some(_))));
        looked.kernels.extend(kernels);
        looked.at = Some(Instant::now());
    }

    /// What is known of how long it computes.
    pub(crate) fn priority(&self) -> MutexGuard<'_, Priority> {
        self.priority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel that this process was when they were looked at.
    pub(crate) fn kernel(&self, pid: i32) -> Option<String> {
        self.looked().kernels.get(&pid).cloned()
    }
}

fn looked(kernels: &Mutex<Looked>) -> MutexGuard<'_, Looked> {
    kernels.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Live {
    fn drop(&mut self) {
        self.watch.abort();
        self.groups.abort();
    }
}

/// The running containers.
#[derive(Debug, Default)]
pub(crate) struct LiveOnes {
    all: Mutex<HashMap<NotebookId, Arc<Live>>>,
    changed: Arc<Notify>,
}

impl LiveOnes {
    fn all(&self) -> MutexGuard<'_, HashMap<NotebookId, Arc<Live>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows and watches a container from here on, and gives its kernels groups.
    pub(crate) fn add(&self, pid: i32, first: Handle, groups: Groups, uid_base: u32) -> Arc<Live> {
        let id = groups.place.id;
        let first = Arc::new(first);
        let watch = tokio::spawn(watch(groups.place.shared(), Arc::clone(&first), Arc::clone(&self.changed)));
        let kernels = Arc::<Mutex<Looked>>::default();
        let known = Arc::clone(&kernels);
        // A kernel that ends before anybody looks at kernels has said who it is.
        let groups = groups.serve(move |kernels| looked(&known).kernels.extend(kernels));
        let live = Arc::new(Live {
            pid,
            first,
            uid_base,
            kernels,
            priority: Mutex::default(),
            server: Ahead::default(),
            forking: Ahead::default(),
            watch,
            groups: tokio::spawn(groups),
        });
        self.all().insert(id, Arc::clone(&live));
        live
    }

    pub(crate) fn get(&self, id: NotebookId) -> Option<Arc<Live>> {
        self.all().get(&id).cloned()
    }

    /// All of them at this moment.
    pub(crate) fn list(&self) -> Vec<(NotebookId, Arc<Live>)> {
        self.all().iter().map(|(id, live)| (*id, Arc::clone(live))).collect()
    }

    /// Whose a user of the machine is.
    pub(crate) fn of_user(&self, uid: u32) -> Option<(NotebookId, Arc<Live>)> {
        let all = self.all();
        let own = all.iter().find(|(_, live)| uid.checked_sub(live.uid_base).is_some_and(|uid| uid < UIDS));
        own.map(|(id, live)| (*id, Arc::clone(live)))
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
    let mut pause = PAUSES.0;
    while first.lives().unwrap_or(false) {
        if let Ok(mut init) = Init::connect(&shared).await
            && init.ask(Command::Watch).await.is_ok()
        {
            pause = PAUSES.0;
            // What changed before was told to nobody.
            changed.notify_one();
            while init.next().await.is_ok() {
                changed.notify_one();
            }
        }
        // An init listens a moment after it was made, and its socket goes a moment before the process does: a
        // connection that was refused or dropped is no end.
        let _ = tokio::time::timeout(pause, end_of(&first)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    changed.notify_one();
}

async fn end_of(process: &Handle) -> std::io::Result<()> {
    // SAFETY: an owned descriptor stays open and the same for as long as it is owned.
    let descriptor = unsafe { AsyncFd::register_with_interest(process.duplicate()?, Interest::READABLE) }?;
    let _ready = descriptor.readable().await?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use atelier_init::protocol::{Answer, CONTROL_SOCKET, State, VERSION};

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;
    use crate::place::Places;

    const SOON: Duration = Duration::from_secs(20);

    /// An init that has just been made may not listen yet, and its server may have ended before anybody watches it.
    #[tokio::test]
    async fn what_changed_before_the_init_could_be_watched_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::open(folder.path(), folder.path()).unwrap();
        let place = places.of("018bcfeb-9bc7-7300-8000-000000000300".parse().unwrap());
        let socket = place.shared().join(CONTROL_SOCKET);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let all = LiveOnes::default();
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = Handle::of(pid).unwrap().unwrap();
        let tree = crate::cgroup::detect().unwrap().into();
        let live = all.add(pid, this, Groups { tree, place }, 0);
        // It is refused at first.
        tokio::task::yield_now().await;
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (mut peer, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let (read, mut write) = peer.split();
        let mut asked = String::new();
        BufReader::new(read).read_line(&mut asked).await.unwrap();
        assert!(asked.contains("watch"), "{asked}");
        let answer =
            Answer { version: VERSION, error: None, state: State::Empty, hooks: Vec::new(), answers_syncs: true };
        write.write_all(format!("{}\n", serde_json::to_string(&answer).unwrap()).as_bytes()).await.unwrap();
        tokio::time::timeout(SOON, all.changed()).await.expect("nobody was told to look");
        drop(live);
    }
}
