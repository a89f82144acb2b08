//! What the gateway asks about notebooks.

use async_trait::async_trait;
use atelier_core::id::NotebookId;
use atelier_core::status::Status;
use atelier_engine::Engine;
pub use atelier_engine::Route;
use atelier_runtime::{Connection, RuntimeError};
use tokio::sync::watch;

/// Where notebooks are, and how to reach them: the engine, or a double of it in tests.
#[async_trait]
pub trait Routes: Send + Sync + 'static {
    /// What was last committed of a notebook; from memory, as it is asked at every request.
    fn route(&self, id: NotebookId) -> Option<Route>;

    /// Opens a connection to the notebook's server.
    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError>;

    /// Wakes after every change of any route. [`Routes::route`] answers the new value before the wake-up.
    fn subscribe(&self) -> watch::Receiver<u64>;

    /// A person did something in the notebook just now. Said at every message, so it must be cheap.
    fn person_worked(&self, id: NotebookId);
}

#[async_trait]
impl Routes for Engine {
    fn route(&self, id: NotebookId) -> Option<Route> {
        Self::route(self, id)
    }

    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        self.runtime().connect(id).await
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.route_changes()
    }

    fn person_worked(&self, id: NotebookId) {
        Self::person_worked(self, id);
    }
}

/// Whether a notebook in this status has a server that answers.
pub(crate) const fn serves(status: Status) -> bool {
    matches!(status, Status::Running | Status::Snapshotting)
}

/// Whether a notebook in this status will serve without anybody's doing.
pub(crate) const fn comes_up(status: Status) -> bool {
    matches!(status, Status::Init | Status::Creating | Status::Starting)
}
