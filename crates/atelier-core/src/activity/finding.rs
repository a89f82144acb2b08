//! What one signal says in one look, compared with what it said before.

use std::collections::{HashMap, VecDeque};

use super::{Answer, Baseline, Kernel, Look, MOST_IDLE_GPU, Rules, Signal, Terminal};
use crate::clock::Timestamp;

/// What a signal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Active, for this reason.
    Active(String),
    /// Not active.
    Quiet,
    /// It could not be asked, for this reason.
    Unknown(String),
}

impl Reading {
    /// Its name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active(_) => "active",
            Self::Quiet => "quiet",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What a signal says, with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The signal.
    pub signal: Signal,
    /// What it says.
    pub reading: Reading,
    /// What was found, for people.
    pub value: String,
    /// What would be active, for people.
    pub threshold: String,
    /// When it was last seen active.
    pub last_active: Option<Timestamp>,
}

/// A kernel as it was at the last look.
#[derive(Clone, Debug)]
struct Known {
    state: String,
    mark: String,
    since: Timestamp,
}

/// What is remembered between looks.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    kernels: Option<HashMap<String, Known>>,
    terminals: Option<HashMap<String, String>>,
    cpu: VecDeque<(Timestamp, u64)>,
    began: Timestamp,
    looked: Option<Timestamp>,
}

/// What a signal says, and what was found.
pub(super) type Said = (Reading, String);

/// The most things that are named one by one.
const NAMED: usize = 3;

impl Memory {
    pub(super) const fn beginning(at: Timestamp) -> Self {
        Self { kernels: None, terminals: None, cpu: VecDeque::new(), began: at, looked: None }
    }

    pub(super) const fn looked(&self) -> Option<Timestamp> {
        self.looked
    }

    /// What each signal says, in the order of [`Signal::ALL`].
    pub(super) fn compare(&mut self, look: &Look, rules: &Rules, baseline: Baseline) -> [Said; 5] {
        let said = [
            self.kernels(&look.kernels, look.at, rules),
            self.terminals(&look.terminals, &look.foreground),
            self.people(look.person_at),
            self.cpu(&look.cpu_micros, look.at, rules, baseline),
            gpus(&look.gpu_percents),
        ];
        self.looked = Some(look.at);
        said
    }

    fn kernels(&mut self, answer: &Answer<Vec<Kernel>>, at: Timestamp, rules: &Rules) -> Said {
        let kernels = match answer {
            Ok(kernels) => kernels,
            Err(why) => return unknown(why),
        };
        let before = self.kernels.take();
        let (mut reasons, mut now) = (Vec::new(), HashMap::new());
        for kernel in kernels {
            let known = before.as_ref().and_then(|before| before.get(&kernel.id));
            let same = known.filter(|known| known.state == kernel.state && known.mark == kernel.mark);
            let since = same.map_or(at, |known| known.since.min(at));
            // At the first look nothing can have moved.
            let moved = before.is_some() && same.is_none();
            reasons.extend(kernel_is_active(kernel, moved, at.millis_since(since), rules));
            now.insert(kernel.id.clone(), Known { state: kernel.state.clone(), mark: kernel.mark.clone(), since });
        }
        self.kernels = Some(now);
        let states = kernels.iter().map(|kernel| kernel.state.as_str());
        (active_or_quiet(&reasons), counted(states))
    }

    fn terminals(&mut self, answer: &Answer<Vec<Terminal>>, foreground: &Answer<Vec<String>>) -> Said {
        let mut reasons: Vec<_> =
            foreground.iter().flatten().map(|program| format!("`{}` runs in a terminal", shown(program))).collect();
        if let Ok(terminals) = answer {
            let now = terminals.iter().map(|t| (t.name.clone(), t.mark.clone())).collect();
            if let Some(before) = self.terminals.replace(now) {
                let moved = terminals.iter().filter(|t| before.get(&t.name) != Some(&t.mark));
                reasons.extend(moved.map(|t| format!("terminal `{}` had traffic", shown(&t.name))));
            }
        }
        let open = answer.as_ref().map_or_else(|_| "not known how many open".into(), |t| format!("{} open", t.len()));
        let programs = foreground.iter().flatten().take(NAMED).map(|p| shown(p));
        let value = std::iter::once(open).chain(programs.map(|p| format!("`{p}` in the foreground")));
        let value = value.collect::<Vec<_>>().join(", ");
        match (answer, foreground) {
            (Err(why), _) | (_, Err(why)) if reasons.is_empty() => (Reading::Unknown(shown(why)), value),
            _ => (active_or_quiet(&reasons), value),
        }
    }

    fn people(&self, person_at: Option<Timestamp>) -> Said {
        let Some(at) = person_at else { return (Reading::Quiet, "nobody yet".into()) };
        let fresh = at > self.looked.unwrap_or(self.began);
        let reading = if fresh { Reading::Active("somebody works in it".into()) } else { Reading::Quiet };
        (reading, "somebody was there".into())
    }

    fn cpu(&mut self, answer: &Answer<u64>, at: Timestamp, rules: &Rules, baseline: Baseline) -> Said {
        let micros = match answer {
            Ok(micros) => *micros,
            Err(why) => return unknown(why),
        };
        // A counter that went back counts another instance, a clock that went back measures nothing.
        if self.cpu.back().is_some_and(|(then, before)| *before > micros || *then > at) {
            self.cpu.clear();
        }
        self.cpu.push_back((at, micros));
        while self.cpu.get(1).is_some_and(|(second, _)| at.millis_since(*second) >= rules.cpu_window_ms) {
            self.cpu.pop_front();
        }
        let Some((millis, over_ms)) = self.rate() else { return (Reading::Quiet, "measured from now on".into()) };
        let value = format!("{millis} thousandths of a CPU over {} s", over_ms / 1000);
        let threshold = baseline.threshold(rules);
        if millis > threshold {
            return (Reading::Active(format!("it takes {value}, more than {threshold}")), value);
        }
        (Reading::Quiet, value)
    }

    /// Thousandths of a CPU, and over how many milliseconds.
    fn rate(&self) -> Option<(u32, i64)> {
        let ((first_at, first), (last_at, last)) = (self.cpu.front()?, self.cpu.back()?);
        let over_ms = last_at.millis_since(*first_at);
        let millis = last.saturating_sub(*first) / u64::try_from(over_ms).ok().filter(|ms| *ms > 0)?;
        Some((u32::try_from(millis).unwrap_or(u32::MAX), over_ms))
    }

    /// The reading of the processor over a whole window.
    pub(super) fn steady_cpu(&self, rules: &Rules) -> Option<u32> {
        self.rate().filter(|(_, over_ms)| *over_ms >= rules.cpu_window_ms).map(|(millis, _)| millis)
    }
}

/// Nothing is remembered: the driver's figures are of the last moments, and not of one.
fn gpus(answer: &Answer<Vec<u32>>) -> Said {
    let percents = match answer {
        Ok(percents) => percents,
        Err(why) => return unknown(why),
    };
    let Some(busiest) = percents.iter().max() else { return (Reading::Quiet, "none".into()) };
    let value = match percents.len() {
        1 => format!("busy for {busiest} % of the time"),
        many => format!("{many}, the busiest for {busiest} % of the time"),
    };
    let reading = if *busiest > MOST_IDLE_GPU {
        Reading::Active(format!("a GPU is busy for {busiest} % of the time"))
    } else {
        Reading::Quiet
    };
    (reading, value)
}

/// Why this kernel is active, if it is. `moved`: since the last look; `unchanged_ms`: for so long it did not.
fn kernel_is_active(kernel: &Kernel, moved: bool, unchanged_ms: i64, rules: &Rules) -> Option<String> {
    let id = shown(kernel.id.get(..8).unwrap_or(&kernel.id));
    match kernel.state.as_str() {
        "idle" | "dead" if moved => Some(format!("kernel {id} did something")),
        "idle" | "dead" => None,
        // One that nobody ever spoke to may say so for ever.
        "starting" | "restarting" | "autorestarting" if unchanged_ms > rules.starting_most_ms => None,
        // Words that are not known here mean something, and idle they do not mean.
        state => Some(format!("kernel {id} is {}", shown(state))),
    }
}

fn unknown(why: &str) -> Said {
    (Reading::Unknown(shown(why)), "not known".into())
}

fn active_or_quiet(reasons: &[String]) -> Reading {
    match reasons {
        [] => Reading::Quiet,
        some if some.len() <= NAMED => Reading::Active(some.join(", ")),
        many => Reading::Active(format!("{} and {} more", many[..NAMED].join(", "), many.len() - NAMED)),
    }
}

/// `2 idle, 1 busy`: how many there are of each word.
fn counted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for word in words.map(shown) {
        match counts.iter().position(|(known, _)| *known == word) {
            Some(at) => counts[at].1 += 1,
            None if counts.len() > NAMED => counts[NAMED].1 += 1,
            None if counts.len() == NAMED => counts.push(("other".into(), 1)),
            None => counts.push((word, 1)),
        }
    }
    if counts.is_empty() {
        return "none".into();
    }
    counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// Words of the notebook's as they may be repeated: short, and nothing that a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(120).collect()
}
