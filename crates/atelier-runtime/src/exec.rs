//! Commands that people run in an instance beside its notebook server.

use std::fmt;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::RuntimeError;

/// A command to run.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// What is run.
    pub program: Program,
    /// What its environment has besides, or instead of, that of a terminal in the notebook.
    pub env: Vec<(String, String)>,
    /// Its working directory, from that of the notebook server on; that one when there is none.
    pub folder: Option<String>,
    /// The size of its terminal, when it shall have one.
    pub terminal: Option<WindowSize>,
}

impl fmt::Debug for ExecSpec {
    /// Arguments and environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSpec").field("program", &self.program.name()).finish_non_exhaustive()
    }
}

/// What is run in an instance.
#[derive(Clone, PartialEq, Eq)]
pub enum Program {
    /// A program, by its path or by a name that is looked for as a shell does, and its arguments; at least one word.
    Command(Vec<String>),
    /// Writes a stream of files (`atelier_init::archive`) of what is there.
    Send {
        /// Where it is, from the notebook server's working directory on.
        path: String,
    },
    /// Reads a stream of files.
    Receive {
        /// Where it comes to be, or the folder in which it does.
        path: String,
        /// What it is called in that folder.
        name: Option<String>,
    },
}

impl Program {
    /// What people are told of it: no argument.
    pub fn name(&self) -> &str {
        match self {
            Self::Command(words) => words.first().map_or("", String::as_str),
            Self::Send { .. } => "copy from the notebook",
            Self::Receive { .. } => "copy into the notebook",
        }
    }

    /// What [`Self::kind`] says of each.
    pub const KINDS: [&str; 3] = ["command", "send", "receive"];

    /// Which of the three it is, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command(_) => Self::KINDS[0],
            Self::Send { .. } => Self::KINDS[1],
            Self::Receive { .. } => Self::KINDS[2],
        }
    }
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A command that runs. Dropped, it is ended with everything that it has started, and it does not take that for the end of
/// its input.
pub struct Exec {
    /// What it reads. To shut this down is the end of its input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it writes. Ends with the command, also where something that it has started still could write.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// What it writes of errors; a terminal has one output for both.
    pub errors: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Gives its terminal another size; nothing happens without one.
    pub resize: Box<dyn Fn(WindowSize) + Send + Sync>,
    /// Its exit code when it has ended, 128 and the signal's number when a signal ended it; [`RuntimeError::Absent`] when
    /// its instance has.
    pub end: Pin<Box<dyn Future<Output = Result<i32, RuntimeError>> + Send>>,
}
