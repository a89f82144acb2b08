//! The hooks of this container: what was begun, until when each may run, and how it ended.
//!
//! A hook is begun once: a server that asks again, because it was ended between asking and being answered, or because it
//! starts the notebook server once more, finds what it asked for. The end of a hook is the end of its own process. What it
//! has left running goes on, as what a user leaves running does. A hook that is over its time is killed with all of its
//! session, and has ended when nothing of that runs any more: who reads that it was killed may count on it.

use atelier_init::protocol::{Hook, HookEnded, RunHook};
use rustix::process::Signal;

use crate::log::Log;
use crate::sessions::AGAIN_MS;
use crate::{child, system};

/// For how long the end of a hook that was killed waits for the rest of its session: a process that no signal reaches,
/// or one that goes on to fork, holds up no start.
const LAST_MS: u64 = 2000;

struct Known {
    hook: Hook,
    began: u64,
    stage: Stage,
}

/// Times are by the monotonic clock.
enum Stage {
    Running {
        pid: i32,
        kill_at: u64,
    },
    /// Its time was over; `status` is known once its own process has ended.
    Killed {
        pid: i32,
        status: Option<i32>,
        look_again: u64,
        give_up: u64,
    },
    Ended,
}

/// Every hook that was begun.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Known>);

impl Hooks {
    /// Runs a hook, unless one of its name was begun before.
    pub(crate) fn begin(&mut self, asked: &RunHook, log: &mut Log) {
        if self.0.iter().any(|known| known.hook.name == asked.name) {
            return;
        }
        let began = system::monotonic_ms();
        let started = child::start(&asked.program);
        let hook = Hook { name: asked.name.clone(), ended: None };
        let mut known = Known { hook, began, stage: Stage::Ended };
        log.limit(asked.program.log);
        match started {
            Ok(started) => {
                known.stage = Stage::Running { pid: started.pid, kill_at: began.saturating_add(asked.limit_ms) };
                log.follow_hook(&asked.name, started.output);
            }
            Err(why) => known.end(None, why, log),
        }
        self.0.push(known);
    }

    /// Whether a hook has ended with this process.
    pub(crate) fn reaped(&mut self, pid: i32, status: i32, log: &mut Log) -> bool {
        let Some(known) = self.0.iter_mut().find(|known| known.stage.waits_for() == Some(pid)) else { return false };
        if let Stage::Killed { status: killed, .. } = &mut known.stage {
            *killed = Some(status);
            return known.kill_rest(log);
        }
        let said = log.said(&known.hook.name);
        known.end(Some(status), said, log);
        true
    }

    /// When [`Hooks::tend`] has something to do.
    pub(crate) fn due(&self) -> Option<u64> {
        self.0.iter().filter_map(|known| known.stage.due()).min()
    }

    /// Kills those whose time is over. Whether one of them has ended.
    pub(crate) fn tend(&mut self, log: &mut Log) -> bool {
        let now = system::monotonic_ms();
        let mut ended = false;
        for known in self.0.iter_mut().filter(|known| known.stage.due().is_some_and(|due| now >= due)) {
            ended |= known.kill_rest(log);
        }
        ended
    }

    /// People were told of its end.
    pub(crate) fn told(&mut self, name: &str) {
        let ends = self.0.iter_mut().filter(|known| known.hook.name == name);
        for end in ends.filter_map(|known| known.hook.ended.as_mut()) {
            end.told = true;
        }
    }

    pub(crate) fn list(&self) -> Vec<Hook> {
        self.0.iter().map(|known| known.hook.clone()).collect()
    }
}

impl Known {
    /// Kills what there is of its session. Whether the hook has ended with that.
    fn kill_rest(&mut self, log: &mut Log) -> bool {
        let now = system::monotonic_ms();
        let (pid, status, give_up) = match self.stage {
            Stage::Running { pid, .. } => (pid, None, u64::MAX),
            Stage::Killed { pid, status, give_up, .. } => (pid, status, give_up),
            Stage::Ended => return false,
        };
        if status.is_none() {
            // At once, which what goes on to fork cannot outrun. The number is safe: nobody has waited for it.
            system::signal(-pid, libc::SIGKILL);
        }
        let left = system::signal_session(pid, Signal::KILL);
        if let Some(status) = status
            && (!left || now >= give_up)
        {
            let said = log.said(&self.hook.name);
            self.end(Some(status), said, log);
            return true;
        }
        let give_up = if status.is_some() { give_up.min(now + LAST_MS) } else { give_up };
        self.stage = Stage::Killed { pid, status, look_again: now + AGAIN_MS, give_up };
        false
    }

    fn end(&mut self, status: Option<i32>, said: String, log: &mut Log) {
        let millis = system::monotonic_ms().saturating_sub(self.began);
        let over_limit = matches!(self.stage, Stage::Killed { .. });
        let how = match status {
            None => format!("could not be started: {said}"),
            Some(_) if over_limit => format!("was killed after {millis} ms: its time was over"),
            Some(status) => format!("ended with status {} after {millis} ms", system::exit_code(status)),
        };
        log.note(&self.hook.name, &how);
        self.stage = Stage::Ended;
        self.hook.ended = Some(HookEnded { status, over_limit, millis, said, told: false });
    }
}

impl Stage {
    /// The process whose end is still to come.
    const fn waits_for(&self) -> Option<i32> {
        match *self {
            Self::Running { pid, .. } | Self::Killed { pid, status: None, .. } => Some(pid),
            Self::Killed { .. } | Self::Ended => None,
        }
    }

    const fn due(&self) -> Option<u64> {
        match *self {
            Self::Running { kill_at: at, .. } | Self::Killed { look_again: at, .. } => Some(at),
            Self::Ended => None,
        }
    }
}
