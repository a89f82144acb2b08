//! The clock: who keeps it, and whether what it says can be true.
//!
//! A wall clock is compared with what does not follow it: the time since boot, which a server's start is counted in, and
//! the files that it has written. What a server wrote down as its start, and what the kernel counts since, must add up
//! to now; a file of the data folder cannot be of tomorrow.

use std::path::Path;
use std::time::Duration;

use atelier_core::Timestamp;
use atelier_runtime_local::probe::clock_is_kept;

use super::finding::{Finding, State};
use super::{ok, read};
use crate::backup::DATABASE;
use crate::folder::Holder;
use crate::times;

/// Before this program was written: 2026-01-01.
const BEFORE_US: i64 = 1_767_225_600_000;
/// What is no jump: a slow start, a clock that is corrected.
const TOLERATED_MS: i64 = 60_000;
/// Parts of a second that `/proc` counts in, on every architecture that notebooks run on.
const TICKS: i64 = 100;

pub(super) fn look(data: &Path, holder: Option<&Holder>, now: Timestamp) -> Vec<Finding> {
    vec![kept(), plausible(data, holder, now.as_millis())]
}

/// Whether somebody keeps the clock right, as the kernel knows it.
fn kept() -> Finding {
    if clock_is_kept() {
        return ok("clock", "kept by a time service");
    }
    let cost = "signatures are refused and leases end at the wrong time once the clock is wrong";
    Finding::bad(
        "clock",
        State::Warning,
        "the kernel was not told that anybody keeps it",
        cost,
        "install chrony or systemd-timesyncd",
    )
}

fn plausible(data: &Path, holder: Option<&Holder>, now: i64) -> Finding {
    let topic = "wall clock and boot";
    let since_boot = i64::try_from(since_boot().as_millis()).unwrap_or(0);
    let boot = now - since_boot;
    let started = holder.and_then(|holder| Some((holder.since?, boot + started_after_boot(holder.pid?)?)));
    let written = std::fs::metadata(data.join(DATABASE)).and_then(|found| found.modified()).ok();
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let written = written.and_then(|at| i64::try_from(at.as_millis()).ok());
    let cost = "certificates, signatures and tokens are judged by the wrong time, and clients refuse the server";
    match doubt(now, boot, started, written) {
        None => ok(topic, format!("{}; booted at {}", times::point(now), times::point(boot))),
        Some(why) => Finding::bad(topic, State::Warning, why, cost, "set the clock, and let a time service keep it"),
    }
}

/// What cannot be true. `started` is the start of the server, as it wrote it down and as the kernel counts it now.
fn doubt(now: i64, boot: i64, started: Option<(i64, i64)>, written: Option<i64>) -> Option<String> {
    if now < BEFORE_US {
        return Some(format!("it says {}, before this program was written", times::point(now)));
    }
    if boot < BEFORE_US {
        return Some(format!(
            "by it the machine was booted at {}, before this program was written",
            times::point(boot)
        ));
    }
    if let Some(written) = written.filter(|written| *written > now + TOLERATED_MS) {
        return Some(format!(
            "it says {}, and the database was written at {}",
            times::point(now),
            times::point(written)
        ));
    }
    let (then, counted) = started?;
    let moved = counted - then;
    (moved.abs() > TOLERATED_MS).then(|| format!("it was moved by {} s since the server started", moved / 1000))
}

fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// When a process was started, in milliseconds after the boot: the 22nd field of its `stat`.
fn started_after_boot(pid: i32) -> Option<i64> {
    let text = read(&format!("/proc/{pid}/stat"));
    // The second field is the program's name in parentheses, which may hold anything.
    let ticks: i64 = text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks * 1000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = BEFORE_US + 30 * 86_400_000;
    const BOOT: i64 = NOW - 86_400_000;

    #[test]
    fn a_clock_that_adds_up_is_believed() {
        assert_eq!(doubt(NOW, BOOT, None, None), None);
        assert_eq!(doubt(NOW, BOOT, Some((NOW - 3000, NOW - 4000)), Some(NOW + 1000)), None);
    }

    #[test]
    fn one_that_was_moved_or_is_of_another_year_is_told() {
        let said = |found: Option<String>| found.unwrap_or_default();
        assert!(said(doubt(0, 0, None, None)).contains("before this program"));
        assert!(said(doubt(NOW, 0, None, None)).contains("booted at 1970"));
        assert!(said(doubt(NOW, BOOT, None, Some(NOW + 86_400_000))).contains("the database was written at"));
        let moved = doubt(NOW, BOOT, Some((NOW - 7_200_000, NOW - 3_600_000)), None);
        assert_eq!(said(moved), "it was moved by 3600 s since the server started");
    }

    /// A process is younger than the boot and older than now.
    #[test]
    fn the_start_of_a_process_is_read() {
        let pid = std::process::id().cast_signed();
        let (started, now) = (started_after_boot(pid).unwrap(), i64::try_from(since_boot().as_millis()).unwrap());
        assert!(started > 0 && started <= now + 10, "{started} {now}");
    }
}
