//! The first process of a notebook's container.
//!
//! A static program that runs in any image. It reaps what dies, runs hooks and starts the notebook server when it is told
//! to, keeps their output in files of bounded size, and remembers how they ended. It stays when the server has ended, so that the container can still be asked why; only a signal or the end of the container ends it.
//!
//! It is root in the container with just the rights to become somebody else and to kill; what it starts has none.
//! Started with words, by ma-user, it is no init but one end of a copy ([`mod@copy`]), or what comes before a kernel
//! ([`mod@kernel`]): it is there in any image.
//!
//! One thread, one loop over `poll`: nothing here may block on something that the notebook's user controls.

mod child;
mod control;
mod copy;
mod hooks;
mod kernel;
mod log;
mod sessions;
mod signals;
mod syncs;
mod system;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use atelier_init::protocol::{Answer, Command, Ended, FOLDER, LogLimits, Request, State, VERSION};

use crate::control::{Connection, Control};
use crate::hooks::Hooks;
use crate::log::Log;
use crate::sessions::Sessions;
use crate::signals::Signals;
use crate::syncs::Syncs;

/// How long the server may take to end when the init itself is told to end.
const FAREWELL_MS: u64 = 10_000;

struct Init {
    signals: Signals,
    control: Control,
    log: Log,
    hooks: Hooks,
    sessions: Sessions,
    syncs: Syncs,
    state: State,
    /// When the running server is killed, by the monotonic clock.
    kill_at: Option<u64>,
    leaving: bool,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if let Some(task) = words.next() {
        return if task == "kernel" { kernel::run(words) } else { copy::run(&task, words) };
    }
    match Init::open().and_then(Init::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("init: {e}");
            ExitCode::FAILURE
        }
    }
}

impl Init {
    fn open() -> io::Result<Self> {
        system::hide_from_ptrace()?;
        let folder = Path::new(FOLDER);
        Ok(Self {
            signals: Signals::open()?,
            control: Control::listen(folder)?,
            log: Log::new(folder),
            hooks: Hooks::default(),
            sessions: Sessions::default(),
            syncs: Syncs::open(),
            state: State::Empty,
            kill_at: None,
            leaving: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        while !(self.leaving && self.running().is_none()) {
            self.wait()?;
            self.take_signals()?;
            self.log.pump();
            for (connection, request) in self.control.requests() {
                self.serve(connection, request);
            }
            self.sessions.tend(&self.control);
            self.syncs.tend();
            self.kill_when_due();
            if self.hooks.tend(&mut self.log) {
                self.tell_watchers();
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = vec![self.signals.as_fd()];
        fds.extend(self.log.sources());
        fds.extend(self.control.sources());
        fds.extend(self.syncs.sources());
        let due = self.kill_at.into_iter().chain(self.hooks.due()).chain(self.sessions.due()).min();
        let timeout = due.map(|at| at.saturating_sub(system::monotonic_ms()));
        system::wait_readable(&fds, timeout)
    }

    fn running(&self) -> Option<i32> {
        match self.state {
            State::Running { pid } => Some(pid),
            State::Empty | State::Ended(_) => None,
        }
    }

    fn take_signals(&mut self) -> io::Result<()> {
        if self.signals.told_to_end()? && !self.leaving {
            self.leaving = true;
            self.begin_stop(FAREWELL_MS);
        }
        while let Some((pid, status)) = system::reap() {
            if self.running() == Some(pid) {
                self.server_ended(status);
            } else if self.hooks.reaped(pid, status, &mut self.log) {
                self.tell_watchers();
            } else if !self.syncs.reaped(pid, status) {
                self.sessions.ended(pid, status, &mut self.control);
            }
        }
        Ok(())
    }

    fn server_ended(&mut self, status: i32) {
        let ended = Ended { code: system::exit_code(status), status, when: system::wall_clock_ms() };
        if let Err(e) = log::write_exit(Path::new(FOLDER), &ended) {
            eprintln!("init: cannot write the exit file: {e}");
        }
        if self.kill_at.take().is_some() {
            system::kill_everything_else();
        }
        self.state = State::Ended(ended);
        self.tell_watchers();
    }

    fn tell_watchers(&mut self) {
        let answer = self.answer(None);
        self.control.tell_watchers(&answer);
    }

    fn serve(&mut self, connection: Connection, request: Result<Request, String>) {
        let error = match request.map(|r| r.command) {
            Err(why) => Some(why),
            Ok(Command::Status) => None,
            Ok(Command::Watch) => {
                self.control.keep_watching(connection);
                None
            }
            Ok(Command::RunHook(hook)) => {
                self.hooks.begin(&hook, &mut self.log);
                None
            }
            Ok(Command::HookTold { name }) => {
                self.hooks.told(&name);
                None
            }
            Ok(Command::StartServer(server)) => self.start(&server).err(),
            Ok(Command::Exec(command)) => {
                let passed = self.control.take_passed(connection);
                self.sessions.start(&command, connection, passed).err()
            }
            // Nothing is answered: the next answer on this connection is the end of its command.
            Ok(Command::EndInput) => return self.sessions.end_input(connection),
            Ok(Command::AnswerSyncs) => self.answer_syncs(connection).err(),
            Ok(Command::AdoptServer { log }) => self.adopt(connection, log).err(),
            Ok(Command::Stop { grace_ms }) if self.running().is_some() => {
                self.begin_stop(grace_ms);
                return self.control.await_end(connection);
            }
            Ok(Command::Stop { .. }) => {
                system::kill_everything_else();
                None
            }
        };
        let answer = self.answer(error);
        self.control.answer(connection, &answer);
    }

    fn is_vacant(&self) -> Result<(), String> {
        if self.running().is_some() { Err("a notebook server runs already".into()) } else { Ok(()) }
    }

    fn start(&mut self, server: &atelier_init::protocol::StartServer) -> Result<(), String> {
        self.is_vacant()?;
        let started = child::start(server)?;
        self.runs(started.pid, started.output, server.log);
        Ok(())
    }

    /// Only what is a child of this process can be waited for; a number that has been given to somebody else is not.
    fn adopt(&mut self, connection: Connection, log: LogLimits) -> Result<(), String> {
        self.is_vacant()?;
        let (pid, output) = self.control.take_sender(connection)?;
        if system::parent_of(pid) != Some(1) {
            return Err(format!("process {pid} is no child of the init"));
        }
        system::set_nonblocking(&output).map_err(|e| format!("output: {e}"))?;
        self.runs(pid, output, log);
        Ok(())
    }

    fn answer_syncs(&mut self, connection: Connection) -> Result<(), String> {
        let (_, listener) = self.control.take_sender(connection)?;
        self.syncs.listen(listener);
        Ok(())
    }

    fn runs(&mut self, pid: i32, output: OwnedFd, log: LogLimits) {
        self.log.follow(output, log);
        self.state = State::Running { pid };
        self.tell_watchers();
    }

    /// Asks the server to end and sets the moment when it is killed. A second call can only bring that moment nearer.
    fn begin_stop(&mut self, grace_ms: u64) {
        let Some(pid) = self.running() else { return };
        let at = system::monotonic_ms().saturating_add(grace_ms);
        if self.kill_at.is_none() {
            system::signal(pid, libc::SIGTERM);
        }
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn kill_when_due(&mut self) {
        if let (Some(at), Some(pid)) = (self.kill_at, self.running())
            && system::monotonic_ms() >= at
        {
            system::signal(pid, libc::SIGKILL);
            // Its end arrives as a signal; there is nothing else to wait for.
            self.kill_at = Some(u64::MAX);
        }
    }

    fn answer(&self, error: Option<String>) -> Answer {
        let (state, hooks) = (self.state.clone(), self.hooks.list());
        Answer { version: VERSION, error, state, hooks, answers_syncs: self.syncs.are_answered() }
    }
}
