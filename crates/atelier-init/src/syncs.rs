//! What `sync` does in a container: it writes the container's own file systems, and those alone.
//!
//! Who calls it waits until the init has answered ([`atelier_init::sync_filter`]). What writes is a process of its own,
//! because that takes as long as the notebook's user likes; there is one at a time, and it answers all that had called
//! before it began. So a notebook that calls without pause takes turns with itself.
//!
//! The file systems are those that the container begins with, before anything of the user's runs in it: later no name can
//! be trusted. What has failed to be written is not told, as the kernel's `sync` does not. What cannot be done here, for
//! want of a process for example, is left to the kernel: no answer of the init's says that something is written which is not.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use atelier_init::protocol::{FOLDER, USER};
use atelier_init::sync_filter;
use rustix::fs::{Mode, OFlags};

use crate::system::{self, Heard, Verdict};

/// Calls that are taken at once: the loop has more to do.
const PER_TURN: usize = 64;
/// Callers that are known at once: more than there can be processes and threads.
const MOST: usize = 8192;

/// The calls of `sync` in the container.
#[derive(Default)]
pub(crate) struct Syncs {
    /// None, where the calls are the kernel's.
    file_systems: Vec<File>,
    /// One for each filter that somebody runs with.
    listeners: Vec<Rc<OwnedFd>>,
    waiting: Vec<Caller>,
    writing: Option<Writing>,
}

/// Somebody who has called `sync`.
struct Caller {
    listener: Rc<OwnedFd>,
    /// Which call of those that the listener hears of.
    call: u64,
}

/// A process that writes, and whom it does that for.
struct Writing {
    pid: i32,
    callers: Vec<Caller>,
}

impl Syncs {
    /// Hears of the calls of all that this process starts. Where a file system cannot be opened, or the kernel cannot say who
    /// calls, or says so to somebody else already, the calls stay the kernel's.
    pub(crate) fn open() -> Self {
        let opened = fs::read_to_string("/proc/self/mountinfo").and_then(|mounts| file_systems(&mounts));
        let heard = opened.and_then(|opened| Ok((opened, system::install_and_listen(&sync_filter::program())?)));
        match heard {
            Ok((file_systems, listener)) => {
                Self { file_systems, listeners: vec![Rc::new(listener)], ..Self::default() }
            }
            Err(e) => {
                eprintln!("init: `sync` writes the file systems of the whole machine: {e}");
                Self::default()
            }
        }
    }

    /// Whether calls are answered here.
    pub(crate) const fn are_answered(&self) -> bool {
        !self.file_systems.is_empty()
    }

    /// Hears of these calls too.
    pub(crate) fn listen(&mut self, listener: OwnedFd) {
        self.listeners.push(Rc::new(listener));
    }

    /// Where there is more to hear, unless enough is known.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listens = self.waiting.len() < MOST;
        self.listeners.iter().filter(move |_| listens).map(|listener| listener.as_fd())
    }

    /// Takes calls that have been made, and has somebody write for them.
    pub(crate) fn tend(&mut self) {
        let waiting = &mut self.waiting;
        let enough = MOST.min(waiting.len() + PER_TURN);
        self.listeners.retain(|listener| {
            while waiting.len() < enough {
                match system::hear(listener) {
                    Heard::Call(call) => waiting.push(Caller { listener: Rc::clone(listener), call }),
                    Heard::Nothing => break,
                    Heard::End => return false,
                }
            }
            true
        });
        if self.writing.is_none() && !self.waiting.is_empty() {
            self.write();
        }
    }

    fn write(&mut self) {
        let callers = mem::take(&mut self.waiting);
        let write = || {
            // What the init holds open is closed when the init closes it, also while this goes on.
            let mut own: Vec<RawFd> = self.file_systems.iter().map(AsRawFd::as_raw_fd).collect();
            own.sort_unstable();
            system::close_all_but(&own);
            for of in &self.file_systems {
                let _ = rustix::fs::syncfs(of);
                let _ = flush(of).or_else(|_| system::with_the_files_of(USER, || flush(of)));
            }
            0
        };
        match system::in_a_child(write) {
            Ok(pid) => self.writing = Some(Writing { pid, callers }),
            // The user has all processes that there may be.
            Err(_) => answer(&callers, Verdict::Continue),
        }
    }

    /// A process has ended; whether it was the one that writes.
    pub(crate) fn reaped(&mut self, pid: i32, status: i32) -> bool {
        let Some(Writing { callers, .. }) = self.writing.take_if(|writing| writing.pid == pid) else { return false };
        // It may have been killed, for memory for example.
        answer(&callers, if status == 0 { Verdict::Done } else { Verdict::Continue });
        true
    }
}

fn answer(callers: &[Caller], verdict: Verdict) {
    for caller in callers {
        system::answer_call(&caller.listener, caller.call, verdict);
    }
}

/// Has the disk below a file system keep what it was given. A file system that has nothing to say to its own journal does not
/// ask for that by itself; for a new file it does.
fn flush(of: &File) -> io::Result<()> {
    let file = rustix::fs::openat(of, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    Ok(rustix::fs::fsync(file)?)
}

/// One folder of each file system that can be written here, but for the init's own folder, which is the machine's. Only of a
/// folder it is known that opening it changes nothing.
fn file_systems(mounts: &str) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut devices = Vec::new();
    for point in written(mounts) {
        let folder = match open_folder(&point) {
            Err(e) if e.kind() == ErrorKind::NotADirectory => continue,
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", point.display()))),
            Ok(folder) => folder,
        };
        let device = folder.metadata()?.dev();
        if !devices.contains(&device) {
            devices.push(device);
            found.push(folder);
        }
    }
    if found.is_empty() { Err(io::Error::other("nothing can be written here")) } else { Ok(found) }
}

/// Root of a container has no right to look into what is another user's alone, and may become that user.
fn open_folder(point: &Path) -> io::Result<File> {
    let open = || File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(point);
    match open() {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => system::with_the_files_of(USER, open),
        other => other,
    }
}

/// The mount points in `/proc/self/mountinfo` below which something may be written.
fn written(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (unescaped(fields.next()?), fields.next()?);
        (options.split(',').any(|option| option == "rw") && !point.starts_with(Path::new(FOLDER))).then_some(point)
    })
}

/// The kernel writes what would end a field or a line as a backslash and three octal digits, and the backslash itself.
fn unescaped(text: &str) -> PathBuf {
    text.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\012", "\n").replace(r"\134", r"\").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
36 35 0:34 / / rw,nodev shared:1 - overlay overlay rw,lowerdir=/a
37 36 0:5 / /proc rw,nosuid - proc proc rw
38 36 7:1 / /home/ma-user/work rw,nosuid,nodev - xfs /dev/loop1 rw,attr2
39 36 7:2 / /data/two\\040words\\134040 rw master:7 - ext4 /dev/vda rw
40 36 7:2 / /usr/lib/read-only ro,nodev - ext4 /dev/vda rw
41 36 0:9 / /run/atelier rw - tmpfs tmpfs rw
42 41 0:9 /nb /run/atelier/nb rw - tmpfs tmpfs rw
43 36 0:9 / /run/atelier-not rw - tmpfs tmpfs rw
no mount";

    #[test]
    fn what_can_be_written_is_found_but_for_the_machines_own_folder() {
        let found: Vec<_> = written(MOUNTS).collect();
        let expected = ["/", "/proc", "/home/ma-user/work", r"/data/two words\040", "/run/atelier-not"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn each_file_system_is_written_once_and_nothing_but_folders_is_opened() {
        let line = |point: &&str| format!("1 2 3:4 / {point} rw - x y z");
        let found = |points: &[&str]| {
            let lines: Vec<_> = points.iter().map(line).collect();
            file_systems(&lines.join("\n")).map(|found| found.len())
        };
        assert_eq!(found(&["/proc", "/proc/self/task", "/", "/dev/null", "/dev/tty"]).unwrap(), 2);
        let refused = found(&["/proc", "/nowhere"]).unwrap_err();
        assert!(refused.to_string().contains("/nowhere"), "{refused}");
        assert!(found(&["/dev/null"]).is_err());
    }
}
