//! Times and durations for people. The present is a parameter.

use atelier_core::Timestamp;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A duration in its two largest units: `3 h 20 min`.
pub(crate) fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let two = |large: i64, large_name: &str, small: i64, small_name: &str| {
        let (a, b) = (ms / large, ms % large / small);
        if b == 0 { format!("{a} {large_name}") } else { format!("{a} {large_name} {b} {small_name}") }
    };
    match ms {
        0..MINUTE => format!("{} s", ms / SECOND),
        MINUTE..HOUR => two(MINUTE, "min", SECOND, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        _ => two(DAY, "d", HOUR, "h"),
    }
}

/// How long ago, in the largest unit alone: `5 min ago`.
pub(crate) fn ago(at: i64, now: Timestamp) -> String {
    let ms = now.as_millis().saturating_sub(at);
    match ms {
        ..SECOND => "now".into(),
        SECOND..MINUTE => format!("{} s ago", ms / SECOND),
        MINUTE..HOUR => format!("{} min ago", ms / MINUTE),
        HOUR..DAY => format!("{} h ago", ms / HOUR),
        _ => format!("{} d ago", ms / DAY),
    }
}

/// A point in time, to the second, in UTC.
pub(crate) fn point(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map_or_else(|_| "at the end of time".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What is left of a lease.
pub(crate) fn lease(lease: &atelier_wire::lease::Lease, now: Timestamp) -> String {
    if !lease.enable {
        return "never".into();
    }
    match lease.create_at.saturating_add(lease.duration).saturating_sub(now.as_millis()) {
        ..=0 => "over".into(),
        left if lease.kind == "IDLE" => format!("in {}, if idle", duration(left)),
        left => format!("in {}", duration(left)),
    }
}

/// Reads a time to run, in milliseconds: `90m`, `1h 30m`, `never`.
pub(crate) fn parse_grant(text: &str) -> Result<i64, String> {
    if matches!(text, "never" | "-1") {
        return Ok(-1);
    }
    let wrong = || "must be a time such as `90m`, `4h` or `1h 30m`, or `never`".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    i64::try_from(span.as_millis()).ok().filter(|ms| *ms > 0).ok_or_else(wrong)
}

/// A moment as people name it: absolute, or so long before the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds ago.
    Ago(i64),
}

impl Moment {
    /// Milliseconds since 1970.
    pub(crate) const fn before(self, now: Timestamp) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ms) => now.plus_millis(-ms).as_millis(),
        }
    }
}

/// Reads a moment: `2h`, `2026-11-21T08:00:00Z`, `1795248000000`.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse() {
        return Ok(Moment::At(at));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Moment::At(at.as_millisecond()));
    }
    let ago = text.parse::<jiff::SignedDuration>().ok().and_then(|span| i64::try_from(span.as_millis()).ok());
    ago.map(Moment::Ago)
        .ok_or_else(|| "must be so long ago, such as `2h`, or a time such as `2026-11-21T08:00:00Z`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_two_units() {
        for (ms, text) in [
            (-5, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (3_600_000, "1 h"),
            (5_400_000, "1 h 30 min"),
            (259_200_000, "3 d"),
            (262_800_000, "3 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn points_and_ages_are_read_from_the_given_present() {
        let now = Timestamp::from_millis(1_687_656_452_470);
        assert_eq!(point(now.as_millis()), "2023-06-25 01:27:32 UTC");
        assert_eq!(ago(now.as_millis() - 119_000, now), "1 min ago");
        assert_eq!(ago(now.as_millis() + 5, now), "now");
        assert_eq!(ago(now.as_millis() - 3 * DAY, now), "3 d ago");
    }

    #[test]
    fn what_is_left_of_a_lease_says_whether_activity_moves_it() {
        let lease = |kind: &str, duration, enable| atelier_wire::lease::Lease {
            create_at: 0,
            update_at: 0,
            duration,
            enable,
            kind: kind.into(),
        };
        let now = Timestamp::from_millis(HOUR);
        assert_eq!(super::lease(&lease("TIMING", 2 * HOUR, true), now), "in 1 h");
        assert_eq!(super::lease(&lease("IDLE", 2 * HOUR, true), now), "in 1 h, if idle");
        assert_eq!(super::lease(&lease("IDLE", -1, false), now), "never");
        assert_eq!(super::lease(&lease("IDLE", HOUR, true), now), "over");
    }

    #[test]
    fn grants_are_read_as_people_write_them() {
        for (text, ms) in
            [("90m", 5_400_000), ("4h", 14_400_000), ("1h 30m", 5_400_000), ("never", -1), ("45s", 45_000)]
        {
            assert_eq!(parse_grant(text), Ok(ms), "{text}");
        }
        for bad in ["", "0s", "-1h", "soon", "10"] {
            assert!(parse_grant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_absolute_or_ago() {
        let now = Timestamp::from_millis(10_000_000);
        for (text, at) in [("7", 7), ("1h", 6_400_000), ("1970-01-01T00:00:01Z", 1000)] {
            assert_eq!(parse_moment(text).map(|moment| moment.before(now)), Ok(at), "{text}");
        }
        assert!(parse_moment("yesterday").is_err());
    }
}
