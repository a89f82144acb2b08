//! Which programs have a terminal to themselves.
//!
//! A terminal belongs to a session, whose leader is the shell, and has one foreground group: the shell itself while it
//! waits for a line, else what it waits for. The kernel says all of it in each process's `stat`, and nobody has to be
//! asked who might say something else. A job in the background is not seen here: it is seen by the processor time that
//! it takes.

use std::fs;
use std::io;

use crate::file::absent_is_none;

/// What a session's leader is called while nothing but a shell has the terminal. A leader by any other name is a program
/// that was started in place of a shell.
const SHELLS: [&str; 11] = ["sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "mksh", "csh", "tcsh", "nu"];

/// The part of a process's `stat` that concerns terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    name: String,
    group: i32,
    session: i32,
    /// 0: none.
    terminal: i32,
    /// The foreground group of its terminal; −1: none.
    foreground: i32,
}

/// The names of the programs of these processes that have a terminal to themselves.
pub(crate) fn programs(processes: &[i32]) -> io::Result<Vec<String>> {
    let mut stats = Vec::new();
    for pid in processes {
        let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => None,
            other => absent_is_none(other)?,
        };
        stats.extend(text.as_deref().and_then(parse));
    }
    Ok(in_foreground(&stats))
}

/// The program's name may contain anything, also parentheses and spaces; what follows the last one counts. A zombie has
/// ended.
fn parse(stat: &str) -> Option<Stat> {
    let (before, after) = stat.rsplit_once(')')?;
    let (pid, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let mut number = || fields.next()?.parse().ok();
    let _parent: i32 = number()?;
    let (group, session, terminal, foreground) = (number()?, number()?, number()?, number()?);
    Some(Stat { pid: pid.trim().parse().ok()?, name: name.to_owned(), group, session, terminal, foreground })
}

fn in_foreground(stats: &[Stat]) -> Vec<String> {
    let leaders = stats.iter().filter(|s| s.pid == s.session && s.terminal != 0);
    leaders.filter_map(|leader| program_of(leader, stats)).map(|program| program.name.clone()).collect()
}

/// The program that has the terminal of this leader; `None` while the shell has it.
fn program_of<'a>(leader: &'a Stat, stats: &'a [Stat]) -> Option<&'a Stat> {
    if leader.foreground == leader.group {
        return (!SHELLS.contains(&leader.name.trim_start_matches('-'))).then_some(leader);
    }
    let group = || stats.iter().filter(|s| s.group == leader.foreground);
    group().find(|s| s.pid == s.group).or_else(|| group().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, name: &str, group: i32, session: i32, terminal: i32, foreground: i32) -> Stat {
        Stat { pid, name: name.into(), group, session, terminal, foreground }
    }

    #[test]
    fn a_stat_is_read_behind_any_name() {
        let read = parse("17 (a) (b c) S 3 16 15 34816 16 4194304 1 2").unwrap();
        assert_eq!(read, stat(17, "a) (b c", 16, 15, 34816, 16));
        assert_eq!(parse("17 (x) Z 3 16 15 34816 16 0"), None);
        assert_eq!(parse("17 (x) S 3"), None);
    }

    #[test]
    fn a_shell_at_its_prompt_is_no_program_and_what_it_waits_for_is() {
        let server = stat(5, "python", 5, 5, 0, -1);
        let prompt = stat(10, "bash", 10, 10, 34816, 10);
        assert_eq!(in_foreground(&[server.clone(), prompt]), [""; 0]);

        let waits = stat(10, "bash", 10, 10, 34816, 12);
        let runs = [stat(13, "tee", 12, 10, 34816, 12), stat(12, "python", 12, 10, 34816, 12)];
        let behind = stat(14, "sleep", 14, 10, 34816, 12);
        let all = [[server, waits].as_slice(), &runs, &[behind]].concat();
        assert_eq!(in_foreground(&all), ["python"]);
    }

    #[test]
    fn a_job_in_the_background_has_no_terminal_to_itself() {
        let stats = [stat(10, "bash", 10, 10, 34816, 10), stat(14, "python", 14, 10, 34816, 10)];
        assert_eq!(in_foreground(&stats), [""; 0]);
    }

    #[test]
    fn a_program_in_the_place_of_the_shell_counts_and_a_login_shell_does_not() {
        assert_eq!(in_foreground(&[stat(10, "python3", 10, 10, 34816, 10)]), ["python3"]);
        assert_eq!(in_foreground(&[stat(10, "-bash", 10, 10, 34816, 10)]), [""; 0]);
    }

    #[test]
    fn a_foreground_that_has_just_ended_is_nothing() {
        assert_eq!(in_foreground(&[stat(10, "bash", 10, 10, 34816, 12)]), [""; 0]);
        assert_eq!(in_foreground(&[stat(10, "bash", 10, 10, 34816, -1)]), [""; 0]);
    }
}
