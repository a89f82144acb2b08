//! What the gateway asks about notebooks.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::id::NotebookId;
use atelier_core::status::Status;
use atelier_engine::Engine;
pub use atelier_engine::Route;
use atelier_iam::Iam;
pub use atelier_iam::Standing;
use atelier_runtime::{Connection, RuntimeError};
use tokio::sync::watch;

/// Where notebooks are, how to reach them and who may: engine and identity, or a double of them in tests.
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

    /// Whether the owner of the notebook may still enter it. Its token does not say who shows it: whoever has it came by
    /// it through the owner, so nobody enters where the owner may not. From memory, too.
    fn standing(&self, route: &Route) -> Standing;

    /// Wakes after every change by which an owner's standing may have changed.
    fn subscribe_standings(&self) -> watch::Receiver<u64>;
}

/// The notebooks of a server, and its people.
#[derive(Clone)]
pub struct Notebooks {
    /// Where notebooks are.
    pub engine: Engine,
    /// Who may enter.
    pub iam: Arc<Iam>,
}

#[async_trait]
impl Routes for Notebooks {
    fn route(&self, id: NotebookId) -> Option<Route> {
        self.engine.route(id)
    }

    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        self.engine.connect(id).await
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.engine.route_changes()
    }

    fn standing(&self, route: &Route) -> Standing {
        self.iam.standing(&route.owner, &route.project_id)
    }

    fn subscribe_standings(&self) -> watch::Receiver<u64> {
        self.iam.changes()
    }

    fn person_worked(&self, id: NotebookId) {
        self.engine.person_worked(id);
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
