//! Where the kernels of a running container get a control group each: a socket that this server listens at.
//!
//! A kernel connects to it before its first cell, is put into a group (`cgroup::kernels`), and goes on when it hears of that. What connects is known by the connection, so nothing is read from it, and nothing that the container
//! says counts. Any of its processes may ask: one that is no kernel only limits itself.
//!
//! Nobody depends on it. While no server runs the connection is refused at once, and the kernel runs within the notebook's
//! limits, where its score has it killed before the notebook server.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atelier_init::protocol::GROUPS_SOCKET;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use crate::cgroup::CgroupTree;
use crate::cgroup::kernels::take_in;
use crate::file::absent_is_none;

/// The pause after each that has asked, so that asking over and over costs the machine next to nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// What a container's kernels ask.
pub(crate) struct Groups {
    pub(crate) tree: Arc<dyn CgroupTree>,
    /// The container's own group.
    pub(crate) name: String,
    /// The container's `/run/atelier`.
    pub(crate) shared: PathBuf,
}

impl Groups {
    /// Answers until this is dropped. `taken_in` hears of each process that has got a group, while that still waits.
    pub(crate) async fn serve(self, taken_in: impl Fn(i32)) {
        match self.listen() {
            Ok(listener) => loop {
                match listener.accept().await {
                    Ok((kernel, _)) => self.answer(&kernel, &taken_in).await,
                    Err(e) => tracing::debug!("a kernel cannot ask for a group: {e}"),
                }
                sleep(PAUSE).await;
            },
            Err(e) => tracing::warn!("kernels of `{}` get no groups of their own: {e}", self.name),
        }
    }

    /// In place of a former server, which a connection would not reach any more.
    fn listen(&self) -> io::Result<UnixListener> {
        let path = self.shared.join(GROUPS_SOCKET);
        absent_is_none(std::fs::remove_file(&path))?;
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(listener)
    }

    async fn answer(&self, kernel: &UnixStream, taken_in: impl Fn(i32)) {
        let Ok(Some(pid)) = kernel.peer_cred().map(|peer| peer.pid()) else { return };
        let (tree, name) = (Arc::clone(&self.tree), self.name.clone());
        let taken = tokio::task::spawn_blocking(move || take_in(&*tree, &name, pid)).await;
        let word: &[u8] = match taken.map_err(io::Error::other).flatten() {
            Ok(true) => {
                taken_in(pid);
                b"taken in\n"
            }
            Ok(false) => b"refused\n",
            Err(e) => {
                tracing::debug!("process {pid} of `{}` gets no group of its own: {e}", self.name);
                b"failed\n"
            }
        };
        let _ = kernel.try_write(word);
    }
}
