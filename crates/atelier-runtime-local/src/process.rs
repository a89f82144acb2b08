//! Processes that are never mistaken for others.
//!
//! A process id alone means nothing: it may have been given to another process. What is kept on disk therefore names
//! the process by its id, the moment it started and the boot of the machine, and [`Process::open`] takes a pidfd
//! *before* it compares, so that what was compared is what the pidfd means.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::file::absent_is_none;

/// A process, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Field 22 of its `stat`.
    pub(crate) start_time: u64,
    pub(crate) boot_id: String,
}

impl Process {
    /// The living process of this id.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let start_time = start_time(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, start_time, boot_id: boot_id()? })
    }

    /// A handle of the process; `None` when it does not live any more.
    pub(crate) fn open(&self, cgroup: &str) -> io::Result<Option<Handle>> {
        let Some(handle) = Handle::of(self.pid)? else { return Ok(None) };
        let same = self.boot_id == boot_id()?
            && start_time(self.pid)? == Some(self.start_time)
            && is_in_cgroup(self.pid, cgroup)?
            && handle.lives()?;
        Ok(same.then_some(handle))
    }
}

/// A pidfd.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    pub(crate) fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn lives(&self) -> io::Result<bool> {
        self.ended_within(Duration::ZERO).map(|ended| !ended)
    }

    /// Whether the process has ended, now or after waiting that long at most. Blocks.
    pub(crate) fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let limit = limit.try_into().map_err(io::Error::other)?;
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Kills the process; no error when it is gone.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Another descriptor of the same process.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

/// When a process started, in the kernel's ticks; `None` when there is no such process or it is a zombie.
fn start_time(pid: i32) -> io::Result<Option<u64>> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        other => absent_is_none(other)?,
    };
    Ok(text.as_deref().and_then(parse_start_time))
}

/// The program's name may contain anything, also parentheses and spaces; what follows the last one counts.
fn parse_start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn is_in_cgroup(pid: i32, cgroup: &str) -> io::Result<bool> {
    Ok(are_of(&groups(pid)?, cgroup))
}

/// The control groups of a process, as the kernel lists them; none when it is gone.
pub(crate) fn groups(pid: i32) -> io::Result<String> {
    Ok(absent_is_none(fs::read_to_string(format!("/proc/{pid}/cgroup")))?.unwrap_or_default())
}

/// Whether one of these groups, or one above it, has this name.
pub(crate) fn are_of(groups: &str, name: &str) -> bool {
    groups.lines().any(|line| line.split('/').any(|part| part == name))
}

/// The number of a process in its innermost namespace, as long as anything of it is left.
pub(crate) fn inner_number(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace().last()?.parse().ok()
}

/// This boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_start_time(&format!("7 (a) b (c) {rest}")), Some(4711));
        assert_eq!(parse_start_time(&format!("7 (x) {}", rest.replacen('S', "Z", 1))), None);
        assert_eq!(parse_start_time("7 (x"), None);
    }

    #[test]
    fn a_process_in_no_other_namespace_has_one_number() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(inner_number(pid).is_some());
        assert_eq!(inner_number(i32::MAX), None);
    }

    #[test]
    fn another_start_time_or_boot_is_another_process() {
        let mine = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let cgroup = text.lines().next().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(mine.open(&cgroup).unwrap().is_some());
        assert!(mine.open("another").unwrap().is_none());
        let later = Process { start_time: mine.start_time + 1, ..mine.clone() };
        assert!(later.open(&cgroup).unwrap().is_none());
        let before = Process { boot_id: "another boot".into(), ..mine };
        assert!(before.open(&cgroup).unwrap().is_none());
    }
}
