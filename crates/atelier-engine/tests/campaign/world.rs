//! A pretended machine on which servers live and die.
//!
//! Each life of the server is a tokio runtime of one thread with a paused clock. When the process dies, that runtime is
//! dropped with every task where it is, the store is opened anew, and another server begins on what is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use atelier_core::Clock as _;
use atelier_core::flavor::Capacity;
use atelier_core::id::NotebookId;
use atelier_core::lease::GrantRange;
use atelier_core::notebook::Notebook;
use atelier_core::status::Status;
use atelier_engine::{Engine, EngineConfig};
use atelier_runtime::simulated::{NoFaults, SimulatedRuntime};
use atelier_store_sqlite::Sealer;

use crate::check::{Memory, Scene, check_route};
use crate::deeds::Deeds;
use crate::entropy::Counting;
use crate::hand::Tasks;
use crate::injector::Injector;
use crate::plan::{Call, Command, Deed, Fault, Round, USERS};
use crate::runtime::FaultyRuntime;
use crate::store::{FaultyStore, Shelf};
use crate::time::VirtualTime;
use crate::users::{Errand, caller, everything, wait_for_answers};

const MACHINE: Capacity =
    Capacity { cpu_millis: 4000, memory_bytes: 16 << 30, cpu_overcommit: 1, memory_overcommit: 1 };
const BEGINNING: i64 = 1_800_000_000_000;
const QUOTA: u32 = 4;
/// How long volumes rest, in episodes with a trash: longer than an episode.
const TRASH_MS: i64 = 24 * 3_600_000;
/// How long a command may go without an answer, in milliseconds.
const PATIENCE_MS: i64 = 60_000;
/// The deadline of the longest operation: three tries of each step within its limit, and the way back.
const DEADLINE_MS: i64 = 900_000;
/// What the image adds to it when its preparation hangs.
const IMAGE_MS: i64 = 1_800_000;
/// What hooks add to it when their end is not heard of: two that are waited for, each for as long as it may run.
const HOOKS_MS: i64 = 1_300_000;
/// By when a server that ended runs again, or its notebook is in ERROR: attempts that take their whole limit with the pauses
/// before them, and looks that hang before any of it is seen.
const RESTARTS_MS: i64 = 1_200_000;
/// After the deadline.
const GRACE_MS: i64 = 30_000;

/// A life of the server.
struct Life {
    engine: Engine,
    // Last, so that the engine's tasks are dropped after the engine's own handle.
    tasks: tokio::runtime::Runtime,
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    time: Arc<VirtualTime>,
    injector: Arc<Injector>,
    entropy: Arc<Counting>,
    simulated: Arc<SimulatedRuntime>,
    round_began: Arc<AtomicI64>,
    shelf: Shelf,
    life: Option<Life>,
    memory: Memory,
    requests: u64,
    trash_ms: i64,
    /// What was done and answered, for people.
    pub(crate) history: Vec<String>,
    /// The faults that came about.
    pub(crate) met: Vec<Fault>,
}

impl World {
    pub(crate) fn new(trash: bool) -> Self {
        // In memory where there is such a folder: no power fails here, and there is much to be written.
        let memory = std::path::Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("atelier-campaign-").tempdir_in(place).unwrap();
        let entropy = Arc::new(Counting::new());
        let simulated = SimulatedRuntime::open(&folder.path().join("runtime"), MACHINE, Arc::new(NoFaults)).unwrap();
        let shelf = Shelf::open(&folder.path().join("db"), Sealer::new(&[7; 32], entropy.clone()));
        let mut world = Self {
            folder,
            time: Arc::new(VirtualTime::at(BEGINNING)),
            injector: Arc::new(Injector::new()),
            entropy,
            simulated: Arc::new(simulated),
            round_began: Arc::default(),
            shelf,
            life: None,
            memory: Memory::default(),
            requests: 0,
            trash_ms: if trash { TRASH_MS } else { 0 },
            history: Vec::new(),
            met: Vec::new(),
        };
        world.begin_life().unwrap();
        world
    }

    fn runtime_folder(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    /// One round, from its first fault to the last question.
    pub(crate) fn round(&mut self, round: &Round) -> Result<(), String> {
        self.history.push(format!("{round}"));
        self.round_began.store(self.time.passed(), Ordering::SeqCst);
        self.injector.arm(&round.faults, round.seed);
        let errands = self.errands(&round.commands);
        let asked: Vec<_> = errands.iter().map(|e| e.asked.clone()).collect();
        let outcome = self.act(round, errands).and_then(|()| self.settle(round));
        let asked: Vec<_> = asked.iter().map(|a| a.lock().unwrap().clone()).collect();
        for command in &asked {
            self.history.push(format!(
                "    {} {:?} {}: {:?}",
                command.request,
                command.act,
                command.notebook.map_or_else(String::new, |id| id.to_string()),
                command.answer
            ));
        }
        self.met.extend(self.injector.disarm());
        self.memory.remember(asked);
        outcome?;
        self.check_within(round)
    }

    /// Asks everything; what looks every so often may need another look.
    fn check_within(&mut self, round: &Round) -> Result<(), String> {
        let ends = round.faults.iter().any(|fault| matches!(fault, Fault::ServerEnds(_)));
        let restarts = if ends { RESTARTS_MS } else { 0 };
        let end = self.time.passed() + 2 * GRACE_MS + stuck(round) + restarts;
        loop {
            let checked = self.check(undo_works(round));
            if checked.is_ok() || self.time.passed() >= end {
                return checked;
            }
            self.live(async |_| tokio::time::sleep(Duration::from_secs(10)).await)?;
        }
    }

    /// Runs `work` in the present life. `None`: the process died, and another one lives.
    fn live<T>(&mut self, work: impl AsyncFnOnce(&Engine) -> T) -> Result<Option<T>, String> {
        let life = self.life.as_ref().unwrap();
        let (time, injector) = (&self.time, &self.injector);
        let outcome = life.tasks.block_on(async {
            time.begin();
            let outcome = tokio::select! {
                biased;
                () = injector.death() => None,
                outcome = work(&life.engine) => Some(outcome),
            };
            time.end();
            outcome
        });
        if outcome.is_none() {
            self.history.push("    the process dies".into());
            self.begin_life()?;
        }
        Ok(outcome)
    }

    /// Another process begins on what the last one left. It may die on the way, or be refused, and is begun again, as by
    /// a supervisor.
    fn begin_life(&mut self) -> Result<(), String> {
        let mut refused = String::new();
        for _ in 0..60 {
            self.life = None;
            self.injector.revive();
            self.shelf = Shelf::open(&self.folder.path().join("db"), Sealer::new(&[7; 32], self.entropy.clone()));
            let tasks = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let opened = tasks.block_on(async {
                self.time.begin();
                let opened = tokio::select! {
                    biased;
                    () = self.injector.death() => Err("the process dies at its start".to_owned()),
                    opened = tokio::time::timeout(Duration::from_mins(2), self.open()) => match opened {
                        Ok(opened) => opened.map_err(|e| e.to_string()),
                        Err(_) => Err("no start within two minutes".to_owned()),
                    },
                };
                if opened.is_err() {
                    // As long as a supervisor waits.
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                self.time.end();
                opened
            });
            match opened {
                Ok(engine) => {
                    self.life = Some(Life { engine, tasks });
                    return Ok(());
                }
                Err(reason) => refused = reason,
            }
            self.history.push(format!("    {refused}"));
        }
        Err(format!("the server does not start: {refused}"))
    }

    async fn open(&self) -> Result<Engine, atelier_engine::OpenError> {
        let store = FaultyStore {
            shelf: self.shelf.clone(),
            injector: self.injector.clone(),
            time: self.time.clone(),
            round_began: self.round_began.clone(),
        };
        let runtime = FaultyRuntime { inner: self.simulated.clone(), injector: self.injector.clone() };
        let config = EngineConfig {
            grants: GrantRange::CONTRACT,
            notebooks_per_user: QUOTA,
            cpu_overcommit: 1,
            memory_overcommit: 1,
            trash_ms: self.trash_ms,
            hand: Arc::new(Tasks),
            ..EngineConfig::default()
        };
        Engine::open(config, Arc::new(store), Arc::new(runtime), self.time.clone(), self.entropy.clone()).await
    }

    fn rows(&self) -> Vec<Notebook> {
        self.shelf.statuses().into_iter().filter_map(|(id, _)| self.shelf.notebook(id)).collect()
    }

    /// Finds out what each command is about.
    fn errands(&mut self, commands: &[Command]) -> Vec<Errand> {
        let rows = self.rows();
        commands.iter().filter_map(|command| self.errand(*command, &rows)).collect()
    }

    fn errand(&mut self, command: Command, rows: &[Notebook]) -> Option<Errand> {
        let request = format!("r{}", self.requests + 1);
        let errand = Errand::new(command, rows, request)?;
        self.requests += 1;
        let asked = errand.asked();
        self.memory.grants.insert(asked.request, asked.grant);
        Some(errand)
    }

    /// Sends the commands and brings about what needs no call.
    fn act(&mut self, round: &Round, errands: Vec<Errand>) -> Result<(), String> {
        let stays: Vec<_> = errands.iter().filter(|e| e.stays()).map(|e| e.asked.clone()).collect();
        let deeds = Deeds {
            time: self.time.clone(),
            entropy: self.entropy.clone(),
            simulated: self.simulated.clone(),
            injector: self.injector.clone(),
        };
        let running: Vec<_> = self.rows().into_iter().filter(|r| r.status() == Status::Running).map(|r| r.id).collect();
        let folder = self.runtime_folder();
        let faults = round.faults.clone();
        let wait = Duration::from_millis(round.wait_ms.into());
        let began = self.time.clone();
        let silent = self.live(async move |engine| {
            tokio::time::sleep(wait).await;
            for errand in errands {
                errand.send(engine.clone());
            }
            for fault in faults {
                deeds.bring_about(fault, &running, &folder).await;
            }
            wait_for_answers(&began, &stays, PATIENCE_MS).await
        })?;
        match silent {
            Some(Some(request)) => Err(format!("{request} has no answer after {PATIENCE_MS} ms")),
            _ if round.faults.contains(&Fault::Restart) => self.restart(),
            _ if round.faults.contains(&Fault::Reboot) => self.reboot(),
            _ => Ok(()),
        }
    }

    /// The machine goes away and comes back.
    fn reboot(&mut self) -> Result<(), String> {
        self.life = None;
        self.simulated.reboot().map_err(|e| e.to_string())?;
        self.time.boot_again();
        self.injector.did(Fault::Reboot);
        self.history.push("    the machine is rebooted".into());
        self.begin_life()
    }

    /// Ends the process in order and begins another.
    fn restart(&mut self) -> Result<(), String> {
        let ended =
            self.live(async |engine| tokio::time::timeout(Duration::from_mins(1), engine.shut_down()).await.is_ok())?;
        match ended {
            Some(false) => return Err("the engine does not shut down within a minute".into()),
            Some(true) => self.shelf.close(),
            None => return Ok(()),
        }
        self.injector.did(Fault::Restart);
        self.history.push("    the process is started again".into());
        self.begin_life()
    }

    /// Lets everything come to rest, and longer, so that calls that do not let go have ended, and what looks every so
    /// often has looked.
    fn settle(&mut self, round: &Round) -> Result<(), String> {
        self.come_to_rest(round)?;
        let rest = Duration::from_millis((GRACE_MS + 1000 + stuck(round)).unsigned_abs());
        while self.live(async |_| tokio::time::sleep(rest).await)?.is_none() {}
        self.come_to_rest(round)
    }

    /// Waits until nothing is under way; that must be by the deadline, counted from the last death.
    fn come_to_rest(&mut self, round: &Round) -> Result<(), String> {
        let deadline = deadline(round);
        loop {
            let (store, time) = (self.shelf.clone(), self.time.clone());
            let rested = self.live(async move |_| {
                let began = time.passed();
                let mut nap = 100;
                while is_under_way(&store) {
                    if time.passed() - began > deadline + GRACE_MS {
                        return Err(format!(
                            "{} ms after the deadline: {:?}, under way {:?}",
                            GRACE_MS,
                            store.statuses(),
                            store.unfinished()
                        ));
                    }
                    tokio::time::sleep(Duration::from_millis(nap)).await;
                    nap = (nap * 2).min(10_000);
                }
                Ok(())
            })?;
            if let Some(rested) = rested {
                return rested;
            }
        }
    }

    /// Asks everything.
    fn check(&mut self, undo_works: bool) -> Result<(), String> {
        let folder = self.runtime_folder();
        let now = self.time.now();
        self.memory.check(&Scene { shelf: &self.shelf, runtime: &folder, capacity: MACHINE, now, undo_works })?;
        let (store, known) = (self.shelf.clone(), self.memory.known());
        let checked = self.live(async move |engine| check_engine(engine, &store, &known).await)?;
        checked.unwrap_or_else(|| Err("the process dies while nothing is wrong".into()))
    }
}

/// What only the engine can say: routes and lists.
async fn check_engine(engine: &Engine, shelf: &Shelf, known: &[NotebookId]) -> Result<(), String> {
    for id in known {
        check_route(engine.route(*id), shelf.notebook(*id).as_ref()).map_err(|e| format!("notebook {id}: {e}"))?;
    }
    for user in 0..USERS {
        let caller = caller(user);
        let page = engine.list(&caller, everything()).await.map_err(|e| format!("a list is refused: {e}"))?;
        let mut listed: Vec<_> = page.items.iter().map(|n| n.id).collect();
        let mut kept: Vec<_> =
            known.iter().filter(|id| shelf.notebook(**id).is_some_and(|n| n.owner.user_id == caller.user_id)).collect();
        listed.sort_unstable();
        kept.sort_unstable();
        if !listed.iter().eq(kept) {
            return Err(format!("user {user} is shown {listed:?}"));
        }
    }
    Ok(())
}

fn is_under_way(shelf: &Shelf) -> bool {
    !shelf.unfinished().is_empty() || shelf.statuses().iter().any(|(_, status)| !status.is_stable())
}

/// By when everything must rest, in milliseconds from the last death.
fn deadline(round: &Round) -> i64 {
    let adds = |fault: &Fault| match *fault {
        Fault::Call(Call::PrepareImage, Deed::Hang | Deed::Delay(_) | Deed::Stuck(_), _) => IMAGE_MS,
        Fault::Call(Call::HookEnd, Deed::Hang | Deed::Delay(_) | Deed::Stuck(_), _) => HOOKS_MS,
        Fault::DiskFull(ms) | Fault::Locked(ms) | Fault::Commit(Deed::Delay(ms), _) => ms.into(),
        _ => 0,
    };
    DEADLINE_MS + stuck(round) + round.faults.iter().map(adds).sum::<i64>()
}

/// Whether what a failed operation has done can be taken back at once.
fn undo_works(round: &Round) -> bool {
    !round.faults.iter().any(|fault| {
        matches!(fault, Fault::Call(Call::Stop | Call::DiscardStorage, ..) | Fault::Call(_, Deed::Stuck(_), _))
    })
}

/// How long calls do not let go: what they leave is looked for when they have.
fn stuck(round: &Round) -> i64 {
    let ms = |fault: &Fault| match *fault {
        Fault::Call(_, Deed::Stuck(ms), times) => i64::from(ms) * i64::from(times),
        _ => 0,
    };
    round.faults.iter().map(ms).sum()
}
