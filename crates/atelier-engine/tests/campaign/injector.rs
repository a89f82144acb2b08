//! Where faults are armed and meet their calls.
//!
//! Store and runtime of the engine are wrapped; each wrapper asks here what becomes of a call. Between the engine and
//! everything that outlives it there is nothing else, so these calls are all the places at which a death makes a
//! difference: before an effect, between an effect and its record, after a record.
//!
//! A process that died does nothing any more: from that moment on no call returns, and the world drops all its tasks
//! where they are.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use crate::plan::{Call, Deed, Fault};

/// The armed faults, and the death of the process.
pub(crate) struct Injector {
    state: Mutex<State>,
    death: Notify,
}

struct State {
    armed: Vec<Armed>,
    chance: StdRng,
    dead: bool,
}

struct Armed {
    fault: Fault,
    left: u8,
    fired: bool,
}

/// What a store does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    DiskFull,
    Locked,
}

impl Injector {
    pub(crate) fn new() -> Self {
        let state = State { armed: Vec::new(), chance: StdRng::seed_from_u64(0), dead: false };
        Self { state: Mutex::new(state), death: Notify::new() }
    }

    /// A round begins: these faults wait for their calls, and tasks take turns by this seed.
    pub(crate) fn arm(&self, faults: &[Fault], seed: u64) {
        let mut state = self.state.lock().unwrap();
        state.chance = StdRng::seed_from_u64(seed);
        state.armed = faults.iter().map(|&fault| Armed { fault, left: count(fault), fired: false }).collect();
    }

    /// What is armed and never met its call is taken away; what was met is returned.
    pub(crate) fn disarm(&self) -> Vec<Fault> {
        let mut state = self.state.lock().unwrap();
        state.armed.drain(..).filter(|a| a.fired).map(|a| a.fault).collect()
    }

    /// Faults that the round itself brings about are noted here.
    pub(crate) fn did(&self, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        for armed in state.armed.iter_mut().filter(|a| a.fault == fault) {
            armed.fired = true;
        }
    }

    /// A new process lives.
    pub(crate) fn revive(&self) {
        self.state.lock().unwrap().dead = false;
    }

    /// Returns when the process died.
    pub(crate) async fn death(&self) {
        loop {
            let told = self.death.notified();
            if self.state.lock().unwrap().dead {
                return;
            }
            told.await;
        }
    }

    /// The process dies here.
    pub(crate) async fn die(&self) -> ! {
        self.state.lock().unwrap().dead = true;
        self.death.notify_waiters();
        std::future::pending().await
    }

    /// Every call passes here before and after: others get their turn, and a process that died goes no further.
    pub(crate) async fn gate(&self) {
        let turns = self.state.lock().unwrap().chance.random_range(0..4);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.dies_here() {
            self.die().await;
        }
    }

    fn dies_here(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return true;
        }
        let counts = state.armed.iter_mut().find(|a| !a.fired && matches!(a.fault, Fault::Die(_)));
        counts.is_some_and(|armed| {
            armed.left = armed.left.saturating_sub(1);
            armed.fired = armed.left == 0;
            armed.fired
        })
    }

    /// What becomes of this call of the runtime.
    pub(crate) fn at_call(&self, call: Call) -> Option<Deed> {
        let mut state = self.state.lock().unwrap();
        state.armed.iter_mut().find_map(|armed| match armed.fault {
            Fault::Call(meant, deed, _) if meant == call && armed.left > 0 => {
                armed.left -= 1;
                armed.fired = true;
                Some(deed)
            }
            _ => None,
        })
    }

    /// What becomes of this commit.
    pub(crate) fn at_commit(&self) -> Option<Deed> {
        let mut state = self.state.lock().unwrap();
        state.armed.iter_mut().find_map(|armed| match armed.fault {
            Fault::Commit(deed, _) if !armed.fired => {
                armed.fired = armed.left == 0;
                armed.left = armed.left.saturating_sub(1);
                armed.fired.then_some(deed)
            }
            _ => None,
        })
    }

    /// Whether this read fails.
    pub(crate) fn at_read(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.armed.iter_mut().any(|armed| {
            if !matches!(armed.fault, Fault::Read(_)) || armed.fired {
                return false;
            }
            armed.fired = armed.left == 0;
            armed.left = armed.left.saturating_sub(1);
            armed.fired
        })
    }

    /// What the store suffers, `passed` milliseconds after the round began.
    pub(crate) fn trouble(&self, passed: i64) -> Option<Trouble> {
        let mut state = self.state.lock().unwrap();
        state.armed.iter_mut().find_map(|armed| {
            let (trouble, ms) = match armed.fault {
                Fault::DiskFull(ms) => (Trouble::DiskFull, ms),
                Fault::Locked(ms) => (Trouble::Locked, ms),
                _ => return None,
            };
            let suffers = passed < i64::from(ms);
            armed.fired |= suffers;
            suffers.then_some(trouble)
        })
    }
}

/// How often a fault meets a call, or after how many calls it comes.
const fn count(fault: Fault) -> u8 {
    match fault {
        Fault::Call(_, _, times) => times,
        Fault::Commit(_, skip) | Fault::Read(skip) => skip,
        Fault::Die(turns) => turns.saturating_add(1),
        _ => 1,
    }
}
