//! Whether anybody works in a notebook, or anything computes in it. An IDLE lease counts from the last such moment.
//!
//! A notebook is *looked at* every so often. A [`Look`] holds what was found by each of five signals, and a [`Watch`]
//! remembers what looks found over time: the verdict, and since when it holds.
//!
//! | signal | active when |
//! |---|---|
//! | kernels | one is busy (also when it is silent), starts or restarts, or did something since the last look |
//! | terminals | a program has one to itself, or something went through one since the last look |
//! | people | somebody saved, ran a cell, opened a page since the last look: the gateway tells |
//! | cpu | the instance took more, over the window, than the baseline and a margin |
//! | gpu | one of the instance's GPUs is busy for more than [`MOST_IDLE_GPU`] percent of the time |
//!
//! Three rules keep a notebook from being taken for idle wrongly. *Any* signal that is active makes it active. What
//! could not be asked is **unknown and not idle**: it counts as activity, up to a ceiling, so that a notebook server
//! that never answers again does not hold its machine for ever. And what was not looked at for a while (the server was
//! away, the machine slept, its clock jumped) is known no more: the watch begins anew, and its beginning counts as
//! activity.
//!
//! Times that the notebook tells of itself are compared with one another, never read: its clock, and whoever owns the
//! notebook, may tell anything. What matters is that they moved between two looks.

mod finding;
mod watch;

#[cfg(test)]
mod tests;

pub use finding::{Finding, Reading};
pub use watch::{News, Report, Watch};

use std::fmt;

use crate::clock::Timestamp;

/// What somebody answered, or why there is no answer.
pub type Answer<T> = Result<T, String>;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The kernels of the notebook server.
    Kernels,
    /// Its terminals.
    Terminals,
    /// People, through the gateway.
    People,
    /// The processor time of the whole instance.
    Cpu,
    /// How busy its GPUs are.
    Gpu,
}

impl Signal {
    /// Every signal, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Kernels, Self::Terminals, Self::People, Self::Cpu, Self::Gpu];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernels => "kernels",
            Self::Terminals => "terminals",
            Self::People => "people",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kernel, as its notebook server tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its id.
    pub id: String,
    /// What it does, in Jupyter's words: `idle`, `busy`, `starting` …
    pub state: String,
    /// Something that changes whenever it does something.
    pub mark: String,
}

/// A terminal, as its notebook server tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its name.
    pub name: String,
    /// Something that changes whenever something goes through it.
    pub mark: String,
}

/// What was found at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The kernels.
    pub kernels: Answer<Vec<Kernel>>,
    /// The terminals.
    pub terminals: Answer<Vec<Terminal>>,
    /// The programs that have a terminal to themselves, by name.
    pub foreground: Answer<Vec<String>>,
    /// When a person last did something through the gateway, as far as it remembers.
    pub person_at: Option<Timestamp>,
    /// The processor time that the instance has taken since it began, in microseconds.
    pub cpu_micros: Answer<u64>,
    /// For how many percent of the time each of its GPUs was busy lately.
    pub gpu_percents: Answer<Vec<u32>>,
}

/// The most percent of the time for which a GPU may be busy and still be idle, as the contract says.
pub const MOST_IDLE_GPU: u32 = 1;

/// By what a verdict is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Over how long processor time is averaged, in milliseconds.
    pub cpu_window_ms: i64,
    /// What an instance may take above its baseline and be idle, in thousandths of a CPU.
    pub cpu_margin_millis: u32,
    /// The most that a baseline may be, in thousandths of a CPU.
    pub cpu_baseline_most_millis: u32,
    /// How long what cannot be asked counts as activity, in milliseconds.
    pub unknown_ceiling_ms: i64,
    /// How long a kernel may say that it starts, and count as activity, without anything happening; milliseconds.
    pub starting_most_ms: i64,
    /// How long a notebook may go without a look and still be known, in milliseconds.
    pub gap_most_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            cpu_window_ms: 300_000,
            cpu_margin_millis: 30,
            cpu_baseline_most_millis: 20,
            unknown_ceiling_ms: 1_800_000,
            starting_most_ms: 600_000,
            gap_most_ms: 120_000,
        }
    }
}

/// What an idle instance of one image and flavor takes by itself: the lowest reading over a whole window that was ever
/// seen while nothing else was active.
///
/// A notebook that always computes must not teach that computing is idleness, so a baseline has an upper bound; and as
/// long as nothing was learnt it is zero, which takes a little too much for activity and nothing for idleness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline(Option<u32>);

impl Baseline {
    /// Takes a reading into account.
    pub fn learn(&mut self, millis: u32) {
        self.0 = Some(self.0.map_or(millis, |known| known.min(millis)));
    }

    /// The baseline in thousandths of a CPU.
    pub fn millis(self, rules: &Rules) -> u32 {
        self.0.unwrap_or(0).min(rules.cpu_baseline_most_millis)
    }

    /// What must be exceeded to be active, in thousandths of a CPU.
    pub fn threshold(self, rules: &Rules) -> u32 {
        self.millis(rules).saturating_add(rules.cpu_margin_millis)
    }
}

/// What the signals say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody works or something computes, for these reasons.
    Active(Vec<String>),
    /// Nobody and nothing has, since then.
    Idle(Timestamp),
    /// Nothing is active, but something could not be asked, for these reasons.
    Unknown(Vec<String>),
}

impl Verdict {
    /// Its name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active(_) => "active",
            Self::Idle(_) => "idle",
            Self::Unknown(_) => "unknown",
        }
    }
}
