//! The hooks of this container: what was begun, until when each may run, and how it ended.
//!
//! A hook is begun once: a server that asks again, because it was ended between asking and being answered, or because it
//! starts the notebook server once more, finds what it asked for. The end of a hook is the end of its own process. What it
//! has left running goes on, as what a user leaves running does; a hook that is over its time is killed with all of its
//! process group.

use atelier_init::protocol::{Hook, HookEnded, RunHook};

use crate::log::Log;
use crate::{child, system};

struct Known {
    hook: Hook,
    /// While it runs.
    pid: Option<i32>,
    began: u64,
    /// When it is killed, by the monotonic clock.
    kill_at: Option<u64>,
    over_limit: bool,
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
        let mut known = Known { hook, pid: None, began, kill_at: None, over_limit: false };
        log.limit(asked.program.log);
        match started {
            Ok(started) => {
                known.pid = Some(started.pid);
                known.kill_at = Some(began.saturating_add(asked.limit_ms));
                log.follow_hook(&asked.name, started.output);
            }
            Err(why) => known.end(None, why, log),
        }
        self.0.push(known);
    }

    /// Whether the process that has ended was a hook.
    pub(crate) fn reaped(&mut self, pid: i32, status: i32, log: &mut Log) -> bool {
        let Some(known) = self.0.iter_mut().find(|known| known.pid == Some(pid)) else { return false };
        let said = log.said(&known.hook.name);
        known.end(Some(status), said, log);
        true
    }

    /// When the next one is killed.
    pub(crate) fn next_kill(&self) -> Option<u64> {
        self.0.iter().filter_map(|known| known.kill_at).min()
    }

    /// Kills those whose time is over.
    pub(crate) fn kill_when_due(&mut self) {
        let now = system::monotonic_ms();
        for known in &mut self.0 {
            if let Some(pid) = known.pid
                && known.kill_at.is_some_and(|at| now >= at)
            {
                // It leads a session, and so a process group, of its own.
                system::signal(-pid, libc::SIGKILL);
                known.kill_at = None;
                known.over_limit = true;
            }
        }
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
    fn end(&mut self, status: Option<i32>, said: String, log: &mut Log) {
        let millis = system::monotonic_ms().saturating_sub(self.began);
        let how = match status {
            None => format!("could not be started: {said}"),
            Some(_) if self.over_limit => format!("was killed after {millis} ms: its time was over"),
            Some(status) => format!("ended with status {} after {millis} ms", system::exit_code(status)),
        };
        log.note(&self.hook.name, &how);
        self.pid = None;
        self.kill_at = None;
        self.hook.ended = Some(HookEnded { status, over_limit: self.over_limit, millis, said, told: false });
    }
}
