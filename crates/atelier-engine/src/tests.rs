//! The engine on a real store and the simulated runtime, with a clock that tests own. Nothing here waits for time to
//! pass: tests wait for the routes to change, which happens after each commit.

mod clock_jump;
mod deadlines;
mod orphans;
mod reboot;
mod steering;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use atelier_core::feature::Feature;
use atelier_core::flavor::Capacity;
use atelier_core::hook::Hooks;
use atelier_core::id::NotebookId;
use atelier_core::image;
use atelier_core::lease::{Grant, GrantRange, LeaseKind};
use atelier_core::notebook::{LegacyWords, Notebook};
use atelier_core::operation::{OperationKind, OperationState, StepState};
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_core::{Caller, Code, Entropy, Refusal, Timestamp};
use atelier_runtime::simulated::{Call, Faults, SimulatedRuntime};
use atelier_runtime::{Root, Runtime, RuntimeError};
use atelier_store::NotebookStore;
use atelier_store_sqlite::{Sealer, SqliteStore};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use crate::time::ManualTime;
use crate::{CreateNotebook, Engine, EngineConfig, NewVolume, Size};

mod activity;
mod fullness;
mod gpus;
mod growth;
mod hooks;
mod memory;
mod pools;
mod restarts;
mod shared_volumes;
mod short_of_room;
mod trash;
mod update;
mod watching;

/// Unlike bytes at each call.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let mut n = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in out {
            n = n.rotate_left(9).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1);
            *byte = n.to_le_bytes()[7];
        }
    }
}

/// What a call of the runtime does when its turn comes.
enum Turn {
    Fails(RuntimeError),
    /// Waits until the test lets it go, or is dropped.
    Waits,
    /// Holds up its thread until the test releases it, as a kernel does that does not answer.
    Blocks,
    /// Has its effect, and fails then.
    LosesItsReply,
    Panics,
}

/// A script of faults: each call takes the next turn of its queue, if there is one.
struct Script {
    turns: Mutex<HashMap<Call, VecDeque<Turn>>>,
    reached: Semaphore,
    gate: Semaphore,
    lost_replies: Mutex<Vec<Call>>,
    released: (Mutex<bool>, Condvar),
}

impl Default for Script {
    fn default() -> Self {
        Self {
            turns: Mutex::default(),
            reached: Semaphore::new(0),
            gate: Semaphore::new(0),
            lost_replies: Mutex::default(),
            released: (Mutex::new(false), Condvar::new()),
        }
    }
}

impl Script {
    fn on(&self, call: Call, turn: Turn) {
        self.turns.lock().unwrap().entry(call).or_default().push_back(turn);
    }

    fn fails(&self, call: Call, times: usize, error: fn(String) -> RuntimeError) {
        for _ in 0..times {
            self.on(call, Turn::Fails(error("injected".into())));
        }
    }

    /// Lets every call go that holds up its thread.
    fn release(&self) {
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
    }

    /// Returns when a waiting call was reached.
    async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Faults for Script {
    async fn before(&self, call: Call, _id: Option<NotebookId>) -> Result<(), RuntimeError> {
        let turn = self.turns.lock().unwrap().get_mut(&call).and_then(VecDeque::pop_front);
        match turn {
            None => Ok(()),
            Some(Turn::Fails(error)) => Err(error),
            Some(Turn::Waits) => {
                self.reached.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                Ok(())
            }
            Some(Turn::Blocks) => {
                self.reached.add_permits(1);
                let released = self.released.0.lock().unwrap();
                drop(self.released.1.wait_while(released, |released| !*released).unwrap());
                Ok(())
            }
            Some(Turn::LosesItsReply) => {
                self.lost_replies.lock().unwrap().push(call);
                Ok(())
            }
            Some(Turn::Panics) => panic!("injected"),
        }
    }

    async fn after(&self, call: Call, _id: Option<NotebookId>) -> Result<(), RuntimeError> {
        let mut lost = self.lost_replies.lock().unwrap();
        match lost.iter().position(|c| *c == call) {
            None => Ok(()),
            Some(at) => {
                lost.remove(at);
                Err(RuntimeError::Transient("the reply was lost".into()))
            }
        }
    }
}

const MACHINE: Capacity =
    Capacity { cpu_millis: 4000, memory_bytes: 16 << 30, cpu_overcommit: 1, memory_overcommit: 1 };
const START: i64 = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;

/// An engine with everything around it.
struct World {
    folder: tempfile::TempDir,
    time: Arc<ManualTime>,
    script: Arc<Script>,
    store: Arc<SqliteStore>,
    runtime: Arc<SimulatedRuntime>,
    engine: Engine,
    entropy: Arc<Counting>,
}

impl Drop for World {
    /// No thread of a test outlives it.
    fn drop(&mut self) {
        self.script.release();
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let time = Arc::new(ManualTime::at(Timestamp::from_millis(START)));
        let entropy = Arc::new(Counting(AtomicU64::new(1)));
        let script = Arc::new(Script::default());
        let (store, runtime, engine) = open(folder.path(), &time, &script, &entropy).await;
        Self { folder, time, script, store, runtime, engine, entropy }
    }

    /// Ends the engine where it is and opens another one on what is there.
    async fn restart(&mut self) {
        self.engine.shut_down().await;
        self.store.close().await;
        let (store, runtime, engine) = open(self.folder.path(), &self.time, &self.script, &self.entropy).await;
        (self.store, self.runtime, self.engine) = (store, runtime, engine);
    }

    /// Ends the engine and opens another one, with this configuration, on the store and the runtime that are there.
    async fn reopen(&mut self, config: EngineConfig) {
        self.engine.shut_down().await;
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        self.engine = Engine::open(config, store, runtime, self.time.clone(), self.entropy.clone()).await.unwrap();
    }

    fn caller(name: char) -> Caller {
        let id = |c: char| c.to_string().repeat(32);
        Caller {
            user_id: id(name).parse().unwrap(),
            user_name: format!("user-{name}"),
            domain_id: id('d').parse().unwrap(),
            domain_name: "atelier".into(),
            project_id: id('1').parse().unwrap(),
            source: atelier_core::caller::Source::default(),
        }
    }

    fn wish(name: &str) -> CreateNotebook {
        CreateNotebook {
            name: name.into(),
            description: String::new(),
            feature: Feature::Notebook,
            tags: Tags::none(),
            size: Size::Flavor("atelier.cpu.small".into()),
            pool_id: None,
            image_id: image::BUILT_IN,
            volume: NewVolume::Own { capacity_gib: 5 },
            hooks: Hooks::default(),
            grant: Grant::Millis(HOUR),
            lease_kind: LeaseKind::Timing,
            workspace_id: "0".into(),
            legacy: LegacyWords::default(),
        }
    }

    async fn create(&self) -> NotebookId {
        self.engine.create(&Self::caller('a'), "r1", Self::wish("nb")).await.unwrap().id
    }

    async fn running(&self) -> NotebookId {
        let id = self.create().await;
        self.reaches(id, Status::Running).await;
        id
    }

    async fn start(&self, id: NotebookId) -> Result<Notebook, Refusal> {
        self.engine.start(&Self::caller('a'), "r2", id, None, None).await
    }

    async fn stop(&self, id: NotebookId) -> Result<Notebook, Refusal> {
        self.engine.stop(&Self::caller('a'), "r3", id).await
    }

    async fn delete(&self, id: NotebookId) -> Result<Notebook, Refusal> {
        self.engine.delete(&Self::caller('a'), "r4", id).await
    }

    async fn show(&self, id: NotebookId) -> Notebook {
        self.engine.show(&Self::caller('a'), id).await.unwrap()
    }

    /// Returns when the notebook rests in `wanted`, and fails when it rests elsewhere.
    async fn reaches(&self, id: NotebookId, wanted: Status) -> Notebook {
        let mut changes = self.engine.route_changes();
        loop {
            let status = self.engine.route(id).map(|r| r.status);
            if status == Some(wanted) {
                return self.show(id).await;
            }
            assert!(status.is_some_and(|s| !s.is_stable() || s == Status::Running), "{id} is {status:?}, not {wanted}");
            changes.changed().await.unwrap();
        }
    }

    /// Returns when the notebook is gone.
    async fn vanishes(&self, id: NotebookId) {
        let mut changes = self.engine.route_changes();
        while self.engine.route(id).is_some() {
            changes.changed().await.unwrap();
        }
        let refusal = self.engine.show(&Self::caller('a'), id).await.unwrap_err();
        assert_eq!(refusal.code(), Code::NotFound);
        assert_eq!(self.runtime.list().await.unwrap(), []);
    }

    async fn store_events(&self, id: NotebookId) -> Vec<atelier_core::event::NotebookEvent> {
        self.store.events(id, None, 100).await.unwrap()
    }

    async fn events(&self, id: NotebookId) -> Vec<String> {
        self.store_events(id).await.into_iter().map(|e| e.what).collect()
    }
}

/// The only folder that notebooks can have as volumes.
fn root(folder: &std::path::Path) -> std::path::PathBuf {
    folder.join("root")
}

async fn open(
    folder: &std::path::Path,
    time: &Arc<ManualTime>,
    script: &Arc<Script>,
    entropy: &Arc<Counting>,
) -> (Arc<SqliteStore>, Arc<SimulatedRuntime>, Engine) {
    try_open(folder, time, script, entropy).await.unwrap()
}

async fn try_open(
    folder: &std::path::Path,
    time: &Arc<ManualTime>,
    script: &Arc<Script>,
    entropy: &Arc<Counting>,
) -> Result<(Arc<SqliteStore>, Arc<SimulatedRuntime>, Engine), crate::OpenError> {
    let sealer = Sealer::new(&[7; 32], entropy.clone());
    let store = Arc::new(SqliteStore::open(&folder.join("db"), sealer).await.unwrap());
    let root = Root { uri: "nas:/export".parse().unwrap(), path: root(folder) };
    std::fs::create_dir_all(&root.path).unwrap();
    let runtime = SimulatedRuntime::open(&folder.join("sim"), MACHINE, script.clone()).unwrap();
    let runtime = Arc::new(runtime.with_roots(vec![root]));
    let config = EngineConfig {
        grants: GrantRange::CONTRACT,
        notebooks_per_user: 3,
        cpu_overcommit: 1,
        memory_overcommit: 1,
        ..EngineConfig::default()
    };
    let engine = Engine::open(config, store.clone(), runtime.clone(), time.clone(), entropy.clone()).await?;
    Ok((store, runtime, engine))
}

#[tokio::test]
async fn a_creation_answers_at_once_and_ends_running() {
    let world = World::new().await;
    let created = world.engine.create(&World::caller('a'), "r1", World::wish("nb")).await.unwrap();
    assert_eq!(created.status(), Status::Creating);
    assert_eq!(created.progress.len(), 4);
    assert!(created.progress.iter().all(|s| s.state == StepState::Waiting));
    assert!(!created.ever_ran);

    let running = world.reaches(created.id, Status::Running).await;
    assert!(running.progress.is_empty() && running.ever_ran);
    assert_eq!(running.token.expose_secret(), created.token.expose_secret());
    assert_eq!(world.events(created.id).await, ["create.asked", "create.done"]);
    let operations = world.store.operations_of(created.id).await.unwrap();
    assert_eq!(operations.len(), 1);
    assert_eq!((operations[0].kind, operations[0].state), (OperationKind::Create, OperationState::Done));
    assert!(operations[0].steps.iter().all(|s| s.state == StepState::Done && s.attempts == 1));
}

#[tokio::test]
async fn the_steps_are_shown_as_they_happen() {
    let world = World::new().await;
    world.script.on(Call::ConfigureNetwork, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    let states: Vec<_> = world.show(id).await.progress.iter().map(|s| s.state).collect();
    assert_eq!(states, [StepState::Done, StepState::Done, StepState::Began, StepState::Waiting]);
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn a_long_step_says_what_it_does() {
    let world = World::new().await;
    world.script.on(Call::PrepareImage, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    let shown = world.show(id).await;
    assert_eq!(shown.progress[1].note.as_deref(), Some("simulated: no image is needed"));
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn the_lease_is_written_when_the_notebook_runs() {
    let world = World::new().await;
    world.script.on(Call::Initialize, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    world.time.advance(27_372);
    world.script.gate.add_permits(1);
    let running = world.reaches(id, Status::Running).await;
    assert_eq!(running.lease.duration_ms(), HOUR + 27_372);
    assert_eq!(running.lease.update_at().as_millis(), START + 27_372);
    assert_eq!(running.update_at.as_millis(), START + 27_372);
    assert_eq!(running.create_at.as_millis(), START);
}

#[tokio::test]
async fn stop_and_start_keep_the_volume_and_change_the_token() {
    let world = World::new().await;
    let id = world.running().await;
    let before = world.show(id).await;
    assert_eq!(world.stop(id).await.unwrap().status(), Status::Stopping);
    let stopped = world.reaches(id, Status::Stopped).await;
    assert_eq!(stopped.lease, before.lease, "a stop leaves the lease alone");
    assert_eq!(world.runtime.list().await.unwrap(), [id]);

    world.time.advance(1000);
    let starting = world.start(id).await.unwrap();
    assert_eq!(starting.status(), Status::Starting);
    assert_eq!(starting.lease.update_at().as_millis(), START + 1000);
    assert_ne!(starting.token.expose_secret(), before.token.expose_secret());
    assert_ne!(starting.upstream_secret.expose_secret(), before.upstream_secret.expose_secret());
    assert_eq!(starting.update_at, stopped.update_at, "a request does not move it");
    world.reaches(id, Status::Running).await;
    assert_eq!(world.engine.route(id).unwrap().token.expose_secret(), starting.token.expose_secret());
}

#[tokio::test]
async fn one_operation_at_a_time() {
    let world = World::new().await;
    world.script.on(Call::PrepareStorage, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    for refusal in [world.start(id).await.unwrap_err(), world.stop(id).await.unwrap_err()] {
        assert_eq!(refusal.code(), Code::Conflict);
        assert!(refusal.message().contains("CREATING"), "{refusal}");
    }
    let renewed = world.engine.renew(&World::caller('a'), "r", id, Grant::Never, LeaseKind::Timing).await;
    assert_eq!(renewed.unwrap_err().code(), Code::NotRunning);
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
    assert_eq!(world.start(id).await.unwrap_err().code(), Code::Conflict);
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    assert_eq!(world.stop(id).await.unwrap_err().code(), Code::Conflict);
}

#[tokio::test]
async fn of_many_stops_at_once_one_wins() {
    let world = World::new().await;
    let id = world.running().await;
    let stops = futures_util::future::join_all((0..20).map(|_| world.stop(id))).await;
    assert_eq!(stops.iter().filter(|s| s.is_ok()).count(), 1);
    assert!(stops.into_iter().filter_map(Result::err).all(|e| e.code() == Code::Conflict));
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_deletion_interrupts_every_step_of_a_creation() {
    for call in
        [Call::PrepareStorage, Call::PrepareImage, Call::PrepareCompute, Call::ConfigureNetwork, Call::Initialize]
    {
        let world = World::new().await;
        world.script.on(call, Turn::Waits);
        let id = world.create().await;
        world.script.reached().await;
        // The gate stays shut: only the interruption lets the creation go.
        assert_eq!(world.delete(id).await.unwrap().status(), Status::Deleting, "{call:?}");
        world.vanishes(id).await;
        let operations = world.store.operations_of(id).await.unwrap();
        assert_eq!(operations[0].state, OperationState::Cancelled, "{call:?}");
        assert_eq!(operations[1].state, OperationState::Done, "{call:?}");
    }
}

#[tokio::test]
async fn a_deletion_is_accepted_while_deleting_with_the_same_answer() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::Stop, Turn::Waits);
    world.delete(id).await.unwrap();
    world.script.reached().await;
    assert_eq!(world.delete(id).await.unwrap().status(), Status::Deleting);
    world.script.gate.add_permits(2);
    world.vanishes(id).await;
    assert_eq!(world.delete(id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.events(id).await, ["create.asked", "create.done", "delete.asked", "delete.done"]);
}

#[tokio::test]
async fn a_failed_creation_holds_nothing_and_says_why() {
    for call in [Call::PrepareStorage, Call::PrepareImage, Call::PrepareCompute, Call::ConfigureNetwork] {
        let world = World::new().await;
        world.script.fails(call, 1, RuntimeError::Permanent);
        let id = world.create().await;
        let failed = world.reaches(id, Status::CreateFailed).await;
        assert!(failed.fail_reason.unwrap().contains("injected"), "{call:?}");
        assert_eq!(world.runtime.list().await.unwrap(), [], "{call:?}");
        assert_eq!(world.events(id).await, ["create.asked", "create.failed"]);
        assert_eq!(world.start(id).await.unwrap_err().code(), Code::Conflict);
        world.delete(id).await.unwrap();
        world.vanishes(id).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_come_up_keeps_its_volume_and_can_be_started_again() {
    let world = World::new().await;
    world.script.fails(Call::Initialize, 1, RuntimeError::Permanent);
    let id = world.create().await;
    let failed = world.reaches(id, Status::StartFailed).await;
    assert!(failed.fail_reason.is_some());
    assert_eq!(world.runtime.list().await.unwrap(), [id]);
    world.start(id).await.unwrap();
    let running = world.reaches(id, Status::Running).await;
    assert_eq!(running.fail_reason, None);
}

#[tokio::test]
async fn what_may_pass_is_tried_three_times() {
    let world = World::new().await;
    world.script.fails(Call::PrepareCompute, 2, RuntimeError::Transient);
    let id = world.create().await;
    world.reaches(id, Status::Running).await;

    world.script.fails(Call::PrepareCompute, 3, RuntimeError::Transient);
    let id = world.create().await;
    let failed = world.reaches(id, Status::CreateFailed).await;
    assert!(failed.fail_reason.unwrap().contains("tried 3 times"));
}

#[tokio::test]
async fn a_stop_that_fails_is_an_error_that_can_be_stopped_started_or_deleted() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.fails(Call::Stop, 1, RuntimeError::Permanent);
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Error).await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_deletion_that_fails_can_be_tried_again() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.fails(Call::SetAside, 1, RuntimeError::Permanent);
    world.delete(id).await.unwrap();
    let failed = world.reaches(id, Status::DeleteFailed).await;
    assert!(failed.fail_reason.unwrap().contains("remove the storage"));
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
}

#[tokio::test]
async fn a_lease_stops_its_notebook_when_it_is_over_and_not_before() {
    let world = World::new().await;
    let id = world.running().await;
    world.time.advance(HOUR - 1);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    world.time.advance(1);
    world.reaches(id, Status::Stopped).await;
    let events = world.store.events(id, None, 10).await.unwrap();
    let asked = events.iter().find(|e| e.what == "stop.asked").unwrap();
    assert_eq!(asked.at.as_millis(), START + HOUR);
    assert_eq!(asked.origin.actor, atelier_core::caller::Actor::Lease);
    assert!(asked.why.contains("3600000 ms"), "{}", asked.why);
}

#[tokio::test]
async fn a_renewed_lease_counts_from_the_renewal() {
    let world = World::new().await;
    let id = world.running().await;
    world.time.advance(HOUR / 2);
    let caller = World::caller('a');
    let lease = world.engine.renew(&caller, "r", id, Grant::Millis(HOUR), LeaseKind::Timing).await.unwrap();
    assert_eq!(lease.duration_ms(), HOUR + HOUR / 2);
    world.time.advance(HOUR / 2);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    world.time.advance(HOUR / 2);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn without_automatic_stop_nothing_stops() {
    let world = World::new().await;
    let id = world.running().await;
    let caller = World::caller('a');
    world.engine.renew(&caller, "r", id, Grant::Never, LeaseKind::Timing).await.unwrap();
    world.time.advance(1000 * HOUR);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    // What was asked for the last time holds for the next start.
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    assert!(!world.start(id).await.unwrap().lease.is_enabled());
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn a_lease_that_is_looked_at_too_early_is_not_forgotten() {
    let world = World::new().await;
    let id = world.running().await;
    // What the lease clock does when the wall clock is set back between its waking and the look at the notebook.
    world.engine.inner.leases.set(id, None);
    world.engine.stop_by_lease(id).await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    world.time.advance(HOUR);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_lease_that_ended_while_the_server_was_away_stops_the_notebook_at_its_start() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.engine.shut_down().await;
    world.time.advance(2 * HOUR);
    world.restart().await;
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn an_operation_goes_on_after_a_restart_at_every_step() {
    for call in [Call::PrepareStorage, Call::PrepareCompute, Call::ConfigureNetwork, Call::Initialize] {
        let mut world = World::new().await;
        world.script.on(call, Turn::Waits);
        let id = world.create().await;
        world.script.reached().await;
        world.restart().await;
        let running = world.reaches(id, Status::Running).await;
        assert!(running.ever_ran, "{call:?}");
        let operations = world.store.operations_of(id).await.unwrap();
        assert_eq!(operations.len(), 1, "{call:?}: it is the same operation");
        assert_eq!(operations[0].steps.iter().map(|s| s.attempts).sum::<u32>(), 5, "{call:?}: one step began twice");
    }
}

#[tokio::test]
async fn an_undo_goes_on_after_a_restart() {
    let mut world = World::new().await;
    world.script.fails(Call::PrepareCompute, 1, RuntimeError::Permanent);
    world.script.on(Call::DiscardStorage, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    // The store is closed under the waiting undo, as a kill would do it.
    let (store, folder) = (world.store.clone(), world.folder.path().to_owned());
    store.close().await;
    let (store, runtime, engine) = open(&folder, &world.time, &world.script, &world.entropy).await;
    (world.store, world.runtime, world.engine) = (store, runtime, engine);
    world.reaches(id, Status::CreateFailed).await;
    assert_eq!(world.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn not_being_able_to_ask_changes_nothing() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.fails(Call::Observe, 1, RuntimeError::Transient);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
}

#[tokio::test]
async fn other_peoples_notebooks_do_not_exist() {
    let world = World::new().await;
    let id = world.running().await;
    let other = World::caller('b');
    let refusals = [
        world.engine.show(&other, id).await.unwrap_err(),
        world.engine.stop(&other, "r", id).await.unwrap_err(),
        world.engine.start(&other, "r", id, None, None).await.unwrap_err(),
        world.engine.delete(&other, "r", id).await.unwrap_err(),
        world.engine.lease(&other, id).await.unwrap_err(),
        world.engine.renew(&other, "r", id, Grant::Never, LeaseKind::Timing).await.unwrap_err(),
        world.engine.events(&other, id, None, 10).await.unwrap_err(),
    ];
    let missing = world.engine.show(&other, NotebookId::from_uuid(uuid::Uuid::nil())).await.unwrap_err();
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::NotFound);
        assert_eq!(
            refusal.message().replace(&id.to_string(), "X"),
            missing.message().replace(&uuid::Uuid::nil().to_string(), "X")
        );
    }
    assert_eq!(world.show(id).await.status(), Status::Running);
}

#[tokio::test]
async fn quota_and_capacity_end_creations_with_their_codes() {
    let world = World::new().await;
    let caller = World::caller('a');
    let with = |flavor: &str| CreateNotebook { size: Size::Flavor(flavor.into()), ..World::wish("nb") };
    let code = async |who: &Caller, wish| world.engine.create(who, "r", wish).await.map(|n| n.id).map_err(|e| e.code());
    assert_eq!(code(&caller, with("no-such-flavor")).await, Err(Code::UnknownFlavor));
    assert_eq!(code(&caller, with("modelarts.vm.cpu.8u")).await, Err(Code::FlavorSoldOut));
    let odd = CreateNotebook { image_id: "00000000-0000-0000-0000-000000000000".parse().unwrap(), ..World::wish("nb") };
    assert_eq!(code(&caller, odd).await, Err(Code::UnknownImage));

    let first = code(&caller, with("modelarts.vm.cpu.2u")).await.unwrap();
    world.reaches(first, Status::Running).await;
    let other = World::caller('b');
    let second = code(&other, with("modelarts.vm.cpu.2u")).await.unwrap();
    assert_eq!(code(&caller, with("atelier.cpu.small")).await, Err(Code::FlavorSoldOut), "4 of 4 CPUs are held");
    assert!(world.engine.flavors().await.unwrap().iter().all(|f| f.sold_out));

    world.stop(first).await.unwrap();
    world.reaches(first, Status::Stopped).await;
    for _ in 0..2 {
        code(&caller, with("atelier.cpu.small")).await.unwrap();
    }
    assert_eq!(code(&caller, with("atelier.cpu.small")).await, Err(Code::QuotaExhausted));
    assert_eq!(world.start(first).await.unwrap_err().code(), Code::NoCapacity, "2 + 2 × 0.5 of 4 are held");
    world.engine.delete(&other, "r", second).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_its_command() {
    let world = World::new().await;
    let (caller, wish) = (World::caller('a'), World::wish("nb"));
    let mut changes = world.engine.route_changes();
    {
        let create = world.engine.create(&caller, "r", wish);
        tokio::pin!(create);
        // One poll sends the command off; then the client is gone.
        let _ = futures_util::poll!(create.as_mut());
        while world.engine.inner.tasks.len() < 3 {
            let _ = futures_util::poll!(create.as_mut());
            tokio::task::yield_now().await;
        }
    }
    changes.changed().await.unwrap();
    let page = world.store.notebook_ids().await.unwrap();
    assert_eq!(page.len(), 1);
    world.reaches(page[0].0, Status::Running).await;
}
