//! Making a failure short: parts of the plan are left out as long as what is left still fails.

use crate::plan::Round;
use crate::run;

/// How often a shorter plan is tried.
const TRIES: usize = 150;

/// The shortest plan found that still fails, with its history and reason, as text.
pub(crate) fn shortest(rounds: &[Round], trash: bool, reason: &str) -> String {
    let mut best = Failure { rounds: rounds.to_vec(), trash, reason: reason.to_owned(), history: Vec::new() };
    let mut tries = TRIES;
    best.drop_rounds(&mut tries);
    best.drop_parts(&mut tries);
    // Once more, for the history of exactly this plan.
    best.try_plan(best.rounds.clone());
    best.tell()
}

struct Failure {
    rounds: Vec<Round>,
    trash: bool,
    reason: String,
    history: Vec<String>,
}

impl Failure {
    /// Takes `rounds` over if they fail; what comes after the failure is cut off.
    fn try_plan(&mut self, mut rounds: Vec<Round>) -> bool {
        let outcome = run(&rounds, self.trash);
        let Some((at, reason)) = outcome.failed else { return false };
        rounds.truncate(at + 1);
        *self = Self { rounds, trash: self.trash, reason, history: outcome.history };
        true
    }

    /// Leaves out rounds: first many at once, then one by one.
    fn drop_rounds(&mut self, tries: &mut usize) {
        let mut size = self.rounds.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.rounds.len() && *tries > 0 {
                let mut rounds = self.rounds.clone();
                rounds.drain(from..(from + size).min(rounds.len()));
                *tries -= 1;
                if rounds.is_empty() || !self.try_plan(rounds) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    /// Leaves out faults and commands.
    fn drop_parts(&mut self, tries: &mut usize) {
        for at in (0..self.rounds.len()).rev() {
            self.drop_each(tries, at, |round, n| (n < round.faults.len()).then(|| round.faults.remove(n)).is_some());
            self.drop_each(tries, at, |round, n| {
                (n < round.commands.len()).then(|| round.commands.remove(n)).is_some()
            });
            self.drop_each(tries, at, |round, n| n == 0 && std::mem::take(&mut round.wait_ms) > 0);
        }
    }

    fn drop_each(&mut self, tries: &mut usize, at: usize, drop_one: impl Fn(&mut Round, usize) -> bool) {
        let mut n = 0;
        while *tries > 0 && at < self.rounds.len() {
            let mut rounds = self.rounds.clone();
            if !drop_one(&mut rounds[at], n) {
                return;
            }
            *tries -= 1;
            if !self.try_plan(rounds) {
                n += 1;
            }
        }
    }

    fn tell(&self) -> String {
        let history = self.history.join("\n");
        format!("the shortest history found ({} rounds):\n{history}\n==> {}", self.rounds.len(), self.reason)
    }
}
