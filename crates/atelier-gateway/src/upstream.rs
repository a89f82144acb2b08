//! Connections to notebook servers.
//!
//! Every connection belongs to one *start* of a notebook, known by its session value. Kept connections wait there for
//! the next request, tunnels run there, and when the routes say that this start is over, all of it ends at once: a
//! stopped notebook holds no sockets here, and what was opened with an old token does not outlive it. The same when its
//! owner may enter no more.
//!
//! No change is missed. A request enters its start under the lock, and there reads the route once more; the sweep after
//! a change takes the same lock. So either the request sees the change, or the sweep sees the request's start.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_runtime::RuntimeError;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::credential::Session;
use crate::routes::{Route, Routes, Standing, serves};

/// Opening a socket of this machine takes microseconds, unless the server hangs with a full queue.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Connections kept open for one notebook while nobody uses them.
const KEPT: usize = 8;
/// The largest piece of a body, and of a head, held for one connection.
const BUFFER_BYTES: usize = 128 * 1024;

/// Why a notebook server did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The runtime has no connection to it.
    #[error("{0}")]
    Connect(#[from] RuntimeError),
    /// It does not accept connections.
    #[error("the notebook server did not accept a connection in time")]
    Busy,
    /// It broke the connection, or does not speak HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// All starts that were visited.
pub(crate) struct Upstream {
    routes: Arc<dyn Routes>,
    starts: Mutex<HashMap<NotebookId, Arc<Start>>>,
}

/// One start of a notebook.
pub(crate) struct Start {
    id: NotebookId,
    session: Session,
    ended: CancellationToken,
    kept: Mutex<Vec<SendRequest<Body>>>,
}

impl Upstream {
    pub(crate) fn new(routes: Arc<dyn Routes>) -> Self {
        Self { routes, starts: Mutex::default() }
    }

    /// The start that `session` belongs to; `None` when it is over.
    pub(crate) fn enter(&self, id: NotebookId, session: Session) -> Option<Arc<Start>> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_current(id, session) {
            return None;
        }
        match starts.entry(id) {
            Entry::Occupied(mut known) => {
                if known.get().session != session {
                    known.insert(Arc::new(Start::new(id, session))).end();
                }
                Some(known.get().clone())
            }
            Entry::Vacant(new) => Some(new.insert(Arc::new(Start::new(id, session))).clone()),
        }
    }

    /// Ends every start that is over.
    pub(crate) fn sweep(&self) {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.retain(|id, start| {
            let current = self.is_current(*id, start.session);
            if !current {
                start.end();
            }
            current
        });
    }

    fn is_current(&self, id: NotebookId, session: Session) -> bool {
        let fits = |route: &Route| serves(route.status) && Session::of(route) == session;
        let route = self.routes.route(id).filter(fits);
        // Not being able to know who may enter cuts nobody off.
        route.is_some_and(|route| self.routes.standing(&route) != Standing::Barred)
    }

    /// Sends a request over a kept connection, or a new one, and keeps it afterwards.
    pub(crate) async fn send(
        &self,
        start: &Arc<Start>,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        while let Some(mut kept) = start.take() {
            match kept.try_send_request(request).await {
                Ok(response) => {
                    start.keep_when_done(kept);
                    return Ok(response);
                }
                // The server closed it while nobody looked, and nothing was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut new = self.open(start).await?;
        let response = new.send_request(request).await?;
        start.keep_when_done(new);
        Ok(response)
    }

    /// Sends a request over a connection of its own, which may become something else than HTTP.
    pub(crate) async fn send_alone(
        &self,
        start: &Arc<Start>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        Ok(self.open(start).await?.send_request(request).await?)
    }

    async fn open(&self, start: &Arc<Start>) -> Result<SendRequest<Body>, UpstreamError> {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, self.routes.connect(start.id));
        let io = connecting.await.map_err(|_| UpstreamError::Busy)??;
        let (sender, connection) = Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(io)).await?;
        let ended = start.ended.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = connection.with_upgrades() => if let Err(error) = result {
                    tracing::debug!(%error, "a connection to a notebook server broke");
                },
                () = ended.cancelled() => {}
            }
        });
        Ok(sender)
    }
}

impl Start {
    fn new(id: NotebookId, session: Session) -> Self {
        Self { id, session, ended: CancellationToken::new(), kept: Mutex::default() }
    }

    /// Cancelled when this start is over.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn end(&self) {
        self.ended.cancel();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self) -> Option<SendRequest<Body>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = kept.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps the connection once both bodies are through; not if either broke off.
    fn keep_when_done(self: &Arc<Self>, mut sender: SendRequest<Body>) {
        let start: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            if sender.ready().await.is_ok()
                && let Some(start) = start.upgrade()
            {
                let mut kept = start.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < KEPT && !start.ended.is_cancelled() {
                    kept.push(sender);
                }
            }
        });
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}
