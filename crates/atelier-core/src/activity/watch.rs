//! What looks found over time.

use super::finding::{Memory, Said};
use super::{Baseline, Finding, Look, MOST_IDLE_GPU, Reading, Rules, Signal, Verdict};
use crate::clock::Timestamp;
use crate::lease::Lease;

/// Something that is worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// From now on something cannot be asked, for this reason; it counts as activity.
    UnknownBegan(String),
    /// It still cannot be asked, for this reason, and counts as activity no more.
    CeilingPassed(String),
}

/// What is known of a notebook's activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the signals say together.
    pub verdict: Verdict,
    /// What each says.
    pub findings: Vec<Finding>,
    /// What an idle lease counts from.
    pub last_activity: Timestamp,
    /// When it was looked at.
    pub looked_at: Timestamp,
}

/// The activity of one notebook, from one start of it on.
#[derive(Clone, Debug)]
pub struct Watch {
    memory: Memory,
    findings: Vec<Finding>,
    verdict: Verdict,
    /// The last moment that was active, and not only not known to be idle.
    proven: Timestamp,
    /// Up to where what is unknown counted.
    credited: Timestamp,
    /// The first look after `proven` that could not ask. What is unknown counts from here on to its ceiling, once:
    /// a server that answers every other time would be active for ever otherwise.
    unknown_since: Option<Timestamp>,
    ceiling_told: bool,
}

impl Watch {
    /// A notebook that is watched from `at` on, and counts as active then.
    pub const fn beginning(at: Timestamp) -> Self {
        Self {
            memory: Memory::beginning(at),
            findings: Vec::new(),
            verdict: Verdict::Idle(at),
            proven: at,
            credited: at,
            unknown_since: None,
            ceiling_told: false,
        }
    }

    /// Takes a look into account.
    pub fn look(&mut self, look: &Look, rules: &Rules, baseline: Baseline) -> Option<News> {
        let gap = self.memory.looked().is_some_and(|looked| look.at.millis_since(looked) > rules.gap_most_ms);
        if gap {
            *self = Self::beginning(look.at);
        }
        let said = self.memory.compare(look, rules, baseline);
        self.note(said, look, rules, baseline);
        let (active, unknown) = (self.reasons(is_active), self.reasons(is_unknown));
        if self.findings.iter().any(|f| f.signal != Signal::People && is_active(&f.reading)) {
            self.prove(look.at);
        }
        // What somebody did is a moment of its own, and may lie before the first look.
        if let Some(at) = look.person_at {
            self.prove(at.min(look.at));
        }
        let news = if active.is_empty() { self.credit(&unknown, look.at, rules) } else { None };
        self.verdict = match (active.is_empty(), unknown.is_empty()) {
            (false, _) => Verdict::Active(active),
            (true, false) => Verdict::Unknown(unknown),
            (true, true) => Verdict::Idle(self.last_activity()),
        };
        news
    }

    fn note(&mut self, said: [Said; 5], look: &Look, rules: &Rules, baseline: Baseline) {
        let before: Vec<_> = self.findings.drain(..).map(|finding| finding.last_active).collect();
        let signals = Signal::ALL.into_iter().zip(said).enumerate();
        self.findings = signals
            .map(|(at, (signal, (reading, value)))| {
                let last_active = match (signal, is_active(&reading)) {
                    (Signal::People, _) => look.person_at.map(|at| at.min(look.at)),
                    (_, true) => Some(look.at),
                    (_, false) => before.get(at).copied().flatten(),
                };
                let threshold = threshold(signal, rules, baseline);
                Finding { signal, reading, value, threshold, last_active }
            })
            .collect();
    }

    fn reasons(&self, wanted: fn(&Reading) -> bool) -> Vec<String> {
        let named = |finding: &Finding| match &finding.reading {
            Reading::Active(why) => why.clone(),
            Reading::Unknown(why) => format!("{}: {why}", finding.signal),
            Reading::Quiet => String::new(),
        };
        self.findings.iter().filter(|finding| wanted(&finding.reading)).map(named).collect()
    }

    /// Something was active at `at`.
    fn prove(&mut self, at: Timestamp) {
        if at > self.proven {
            self.proven = at;
            self.unknown_since = None;
            self.ceiling_told = false;
        }
    }

    /// Lets what is unknown count, up to its ceiling.
    fn credit(&mut self, unknown: &[String], at: Timestamp, rules: &Rules) -> Option<News> {
        if unknown.is_empty() {
            return None;
        }
        let began = self.unknown_since.is_none();
        let since = *self.unknown_since.get_or_insert(at);
        let until = since.plus_millis(rules.unknown_ceiling_ms);
        self.credited = self.credited.max(at.min(until));
        if at > until && !self.ceiling_told {
            self.ceiling_told = true;
            return Some(News::CeilingPassed(unknown.join(", ")));
        }
        began.then(|| News::UnknownBegan(unknown.join(", ")))
    }

    /// What an idle lease counts from: never earlier than it was before.
    pub fn last_activity(&self) -> Timestamp {
        self.proven.max(self.credited)
    }

    /// The lease as this activity leaves it.
    pub fn on(&self, lease: Lease) -> Lease {
        lease.active_at(self.last_activity())
    }

    /// A reading of the processor that a baseline may learn from: over a whole window, with nothing else active.
    pub fn idle_cpu(&self, rules: &Rules) -> Option<u32> {
        let others = self.findings.iter().filter(|finding| finding.signal != Signal::Cpu);
        let quiet = others.map(|finding| &finding.reading).all(|reading| *reading == Reading::Quiet);
        self.memory.steady_cpu(rules).filter(|_| quiet)
    }

    /// What is known after the last look; `None` before the first.
    pub fn report(&self) -> Option<Report> {
        Some(Report {
            verdict: self.verdict.clone(),
            findings: self.findings.clone(),
            last_activity: self.last_activity(),
            looked_at: self.memory.looked()?,
        })
    }

    /// The verdict of the last look.
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Every signal with its figures at `now`, in one line: what stands in the event of an automatic stop.
    pub fn figures(&self, now: Timestamp) -> String {
        let figure = |finding: &Finding| {
            let ago = |at: Timestamp| format!("last active {} s before", now.millis_since(at).max(0) / 1000);
            let last = finding.last_active.map_or_else(|| "never seen active".into(), ago);
            let reading = match &finding.reading {
                Reading::Unknown(why) => format!("not known, {why}"),
                Reading::Active(_) | Reading::Quiet => finding.value.clone(),
            };
            format!("{}: {reading} ({}; {last})", finding.signal, finding.threshold)
        };
        self.findings.iter().map(figure).collect::<Vec<_>>().join("; ")
    }
}

const fn is_active(reading: &Reading) -> bool {
    matches!(reading, Reading::Active(_))
}

const fn is_unknown(reading: &Reading) -> bool {
    matches!(reading, Reading::Unknown(_))
}

fn threshold(signal: Signal, rules: &Rules, baseline: Baseline) -> String {
    match signal {
        Signal::Kernels => "active if one is not idle".into(),
        Signal::Terminals => "active if a program has one, or traffic".into(),
        Signal::People => "active if anybody works".into(),
        Signal::Cpu => format!(
            "active above {}: baseline {} and {}",
            baseline.threshold(rules),
            baseline.millis(rules),
            rules.cpu_margin_millis
        ),
        Signal::Gpu => format!("active above {MOST_IDLE_GPU} %"),
    }
}
