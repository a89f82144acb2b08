//! The engine: what happens to notebooks, durably.
//!
//! A command (create, start, stop, delete, renew) is one commit: the notebook in its new status, the operation that
//! will bring it there, and the event that says who asked. It answers after that commit. From then on the operation is
//! *driven*: its steps are applied one by one, each recorded before and after, until the notebook rests. If the process
//! dies anywhere, the next one reads the unfinished operations and drives on; every step may run twice.
//!
//! ```text
//!   command ──commit──► store ◄──commit── driver ──apply/undo──► runtime
//!                         │                  ▲
//!                 routes, lease clock ───────┘  (follow every commit, in memory)
//! ```
//!
//! * [`mod@drive`] drives operations, one task per notebook at most ([`mod@drivers`]); [`mod@hands`] makes the calls of
//!   the runtime, on [`mod@threads`] of their own, so that none of them can hold up anything else; [`mod@watchdog`] finds
//!   what nobody drives.
//! * [`mod@orphans`] takes away what the runtime has and nobody needs; [`mod@trash`] keeps the volumes of deleted notebooks
//!   for a while.
//! * [`mod@plan`] decides, purely, what to do about a notebook at rest; [`mod@reconcile`] looks and acts on it.
//! * [`mod@restarts`] starts notebook servers again that ended by themselves.
//! * [`mod@hooks`] runs what people have run at each start of their notebooks.
//! * [`mod@reboot`] says what becomes of notebooks whose machine was rebooted.
//! * [`mod@lease_clock`] knows when the next lease ends; [`mod@steady`] and [`mod@clock_jump`] keep it right when the
//!   wall clock is set.
//! * [`mod@activity`] looks at what people and programs do in notebooks, for the leases that end with idleness.
//! * [`mod@memory`] says whose memory ran out.
//! * [`mod@places`] lets people run commands in notebooks.
//! * [`mod@usage`] tells what running notebooks use.
//! * [`mod@shared_volumes`] says which volume a new notebook has, and keeps those that several have.
//! * [`mod@fullness`] warns of volumes that fill up.
//! * [`mod@routes`] is what the gateway reads: memory only, never stale.
//!
//! A deletion is accepted in every status: it cancels what is under way, and its own steps take everything down,
//! whatever was half made. All other commands meet one operation at a time.

mod activity;
pub mod broken;
mod clock_jump;
mod code_lab;
mod commands;
mod drive;
mod drivers;
pub mod failpoint;
mod fullness;
mod growth;
mod hands;
mod hooks;

mod lease_clock;
mod legacy;
mod memory;
mod operations;
mod orphans;
mod places;
pub mod plan;
mod reboot;
mod reconcile;
mod restarts;
mod room;
mod routes;
mod shared_volumes;
mod shares;
mod steady;
mod steps;
mod tags;
mod threads;
pub mod time;
mod trash;
mod update;
mod usage;
mod watchdog;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_core::feature::Feature;
use atelier_core::flavor::{Capacity, Flavor, Held};
use atelier_core::hook::Hooks;
use atelier_core::id::{ImageId, NotebookId};
use atelier_core::lease::{Grant, GrantRange, LeaseKind};
use atelier_core::limits::{DEFAULT_NOTEBOOKS_PER_USER, DEFAULT_SHARED_GIB};
use atelier_core::notebook::LegacyWords;
use atelier_core::observe::Watcher;
use atelier_core::pool::{Part, Pool, TooLarge};
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_core::{Clock as _, Entropy, Timestamp};
use atelier_runtime::{Connection, Runtime, RuntimeError};
use atelier_store::{NotebookFilter, NotebookStore, SortKey, Standing, StoreError};
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use activity::{ActivityConfig, Asked, Asker, NotebookActivity};
pub use commands::Demand;
pub use hands::{Hand, HangingCall, Work};
pub use legacy::InstanceChange;
pub use operations::{OperationView, Whose};
pub use orphans::Orphan;
pub use places::CommandPlace;
pub use restarts::RestartConfig;
pub use routes::Route;
pub use shared_volumes::NewVolume;
pub use shares::{Offer, OfferedFlavor, Size};
pub use threads::Threads;
pub use time::Timekeeper;
pub use trash::InTrash;
pub use update::UpdateNotebook;
pub use usage::NotebookUsage;

use crate::activity::Activities;
use crate::drivers::Drivers;
use crate::fullness::Fillings;
use crate::growth::Growths;
use crate::hands::Hands;
use crate::lease_clock::LeaseClock;
use crate::memory::Shortages;
use crate::orphans::{Strangers, Suspects};
use crate::places::Places;
use crate::reboot::{Aftermath, Revivals};
use crate::restarts::Restarts;
use crate::routes::Routes;
use crate::shares::Shares;
use crate::steady::Steady;
use crate::write::NotebookLocks;

/// How long a notebook server may take to accept a connection.
const CONNECT_LIMIT_MS: i64 = 10_000;
/// How long the end of the engine's own tasks is waited for. They wait for the store only.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(20);

/// What the engine is told by the configuration.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The grants that leases may have.
    pub grants: GrantRange,
    /// Notebooks a user may have in a project.
    pub notebooks_per_user: u32,
    /// The flavors on offer to notebooks in no pool.
    pub flavors: Vec<Flavor>,
    /// The pools.
    pub pools: Vec<Pool>,
    /// How many times the CPUs may be promised.
    pub cpu_overcommit: u32,
    /// How many times the memory may be promised.
    pub memory_overcommit: u32,
    /// Who is told what is worth measuring.
    pub watcher: Watcher,
    /// What must stay free on the disk of the store; below it nothing new is begun.
    pub disk_reserve_bytes: u64,
    /// How long the volumes of deleted notebooks rest in the trash, in milliseconds; 0: not at all.
    pub trash_ms: i64,
    /// The size of the volumes that notebooks share, in GiB.
    pub shared_gib: u32,
    /// How notebooks are looked at, for leases that end with idleness.
    pub activity: ActivityConfig,
    /// How often notebook servers that ended are started again.
    pub restarts: RestartConfig,
    /// How long a hook may run.
    pub hook_limit: Duration,
    /// How many commands people may run in a notebook at a time.
    pub commands_per_notebook: u32,
    /// Does the runtime's calls.
    pub hand: Arc<dyn Hand>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            grants: GrantRange::CONTRACT,
            notebooks_per_user: DEFAULT_NOTEBOOKS_PER_USER,
            flavors: Flavor::defaults(),
            pools: Vec::new(),
            cpu_overcommit: 16,
            memory_overcommit: 8,
            watcher: Watcher::default(),
            disk_reserve_bytes: 0,
            trash_ms: 24 * 60 * 60 * 1000,
            shared_gib: DEFAULT_SHARED_GIB,
            activity: ActivityConfig::default(),
            restarts: RestartConfig::default(),
            hook_limit: Duration::from_mins(10),
            commands_per_notebook: 8,
            hand: Arc::new(Threads::default()),
        }
    }
}

/// A request for a new notebook, its fields already checked by themselves.
#[derive(Clone, Debug)]
pub struct CreateNotebook {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What it is.
    pub feature: Feature,
    /// What is hung on it.
    pub tags: Tags,
    /// How large it is to be.
    pub size: Size,
    /// The id of the pool that it is to be in.
    pub pool_id: Option<String>,
    /// The image.
    pub image_id: ImageId,
    /// The volume.
    pub volume: NewVolume,
    /// What is run in it at each start.
    pub hooks: Hooks,
    /// How long it may run.
    pub grant: Grant,
    /// How the end of its lease is found.
    pub lease_kind: LeaseKind,
    /// The workspace.
    pub workspace_id: String,
    /// What the legacy API says of it.
    pub legacy: LegacyWords,
}

/// Which notebooks to list, and in which order. Whose they are is not said here: that follows from the caller.
#[derive(Clone, Debug)]
pub struct ListNotebooks {
    /// With what this asks for.
    pub filter: NotebookFilter,
    /// Sorted by this.
    pub sort_key: SortKey,
    /// What ties are sorted by, one after the other.
    pub then_by: Vec<SortKey>,
    /// Largest first.
    pub descending: bool,
    /// Records to skip.
    pub offset: u32,
    /// Records to return at most.
    pub limit: u32,
}

/// The engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store did not answer.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The runtime did not answer.
    #[error("the runtime cannot be asked: {0}")]
    Runtime(#[from] RuntimeError),
    /// More is set aside for pools than there is.
    #[error(transparent)]
    Pools(#[from] TooLarge),
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    /// The host, with the factors of the configuration.
    capacity: Capacity,
    shares: Shares,
    store: Arc<dyn NotebookStore>,
    runtime: Arc<dyn Runtime>,
    time: Steady,
    /// Shared by whoever writes; held alone while the leases follow a wall clock that was set.
    frame: RwLock<()>,
    entropy: Arc<dyn Entropy>,
    routes: Routes,
    leases: LeaseClock,
    activities: Activities,
    drivers: Arc<Drivers>,
    hands: Hands,
    suspects: Suspects,
    growths: Growths,
    fillings: Fillings,
    places: Places,
    strangers: Strangers,
    /// Held by who looks at every running notebook: of two looks at one the older must not be written last.
    looking: tokio::sync::Mutex<()>,
    /// Held by who empties the trash.
    emptying: tokio::sync::Mutex<()>,
    /// Held by who removes volumes that nobody needs, from the look at them on.
    removing: tokio::sync::Mutex<()>,
    /// The turns of looks at file shares.
    share_looks: Arc<tokio::sync::Semaphore>,
    /// How many volumes are set aside, and what they take of the disk, in bytes.
    set_aside: Mutex<(u64, u64)>,
    locks: NotebookLocks,
    revivals: Revivals,
    restarts: Restarts,
    shortages: Shortages,
    aftermath: Aftermath,
    /// What long steps are doing at present. Not kept: after a restart the step says it anew.
    notes: Mutex<HashMap<NotebookId, String>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Engine {
    /// Loads what the store holds, resumes what was under way and starts the lease clock.
    pub async fn open(
        config: EngineConfig,
        store: Arc<dyn NotebookStore>,
        runtime: Arc<dyn Runtime>,
        time: Arc<dyn Timekeeper>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let machine = runtime.capacity().await?;
        let capacity =
            Capacity { cpu_overcommit: config.cpu_overcommit, memory_overcommit: config.memory_overcommit, ..machine };
        let shares = Shares::of(capacity, config.flavors.clone(), config.pools.clone())?;
        let since = clock_jump::last_reading(&*store, &*time).await?;
        let clock_is_known = since.is_some();
        let hands = Hands::new(Arc::clone(&config.hand));
        let engine = Self {
            inner: Arc::new(Inner {
                config,
                capacity,
                shares,
                store,
                runtime,
                time: Steady::new(time, since),
                frame: RwLock::default(),
                entropy,
                routes: Routes::new(),
                leases: LeaseClock::default(),
                activities: Activities::default(),
                drivers: Arc::default(),
                hands,
                suspects: Suspects::default(),
                growths: Growths::default(),
                fillings: Fillings::default(),
                places: Places::default(),
                strangers: Strangers::default(),
                looking: tokio::sync::Mutex::default(),
                emptying: tokio::sync::Mutex::default(),
                removing: tokio::sync::Mutex::default(),
                share_looks: Arc::new(tokio::sync::Semaphore::new(shared_volumes::SHARE_LOOKS)),
                set_aside: Mutex::default(),
                locks: NotebookLocks::default(),
                revivals: Revivals::new(capacity.cpu_millis),
                restarts: Restarts::default(),
                shortages: Shortages::default(),
                aftermath: Aftermath::default(),
                notes: Mutex::default(),
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
            }),
        };
        engine.load(clock_is_known).await?;
        engine.spawn_clock();
        engine.spawn_lease_clock();
        engine.spawn_reconciler();
        engine.spawn_activity();
        engine.spawn_watchdog();
        engine.spawn_collector();
        engine.spawn_memory_watch();
        Ok(engine)
    }

    /// Fills the routes and the lease clock, follows a reboot, and resumes unfinished operations.
    async fn load(&self, clock_is_known: bool) -> Result<(), OpenError> {
        let mut visit = |standing| match standing {
            Standing::Whole(notebook) => {
                self.follow(&notebook);
                self.follow_hooks(&notebook);
            }
            Standing::Resting(resting) => self.follow_resting(resting),
        };
        self.inner.store.every_standing(&mut visit).await?;
        self.follow_jump().await;
        if !clock_is_known {
            self.hold_leases_to_their_grants().await;
        }
        self.keep_reading().await;
        self.follow_reboot().await?;
        Ok(self.resume().await?)
    }

    /// Drives what is unfinished.
    async fn resume(&self) -> Result<(), StoreError> {
        for operation in self.inner.store.unfinished_operations().await? {
            tracing::info!(notebook = %operation.notebook_id, operation = %operation.id, kind = %operation.kind,
                "resuming the {} of notebook {}", operation.kind, operation.notebook_id);
            self.drive(operation.notebook_id);
        }
        Ok(())
    }

    fn spawn_lease_clock(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stopping = engine.inner.stopping.clone();
            loop {
                let due = tokio::select! {
                    () = stopping.cancelled() => return,
                    due = engine.inner.leases.next_due(&engine.inner.time) => due,
                };
                for id in due {
                    let engine = engine.clone();
                    engine.inner.tasks.clone().spawn(async move { engine.stop_by_lease(id).await });
                }
            }
        });
    }

    /// Ends the engine's tasks. A step under way is broken off and resumed by the next start; notebooks run on.
    pub async fn shut_down(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(LONGEST_SHUTDOWN, self.inner.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.inner.tasks.len(), "some of the engine's tasks do not end; they are left");
        }
        let _ = tokio::time::timeout(LONGEST_SHUTDOWN, self.keep_reading()).await;
    }

    /// What the gateway needs to know of a notebook: always what was last committed, and from memory only.
    pub fn route(&self, id: NotebookId) -> Option<Route> {
        self.inner.routes.get(id)
    }

    /// Wakes when any route changed.
    pub fn route_changes(&self) -> watch::Receiver<u64> {
        self.inner.routes.subscribe()
    }

    /// The grants that leases may have.
    pub fn grants(&self) -> GrantRange {
        self.inner.config.grants
    }

    /// What makes the instances.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner.runtime
    }

    /// A connection to the notebook's server; given up when none is made in time.
    pub async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        tokio::select! {
            biased;
            made = self.inner.runtime.connect(id) => made,
            () = self.pass(CONNECT_LIMIT_MS) => {
                Err(RuntimeError::Transient("the notebook server accepts no connection in time".into()))
            }
        }
    }

    /// Whether the store and the runtime answer.
    pub async fn check(&self) -> Result<(), String> {
        self.inner.store.check().await.map_err(|e| e.to_string())?;
        self.list_instances().await.map_err(|e| format!("the runtime cannot be asked: {e}"))?;
        Ok(())
    }

    /// How many notebooks there are in each status. Statuses that no notebook is in are left out.
    pub fn census(&self) -> HashMap<Status, u64> {
        self.inner.routes.census()
    }

    /// The host, and how often it may be promised.
    pub fn capacity(&self) -> Capacity {
        self.inner.capacity
    }

    /// What all notebooks hold, and what there is to hold.
    pub async fn room(&self) -> Result<(Held, Capacity), StoreError> {
        Ok((self.inner.store.held(&Part::everything()).await?, self.inner.capacity))
    }

    /// When the oldest operation that has not ended was asked for.
    pub async fn oldest_operation(&self) -> Result<Option<Timestamp>, StoreError> {
        let unfinished = self.inner.store.unfinished_operations().await?;
        Ok(unfinished.iter().map(|operation| operation.began_at).min())
    }

    fn watcher(&self) -> &Watcher {
        &self.inner.config.watcher
    }

    /// Lets so many milliseconds pass.
    async fn pass(&self, ms: i64) {
        self.inner.time.pass(ms).await;
    }

    /// The time, as the engine counts it.
    pub fn now(&self) -> Timestamp {
        self.inner.time.now()
    }

    /// What a long step of this notebook is doing at present.
    fn note(&self, id: NotebookId) -> Option<String> {
        self.inner.notes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn set_note(&self, id: NotebookId, note: Option<String>) {
        let mut notes = self.inner.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => notes.insert(id, note),
            None => notes.remove(&id),
        };
    }
}
