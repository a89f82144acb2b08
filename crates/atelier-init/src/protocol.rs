//! The control protocol of the init: one JSON object per line, one answer line per request.
//!
//! Notebooks outlive upgrades of the server, so a server meets inits of earlier releases. The rules that keep this
//! working: every message carries [`VERSION`]; unknown fields are ignored by both sides; a command that an init does
//! not know is answered with an error and changes nothing; a field is never given another meaning.
//!
//! The socket is reachable for root only, on both sides: whoever may connect may start a process in the container.
//!
//! Besides the server the init runs *hooks*, each by its name once in the life of its container: it remembers how they
//! ended, and that somebody was told of it.
//!
//! The init has room for one notebook server. It starts it itself ([`Command::StartServer`]), or it is handed one that was
//! made elsewhere and is its child already ([`Command::AdoptServer`]). The state that it reports does not say which.

use serde::{Deserialize, Serialize};

/// The version of the protocol that this release speaks.
pub const VERSION: u32 = 1;

/// The notebook's user in the container, and the only group that it belongs to.
pub const USER: (u32, u32) = (1000, 100);
/// The init's own folder in the container.
pub const FOLDER: &str = "/run/atelier";
/// The control socket, below [`FOLDER`]. Its folder is closed to everyone but root.
pub const CONTROL_SOCKET: &str = "control/init.sock";
/// The socket, below [`FOLDER`], at which a kernel gets a control group of its own: the server listens, whoever connects is
/// put into a group, and hears of it by a line when that is done. Everybody in the container may connect.
pub const GROUPS_SOCKET: &str = "groups.sock";
/// The score by which kernels are killed for memory before the notebook server is, where a choice is to be made.
pub const KERNEL_OOM_SCORE: &str = "900";
/// How the notebook server ended, below [`FOLDER`]: an [`Ended`] as JSON.
pub const EXIT_FILE: &str = "exit";
/// The notebook server's log, below [`FOLDER`].
pub const LOG_FILE: &str = "log/server.log";
/// The longest line that either side accepts, in bytes.
pub const MAX_LINE: usize = 1 << 20;
/// The descriptor on which a server finds its secret, when it gets one: a pipe that can be read once.
pub const SECRET_FD: i32 = 3;

/// A request to the init.
#[derive(Serialize, Deserialize)]
pub struct Request {
    /// The version that the sender speaks.
    pub version: u32,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

impl Request {
    /// A request of this release.
    pub const fn new(command: Command) -> Self {
        Self { version: VERSION, command }
    }
}

/// What the init can be told.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Starts the notebook server. Refused while one runs.
    StartServer(Box<StartServer>),
    /// The sender, known by its connection, is the notebook server from here on, and what it writes can be read from
    /// the descriptor that comes with this. Refused while one runs, and to whoever is no child of the init.
    AdoptServer {
        /// How much of its output is kept.
        log: LogLimits,
    },
    /// Answers the calls of `sync` of the sender, and of all that it starts, if [`Answer::answers_syncs`]. It has installed
    /// the filter that asks for them ([`sync_filter`](crate::sync_filter)), and they are heard through the descriptor that
    /// comes with this.
    AnswerSyncs,
    /// Ends the notebook server and everything else in the container; answered when it has ended.
    Stop {
        /// How long it may take to end by itself.
        grace_ms: u64,
    },
    /// Runs a hook, unless one of its name was begun before; answered at once.
    RunHook(Box<RunHook>),
    /// Remembers that people were told how the hook of this name ended.
    HookTold {
        /// Its name.
        name: String,
    },
    /// Runs a command beside the notebook server, in a session of its own. With it come four descriptors: what the
    /// command reads and writes (0, 1, 2), and the writing end of what it reads, which is kept open until
    /// [`Command::EndInput`]. Answered at once, and once more, with an [`ExecEnd`], when the command has ended. Its
    /// connection is its life: when that is closed, the session is hung up, and killed a moment later. So a command
    /// never takes the loss of whoever asked for it for the end of its input. What is left of the session when the
    /// command ends is killed.
    Exec(Box<Exec>),
    /// The input of the command of this connection has ended.
    EndInput,
    /// Asks for the state.
    Status,
    /// Answers now and again after every change of the state, until the connection is closed.
    Watch,
}

/// How a notebook server is started.
#[derive(Serialize, Deserialize)]
pub struct StartServer {
    /// The program, by its absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: String,
    /// The user it runs as.
    pub uid: u32,
    /// The only group it belongs to.
    pub gid: u32,
    /// What it can read once from descriptor [`SECRET_FD`]: in no argument, environment or file, so that nothing that
    /// it starts inherits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Seccomp programs in hexadecimal digits, installed in this order.
    pub filters: Vec<String>,
    /// How much earlier than others it and its children are killed when memory runs out.
    pub oom_score_adj: u16,
    /// How much of its output is kept.
    pub log: LogLimits,
}

/// A hook to be run.
#[derive(Serialize, Deserialize)]
pub struct RunHook {
    /// Its name, which its lines in the log begin with.
    pub name: String,
    /// It is killed, with all of its session, when it has run for so long.
    pub limit_ms: u64,
    /// How it is started: as a notebook server is.
    #[serde(flatten)]
    pub program: StartServer,
}

/// How a command is started beside the notebook server.
#[derive(Serialize, Deserialize)]
pub struct Exec {
    /// The program, by its path or by a name that is looked for in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: String,
    /// The user it runs as.
    pub uid: u32,
    /// The only group it belongs to.
    pub gid: u32,
    /// Seccomp programs in hexadecimal digits, installed in this order.
    pub filters: Vec<String>,
    /// How much earlier than others it and its children are killed when memory runs out.
    pub oom_score_adj: u16,
    /// Whether what it reads is a terminal, which becomes that of its session.
    pub terminal: bool,
}

/// The end of a command.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecEnd {
    /// The version that the init speaks.
    pub version: u32,
    /// How it ended: [`CANNOT_BEGIN`], [`CANNOT_RUN`] and [`NOT_FOUND`] also when it did not begin.
    pub ended: Ended,
}

/// The code of a command for which the container could not be prepared.
pub const CANNOT_BEGIN: i32 = 125;
/// The code of a command whose program or working directory cannot be used.
pub const CANNOT_RUN: i32 = 126;
/// The code of a command whose program is not there.
pub const NOT_FOUND: i32 = 127;

/// How much of a server's output is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LogLimits {
    /// A file that reaches this size is put aside.
    pub file_bytes: u64,
    /// How many files there are at most, the present one included.
    pub files: u32,
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The version that the init speaks.
    pub version: u32,
    /// Why the request was refused, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The state after the request.
    pub state: State,
    /// The hooks that were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Whether it answers calls of `sync`. One of an earlier release does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answers_syncs: bool,
}

/// A hook that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// How it ended; `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<HookEnded>,
}

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEnded {
    /// The raw wait status; `None` when it could not be started, and `said` tells why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Whether it was killed because its time was over.
    pub over_limit: bool,
    /// How long it ran.
    pub millis: u64,
    /// The last of what it said.
    pub said: String,
    /// Whether people were told.
    pub told: bool,
}

/// What is known of the notebook server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// There was none yet.
    Empty,
    /// It runs.
    Running {
        /// Its process id within the container.
        pid: i32,
    },
    /// It ended.
    Ended(Ended),
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit code, or 128 + the signal's number.
    pub code: i32,
    /// The raw wait status.
    pub status: i32,
    /// When, in milliseconds since 1970 UTC.
    pub when: i64,
}

impl Ended {
    /// The end as a sentence for people.
    pub fn reason(&self) -> String {
        match self.status & 0x7f {
            0 => format!("the notebook server ended with code {}", self.code),
            9 => "the notebook server was killed (signal 9; out of memory is the usual cause)".into(),
            signal => format!("the notebook server was ended by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let text = serde_json::to_string(&Request::new(Command::Stop { grace_ms: 7 })).unwrap();
        assert_eq!(text, r#"{"version":1,"command":"stop","grace_ms":7}"#);
    }

    #[test]
    fn fields_of_later_releases_are_ignored() {
        let text = r#"{"version":9,"command":"status","colour":"blue"}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert!(matches!(request.command, Command::Status));
    }

    #[test]
    fn a_state_reads_back() {
        let ended = State::Ended(Ended { code: 137, status: 9, when: 5 });
        let text = serde_json::to_string(&ended).unwrap();
        assert_eq!(text, r#"{"state":"ended","code":137,"status":9,"when":5}"#);
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), ended);
    }

    #[test]
    fn the_reason_tells_codes_from_signals() {
        let ended = |code, status| Ended { code, status, when: 0 }.reason();
        assert_eq!(ended(3, 3 << 8), "the notebook server ended with code 3");
        assert!(ended(137, 9).contains("memory"));
        assert_eq!(ended(143, 15), "the notebook server was ended by signal 15");
    }
}
