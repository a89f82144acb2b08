//! The engine: what happens to notebooks, durably.
#![allow(clippy::todo, clippy::unused_async, missing_docs)]

use std::sync::Arc;

use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Flavor;
use atelier_core::id::{EventId, ImageId, NotebookId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, GrantRange, Lease, LeaseKind};
use atelier_core::notebook::Notebook;
use atelier_core::status::Status;
use atelier_core::{Caller, Clock, Entropy, Refusal};
use atelier_runtime::Runtime;
use atelier_store::{NotebookPage, NotebookStore, SortKey};
use secrecy::SecretString;

/// What the engine is told by the configuration.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The grants that leases may have.
    pub grants: GrantRange,
    /// Notebooks a user may have in a project.
    pub notebooks_per_user: u32,
    /// The flavors on offer.
    pub flavors: Vec<Flavor>,
    /// How many times the CPUs may be promised.
    pub cpu_overcommit: u32,
    /// How many times the memory may be promised.
    pub memory_overcommit: u32,
}

/// A request for a new notebook, its fields already checked by themselves.
#[derive(Clone, Debug)]
pub struct CreateNotebook {
    pub name: String,
    pub description: String,
    pub flavor_id: String,
    pub image_id: ImageId,
    pub capacity_gib: u32,
    pub grant: Grant,
    pub lease_kind: LeaseKind,
    pub workspace_id: String,
}

/// Which of the caller's own notebooks to list.
#[derive(Clone, Debug)]
pub struct ListNotebooks {
    pub name_contains: Option<String>,
    pub status: Option<Status>,
    pub workspace_id: String,
    pub sort_key: SortKey,
    pub descending: bool,
    pub offset: u32,
    pub limit: u32,
}

/// A flavor on offer.
#[derive(Clone, Debug)]
pub struct OfferedFlavor {
    pub flavor: Flavor,
    /// No notebook of it can be made now.
    pub sold_out: bool,
}

/// What the gateway needs to know of a notebook. Always what was last committed.
#[derive(Clone, Debug)]
pub struct Route {
    pub id: NotebookId,
    pub name: String,
    pub status: Status,
    pub fail_reason: Option<String>,
    /// What a visitor must show.
    pub token: SecretString,
    /// What the notebook server must be shown.
    pub upstream_secret: SecretString,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    runtime: Arc<dyn Runtime>,
}

impl Engine {
    /// Loads what the store holds, resumes what was under way and starts the lease clock.
    pub async fn open(
        config: EngineConfig,
        store: Arc<dyn NotebookStore>,
        runtime: Arc<dyn Runtime>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, anyhow_free::OpenError> {
        let _ = (store, clock, entropy);
        Ok(Self { inner: Arc::new(Inner { config, runtime }) })
    }

    /// Lets running steps end (or be resumed later) and ends the engine's tasks. Notebooks run on.
    pub async fn shut_down(&self) {}

    pub async fn create(&self, _: &Caller, _request_id: &str, _: CreateNotebook) -> Result<Notebook, Refusal> {
        todo!()
    }

    pub async fn show(&self, _: &Caller, _: NotebookId) -> Result<Notebook, Refusal> {
        todo!()
    }

    pub async fn list(&self, _: &Caller, _: ListNotebooks) -> Result<NotebookPage, Refusal> {
        todo!()
    }

    /// `grant`: what was asked for; `None`: the last one asked for.
    pub async fn start(
        &self,
        _: &Caller,
        _request_id: &str,
        _: NotebookId,
        _grant: Option<Grant>,
        _kind: Option<LeaseKind>,
    ) -> Result<Notebook, Refusal> {
        todo!()
    }

    pub async fn stop(&self, _: &Caller, _request_id: &str, _: NotebookId) -> Result<Notebook, Refusal> {
        todo!()
    }

    pub async fn delete(&self, _: &Caller, _request_id: &str, _: NotebookId) -> Result<Notebook, Refusal> {
        todo!()
    }

    /// Any status.
    pub async fn lease(&self, _: &Caller, _: NotebookId) -> Result<Lease, Refusal> {
        todo!()
    }

    /// 6327 unless RUNNING.
    pub async fn renew(
        &self,
        _: &Caller,
        _request_id: &str,
        _: NotebookId,
        _: Grant,
        _: LeaseKind,
    ) -> Result<Lease, Refusal> {
        todo!()
    }

    pub async fn flavors(&self) -> Result<Vec<OfferedFlavor>, Refusal> {
        todo!()
    }

    /// The images that notebooks can be made from.
    pub async fn images(&self) -> Result<Vec<Image>, Refusal> {
        todo!()
    }

    pub async fn events(
        &self,
        _: &Caller,
        _: NotebookId,
        _after: Option<EventId>,
        _limit: u32,
    ) -> Result<Vec<NotebookEvent>, Refusal> {
        todo!()
    }

    /// For the gateway; memory only, never stale.
    pub fn route(&self, _: NotebookId) -> Option<Route> {
        todo!()
    }

    pub fn grants(&self) -> GrantRange {
        self.inner.config.grants
    }

    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner.runtime
    }

    /// Whether the store and the runtime answer: for `/readyz`.
    pub async fn check(&self) -> Result<(), String> {
        todo!()
    }
}

mod anyhow_free {
    /// The engine could not be opened.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub struct OpenError(pub String);
}
pub use anyhow_free::OpenError;
