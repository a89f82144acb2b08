//! The automatic stop as a rule for every start: what the legacy API says of it. A notebook keeps it as the terms of its
//! lease ([`Notebook::start_terms`](crate::notebook::Notebook::start_terms)), so that both APIs show and change the same
//! thing.

use crate::lease::{Grant, LeaseKind, Terms};

/// What somebody says of the automatic stop. What is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoStop {
    /// Whether the notebook is stopped by itself.
    pub enable: Option<bool>,
    /// How long it runs after a start, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Whether a console should remind people of it.
    pub prompt: Option<bool>,
}

impl AutoStop {
    /// What a new notebook has when nothing is said: none.
    pub const NONE: Terms = Terms { grant: Grant::Never, kind: LeaseKind::Timing };

    /// The terms of the starts from now on, where they were `before`. A duration without a word whether the stop is on
    /// counts where it is.
    #[must_use]
    pub fn terms(self, before: Terms) -> Terms {
        let grant = match (self.enable, self.duration_ms, before.grant) {
            (Some(false), ..) => Grant::Never,
            (Some(true), Some(ms), _) | (None, Some(ms), Grant::Millis(_)) => Grant::Millis(ms),
            (Some(true) | None, ..) => before.grant,
        };
        if grant == before.grant { before } else { Terms { grant, kind: LeaseKind::Timing } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_as_it_was() {
        let hour = Terms { grant: Grant::Millis(3_600_000), kind: LeaseKind::Idle };
        let two_hours = Terms { grant: Grant::Millis(7_200_000), kind: LeaseKind::Timing };
        let never = AutoStop::NONE;
        let said = |enable, hours: Option<i64>| AutoStop {
            enable,
            duration_ms: hours.map(|hours| hours * 3_600_000),
            prompt: None,
        };
        assert_eq!(said(None, None).terms(hour), hour);
        assert_eq!(said(Some(true), Some(1)).terms(hour), hour, "the kind of lease is the other API's to say");
        assert_eq!(said(Some(true), Some(2)).terms(hour), two_hours);
        assert_eq!(said(Some(true), Some(2)).terms(never), two_hours);
        assert_eq!(said(None, Some(2)).terms(hour), two_hours);
        assert_eq!(said(None, Some(2)).terms(never), never);
        assert_eq!(said(Some(false), Some(2)).terms(hour), never);
    }
}
