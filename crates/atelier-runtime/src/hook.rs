//! Hooks as a runtime sees them: what to run, and how it ended.

use std::fmt;
use std::time::Duration;

use atelier_core::hook::{Action, Moment};

/// A hook to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    /// When, which is also its name.
    pub moment: Moment,
    /// What it does.
    pub action: Action,
    /// It is killed when it has run for so long.
    pub limit: Duration,
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With this status; 0 is success.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It ran for as long as it may, and was killed.
    OverLimit,
    /// It could not be started; what it "said" is why.
    NotStarted,
}

impl Fate {
    /// Whether it did what it was to do.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Status(0))
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::OverLimit => f.write_str("ran over its time and was killed"),
            Self::NotStarted => f.write_str("could not be started"),
        }
    }
}

/// The end of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEnd {
    /// How.
    pub fate: Fate,
    /// How long it ran.
    pub millis: u64,
    /// The last of what it said: the notebook's own words.
    pub said: String,
    /// Whether people were told: see [`Runtime::hook_told`](crate::Runtime::hook_told).
    pub told: bool,
}
