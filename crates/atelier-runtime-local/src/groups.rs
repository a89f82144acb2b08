//! Where the kernels of a running container get a control group each: a socket that this server listens at.
//!
//! A kernel connects to it before its first cell, is put into a group (`cgroup::kernels`), and goes on when it hears of that.
//! What connects is known by the connection, so nothing is read from it, and nothing that the container says counts. Any of
//! its processes may ask, once: one that is no kernel only limits itself. As moving a process costs the whole machine a
//! moment, [`AT_ONCE`] are moved at once, and from then on one in a while.
//!
//! Nobody depends on it. While no server runs the connection is refused at once, and the kernel runs within the notebook's
//! limits, where its score has it killed before the notebook server.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use atelier_init::protocol::GROUPS_SOCKET;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cgroup::CgroupTree;
use crate::cgroup::kernels::{MOST, take_in};
use crate::kernels::{self, Kernels};
use crate::place::Place;

/// How often a container is answered in the long run.
const PERIOD: Duration = Duration::from_millis(250);
/// How many more are answered without a pause.
const AT_ONCE: u32 = MOST;

/// What a container's kernels ask.
pub(crate) struct Groups {
    pub(crate) tree: Arc<dyn CgroupTree>,
    pub(crate) place: Place,
}

impl Groups {
    /// Answers until this is dropped. `taken_in` hears of each kernel that has got a group, while that still waits.
    pub(crate) async fn serve(self, taken_in: impl Fn(Kernels)) {
        let listener = match self.listen() {
            Ok(listener) => listener,
            Err(e) => return tracing::warn!("kernels of `{}` get no groups of their own: {e}", self.place.id),
        };
        // When all that were answered so far would have been, one in each period.
        let mut due = Instant::now();
        loop {
            match listener.accept().await {
                Ok((kernel, _)) => self.answer(kernel, &taken_in).await,
                Err(e) => {
                    tracing::debug!("a kernel cannot ask for a group: {e}");
                    sleep(PERIOD).await;
                }
            }
            due = due.max(Instant::now()) + PERIOD;
            sleep_until(due - PERIOD * AT_ONCE).await;
        }
    }

    /// In place of a former server, which a connection would not reach any more. The socket is made where the container has
    /// no name for it.
    fn listen(&self) -> io::Result<UnixListener> {
        let fresh = self.place.run.join(GROUPS_SOCKET);
        crate::file::remove(&fresh)?;
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o666))?;
        std::fs::rename(&fresh, self.place.shared().join(GROUPS_SOCKET))?;
        Ok(listener)
    }

    async fn answer(&self, mut kernel: UnixStream, taken_in: impl Fn(Kernels)) {
        let Ok(Some(pid)) = kernel.peer_cred().map(|peer| peer.pid()) else { return };
        let (tree, name) = (Arc::clone(&self.tree), self.place.cgroup.clone());
        let taken = tokio::task::spawn_blocking(move || {
            // A command line may have to be waited for.
            take_in(&*tree, &name, pid).map(|taken| taken.then(|| kernels::among(&[pid])))
        });
        let word: &[u8] = match taken.await.map_err(io::Error::other).flatten() {
            Ok(Some(kernels)) => {
                taken_in(kernels);
                b"taken in\n"
            }
            Ok(None) => b"refused\n",
            Err(e) => {
                tracing::debug!("process {pid} of `{}` gets no group of its own: {e}", self.place.id);
                b"failed\n"
            }
        };
        // Nothing waits there yet, so this does not either.
        let _ = kernel.write_all(word).await;
    }
}
