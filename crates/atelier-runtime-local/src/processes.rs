//! The processes of an instance, for people who look at what it does.
//!
//! Everything here is read from `/proc`. A process that ends meanwhile is left out, and so is a zombie: it has ended.

use std::fs;
use std::time::Duration;

use atelier_runtime::Process;

use crate::process::inner_number;

/// The most that is shown of a command line, in bytes.
const MOST_SHOWN: usize = 4096;

/// These processes as their instance sees them, by their numbers in it.
pub(crate) fn shown(processes: &[i32]) -> Vec<Process> {
    let mut shown: Vec<_> = processes.iter().filter_map(|pid| look(*pid)).collect();
    shown.sort_by_key(|process| process.pid);
    shown
}

fn look(pid: i32) -> Option<Process> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Process {
        pid: inner_number(pid)?,
        cpu: Duration::from_micros(stat.ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second()),
        memory: stat.pages.saturating_mul(rustix::param::page_size() as u64),
        command: command(&line).unwrap_or(stat.name),
    })
}

/// The arguments with spaces between them; `None` for a process that shows none.
fn command(line: &[u8]) -> Option<String> {
    let line = &line[..line.len().min(MOST_SHOWN)];
    let text = String::from_utf8_lossy(line).replace('\0', " ").trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The part of a process's `stat` that is shown.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    ticks: u64,
    pages: u64,
}

impl Stat {
    /// The program's name may contain anything, also parentheses and spaces; what follows the last one counts.
    fn parse(stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let fields: Vec<_> = after.split_ascii_whitespace().collect();
        if fields.first() == Some(&"Z") {
            return None;
        }
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            ticks: number(11)?.saturating_add(number(12)?),
            pages: number(21)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 200 50 13 14 15 16 17 18 19 20 77 22";
        let read = Stat::parse(&format!("7 (a) (b) {rest}")).unwrap();
        assert_eq!(read, Stat { name: "a) (b".into(), ticks: 250, pages: 77 });
        assert_eq!(Stat::parse(&format!("7 (x) {}", rest.replacen('S', "Z", 1))), None);
        assert_eq!(Stat::parse("7 (x) S 1"), None);
    }

    #[test]
    fn a_command_line_is_one_text() {
        assert_eq!(command(b"python\0-c\0pass\0").as_deref(), Some("python -c pass"));
        assert_eq!(command(b""), None);
        assert_eq!(command(&[b'x'; 9000]).unwrap().len(), MOST_SHOWN);
    }

    #[test]
    fn this_process_is_among_the_shown() {
        let own = i32::try_from(std::process::id()).unwrap();
        let shown = shown(&[own, i32::MAX]);
        assert_eq!(shown.len(), 1);
        assert!(shown[0].memory > 0 && !shown[0].command.is_empty(), "{shown:?}");
    }
}
