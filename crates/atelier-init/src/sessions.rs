//! Commands that run beside the notebook server, each in a session of its own.
//!
//! Whoever asked for a command holds a connection for as long as it runs. When the connection is closed the session is
//! hung up, as a terminal does it, and what has not ended a moment later is killed. The command's own end is the end of
//! its session: what it left behind is killed, unless it has made itself a session of its own.

use std::os::fd::OwnedFd;

use atelier_init::protocol::{Ended, Exec, ExecEnd, VERSION};
use rustix::process::Signal;

use crate::child;
use crate::control::{Connection, Control};
use crate::system;

/// How long a session may take to end when it was hung up.
const FAREWELL_MS: u64 = 2000;
/// How soon it is looked at again whether all of a session has ended: what forks while it is killed is found then.
pub(crate) const AGAIN_MS: u64 = 20;

/// The commands that run, and the sessions of those that have ended.
#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

struct Session {
    /// The command, which leads the session and names it.
    leader: i32,
    connection: Connection,
    /// Keeps the command's input open.
    input: Option<OwnedFd>,
    stage: Stage,
}

/// Times are by the monotonic clock.
#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// It was hung up, and is killed at this time.
    HungUp(u64),
    /// What there still is of it is killed, at this time once more.
    Killed(u64),
}

impl Sessions {
    /// Starts a command for this connection, with the descriptors that it sent.
    pub(crate) fn start(&mut self, command: &Exec, connection: Connection, passed: Vec<OwnedFd>) -> Result<(), String> {
        if self.0.iter().any(|session| session.connection == connection) {
            return Err("this connection has a command already".into());
        }
        let [read, write, errors, input] =
            <[OwnedFd; 4]>::try_from(passed).map_err(|_| "four descriptors must come with the request")?;
        let leader = child::exec(command, [read, write, errors])?;
        self.0.push(Session { leader, connection, input: Some(input), stage: Stage::Running });
        Ok(())
    }

    /// The input of this connection's command has ended.
    pub(crate) fn end_input(&mut self, connection: Connection) {
        for session in self.0.iter_mut().filter(|session| session.connection == connection) {
            session.input = None;
        }
    }

    /// A process has ended. If it was a command, whoever asked for it is told, and the rest of its session is killed.
    pub(crate) fn ended(&mut self, pid: i32, status: i32, control: &mut Control) {
        // A session whose leader was told of already may still hold that number, so the newest one is meant.
        let Some(session) = self.0.iter_mut().rev().find(|session| session.leader == pid) else { return };
        let ended = Ended { code: system::exit_code(status), status, when: system::wall_clock_ms() };
        session.kill();
        control.answer(session.connection, &ExecEnd { version: VERSION, ended });
    }

    /// When [`Sessions::tend`] has something to do.
    pub(crate) fn due(&self) -> Option<u64> {
        self.0.iter().filter_map(|session| session.stage.due()).min()
    }

    /// Hangs up whose connection was closed, kills what is due, and forgets what has ended.
    pub(crate) fn tend(&mut self, control: &Control) {
        let now = system::monotonic_ms();
        self.0.retain_mut(|session| {
            if matches!(session.stage, Stage::Running) && !control.is_open(session.connection) {
                system::signal_session(session.leader, Signal::HUP);
                // What is stopped does not hear it otherwise.
                system::signal_session(session.leader, Signal::CONT);
                session.stage = Stage::HungUp(now + FAREWELL_MS);
            }
            session.stage.due().is_none_or(|due| now < due) || session.kill()
        });
    }
}

impl Session {
    /// Whether there was anything left of it.
    fn kill(&mut self) -> bool {
        self.stage = Stage::Killed(system::monotonic_ms() + AGAIN_MS);
        system::signal_session(self.leader, Signal::KILL)
    }
}

impl Stage {
    const fn due(self) -> Option<u64> {
        match self {
            Self::Running => None,
            Self::HungUp(at) | Self::Killed(at) => Some(at),
        }
    }
}
