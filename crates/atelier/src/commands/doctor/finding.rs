//! What a look at one thing has found, and how it is told.

use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It cannot be looked at from here.
    Unknown,
    /// Something is weaker or will be missed later.
    Warning,
    /// Notebooks do not work.
    Failure,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    topic: &'static str,
    pub(super) state: State,
    found: String,
    cost: &'static str,
    cure: String,
}

impl Finding {
    /// Nothing is wrong.
    pub(super) fn ok(topic: &'static str, found: impl Into<String>) -> Self {
        Self { topic, state: State::Ok, found: found.into(), cost: "", cure: String::new() }
    }

    /// Something is: what it costs, and what cures it.
    pub(super) fn bad(
        topic: &'static str,
        state: State,
        found: impl Into<String>,
        cost: &'static str,
        cure: impl Into<String>,
    ) -> Self {
        Self { topic, state, found: found.into(), cost, cure: cure.into() }
    }

    /// It can only be looked at by root.
    pub(super) fn unseen(topic: &'static str, cost: &'static str) -> Self {
        Self::bad(topic, State::Unknown, "can be looked at by root only", cost, "run `atelier doctor` as root")
    }

    fn record(&self) -> Value {
        let mut record = json!({"topic": self.topic, "state": self.state.as_str(), "found": self.found});
        if self.state != State::Ok {
            record["cost"] = self.cost.into();
            record["cure"] = self.cure.clone().into();
        }
        record
    }

    fn lines(&self) -> String {
        let first = format!("{:8} {}: {}\n", self.state.as_str(), self.topic, self.found);
        if self.state == State::Ok {
            return first;
        }
        format!("{first}{:8} costs: {}\n{:8} cure: {}\n", "", self.cost, "", self.cure)
    }
}

/// The report for programs.
pub(super) fn records(findings: &[Finding]) -> Value {
    findings.iter().map(Finding::record).collect()
}

/// The report for people, with a sum at its end.
pub(super) fn told(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let lines: String = findings.iter().map(Finding::lines).collect();
    let (failures, warnings, unknown) = (count(State::Failure), count(State::Warning), count(State::Unknown));
    format!("{lines}\n{} ok, {unknown} unknown, {warnings} warnings, {failures} failures\n", count(State::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> [Finding; 2] {
        [
            Finding::ok("clock", "set by the network"),
            Finding::bad("volumes", State::Failure, "mkfs.xfs: not found", "no notebook starts", "install xfsprogs"),
        ]
    }

    #[test]
    fn what_is_wrong_says_what_it_costs_and_how_it_is_cured() {
        let wanted = "\
ok       clock: set by the network
failure  volumes: mkfs.xfs: not found
         costs: no notebook starts
         cure: install xfsprogs

1 ok, 0 unknown, 0 warnings, 1 failures
";
        assert_eq!(told(&findings()), wanted);
    }

    #[test]
    fn programs_read_the_same() {
        let wanted = json!([
            {"topic": "clock", "state": "ok", "found": "set by the network"},
            {"topic": "volumes", "state": "failure", "found": "mkfs.xfs: not found",
             "cost": "no notebook starts", "cure": "install xfsprogs"},
        ]);
        assert_eq!(records(&findings()), wanted);
    }
}
