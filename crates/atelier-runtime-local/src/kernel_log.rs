//! What the machine's kernel says of memory that ran out: the one who kills is the one to ask.
//!
//! For every process that it kills for memory the kernel writes one line into its log, at once and never left out, with
//! the process, its user and how much it held; a line before it names the group whose memory ran out, if there are not too many of those. The user is enough to know whose process that was, also when nothing is
//! left of it by the time the line is read: a range of users belongs to one notebook while that runs (`slot`). A watch on
//! each notebook's control group would only say that *something* in it was killed.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The kernel's log, for root.
pub(crate) const LOG: &str = "/dev/kmsg";
/// Longer than any record.
const MAX_RECORD: usize = 8192;

/// A process that was killed because memory ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    /// What it is called; its own choice, in characters that can be shown.
    pub(crate) name: String,
    /// Bytes of memory that it held.
    pub(crate) held: u64,
    /// What ran out.
    pub(crate) cause: Cause,
}

/// Whose memory ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The machine's.
    Machine,
    /// That of a control group with a limit; its path, where the kernel's log has named it.
    Group(Option<String>),
}

/// The kernel's log from the moment of opening it on.
#[derive(Debug)]
pub(crate) struct KernelLog {
    log: AsyncFd<File>,
    /// Who is to be killed next, and the group whose memory ran out.
    chosen: Mutex<Option<Choice>>,
}

/// A process that is about to be killed, and the path of the group for whose sake.
type Choice = (i32, String);

impl KernelLog {
    pub(crate) fn open() -> io::Result<Self> {
        let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(LOG)?;
        log.seek(SeekFrom::End(0))?;
        // SAFETY: an owned descriptor stays open and the same for as long as it is owned.
        let log = unsafe { AsyncFd::register_with_interest(log, Interest::READABLE) }?;
        Ok(Self { log, chosen: Mutex::default() })
    }

    /// The next process that is killed. Safe to drop at any time.
    pub(crate) async fn kill(&self) -> io::Result<Kill> {
        let mut record = [0; MAX_RECORD];
        loop {
            match self.log.async_io(Interest::READABLE, |mut log| log.read(&mut record)).await {
                Ok(length) => {
                    if let Some(kill) = take(&mut self.chosen(), &String::from_utf8_lossy(&record[..length])) {
                        return Ok(kill);
                    }
                }
                // Records were written over before they were read: it goes on with the oldest that is left.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn chosen(&self) -> MutexGuard<'_, Option<Choice>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kill, if the record says of one; it may only say who is chosen.
fn take(chosen: &mut Option<Choice>, record: &str) -> Option<Kill> {
    if let Some(choice) = choice(record) {
        *chosen = Some(choice);
        return None;
    }
    let mut kill = parse(record)?;
    if let (Cause::Group(group), Some((pid, path))) = (&mut kill.cause, chosen.take())
        && pid == kill.pid
    {
        *group = Some(path);
    }
    Some(kill)
}

/// The process that is about to be killed and the group whose memory ran out, when the record says so. The group's path is
/// read from the left, the process from the right: the name between them may contain anything.
fn choice(record: &str) -> Option<Choice> {
    let (_, text) = record.lines().next()?.split_once(';')?;
    let (_, from) = text.strip_prefix("oom-kill:constraint=CONSTRAINT_MEMCG,")?.split_once("oom_memcg=")?;
    let (_, pid) = from.rsplit_once(",pid=")?;
    Some((pid.split(',').next()?.parse().ok()?, from.split(',').next()?.to_owned()))
}

/// A record is `prefix;text`, and what follows its first line is about the record. The name may contain anything that can
/// be shown, so the fields before it are read from the left and those behind it from the right.
fn parse(record: &str) -> Option<Kill> {
    let (_, text) = record.lines().next()?.split_once(';')?;
    let (cause, rest) = text.split_once("ut of memory: Killed process ")?;
    let (pid, rest) = rest.split_once(" (")?;
    let (name, fields) = rest.rsplit_once(") total-vm:")?;
    let number = |field: &str| -> Option<u64> {
        let (_, from) = fields.split_once(field)?;
        from.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let held: u64 = ["anon-rss:", "file-rss:", "shmem-rss:"].into_iter().filter_map(number).sum();
    Some(Kill {
        pid: pid.parse().ok()?,
        uid: number("UID:")?.try_into().ok()?,
        name: name.to_owned(),
        held: held * 1024,
        cause: if cause.starts_with("Memory cgroup") { Cause::Group(None) } else { Cause::Machine },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "total-vm:1342904kB, anon-rss:513500kB, file-rss:10900kB, shmem-rss:8kB, UID:1066536 \
                          pgtables:1188kB oom_score_adj:900";

    fn record(text: &str) -> String {
        format!("3,39606,60164587223,-;{text}\n SUBSYSTEM=none\n")
    }

    #[test]
    fn a_kill_says_who_held_how_much() {
        let kill =
            parse(&record(&format!("Memory cgroup out of memory: Killed process 17176 (python) {FIELDS}"))).unwrap();
        let held = (513_500 + 10_900 + 8) * 1024;
        let expected = Kill { pid: 17_176, uid: 1_066_536, name: "python".into(), held, cause: Cause::Group(None) };
        assert_eq!(kill, expected);
        let kill = parse(&record(&format!("Out of memory: Killed process 17176 (python) {FIELDS}"))).unwrap();
        assert_eq!(kill.cause, Cause::Machine);
    }

    #[test]
    fn the_group_is_that_of_the_very_process() {
        let chooses = |pid: i32, name: &str| {
            record(&format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/atelier/a-1/kernel-2,\
                 task_memcg=/atelier/a-1/kernel-2,task={name},pid={pid},uid=1066536"
            ))
        };
        let kills = record(&format!("Memory cgroup out of memory: Killed process 7 (python) {FIELDS}"));
        let mut chosen = None;
        for name in ["python", "a,pid=9,uid=1"] {
            assert_eq!(take(&mut chosen, &chooses(7, name)), None);
            let cause = Cause::Group(Some("/atelier/a-1/kernel-2".into()));
            assert_eq!(take(&mut chosen, &kills).unwrap().cause, cause);
        }
        assert_eq!(take(&mut chosen, &kills).unwrap().cause, Cause::Group(None), "each line counts once");
        assert_eq!(take(&mut chosen, &chooses(8, "python")), None);
        assert_eq!(take(&mut chosen, &kills).unwrap().cause, Cause::Group(None), "another process");
    }

    #[test]
    fn a_name_changes_no_other_field() {
        let name = ") total-vm: (";
        let kill = parse(&record(&format!("Memory cgroup out of memory: Killed process 7 ({name}) {FIELDS}"))).unwrap();
        assert_eq!((kill.pid, kill.uid, kill.name.as_str()), (7, 1_066_536, name));
    }

    #[test]
    fn everything_else_is_no_kill() {
        for text in [
            "python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=500",
            "oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=17483,uid=1066536",
            "XFS (loop3): Ending clean mount",
            "Memory cgroup out of memory: Killed process",
            "",
        ] {
            assert_eq!(parse(&record(text)), None, "{text}");
        }
        assert_eq!(parse("no record"), None);
    }
}
