//! Children that the launcher forks. It has one thread, so a forked child may do whatever the launcher may.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A forked child.
pub(super) struct Child(i32);

impl Child {
    /// Waits for its end; an error unless it ended well.
    pub(super) fn wait(self) -> anyhow::Result<()> {
        let mut status = 0;
        // SAFETY: the child is ours, and `status` a valid place for the result.
        while unsafe { libc::waitpid(self.0, &raw mut status, 0) } < 0 {
            let error = io::Error::last_os_error();
            anyhow::ensure!(error.kind() == io::ErrorKind::Interrupted, "waitpid: {error}");
        }
        anyhow::ensure!(status == 0, "a forked child ended with status {status}");
        Ok(())
    }

    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.0
    }
}

/// Forks a child that does `work` and ends with the launcher at the latest.
pub(super) fn fork(work: impl FnOnce() -> io::Result<()>) -> io::Result<Child> {
    let launcher = std::process::id();
    // SAFETY: the launcher has one thread.
    of(unsafe { libc::fork() }.into(), launcher, work)
}

/// The same; the child is in this control group of version 2 from the first moment on.
pub(super) fn fork_in(group: &File, work: impl FnOnce() -> io::Result<()>) -> io::Result<Child> {
    let launcher = std::process::id();
    // SAFETY: all-zero bytes are valid arguments.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    how.cgroup = group.as_raw_fd().unsigned_abs().into();
    // SAFETY: the arguments live across the call and ask for what `fork` does. What the C library would do around it is for
    // programs with threads.
    let forked = unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of_val(&how)) };
    of(forked, launcher, work)
}

/// In the child: its work, and its end.
fn of(forked: libc::c_long, launcher: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<Child> {
    if forked != 0 {
        return i32::try_from(forked).ok().filter(|pid| *pid > 0).map(Child).ok_or_else(io::Error::last_os_error);
    }
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    // It may have ended before that.
    let lives = std::os::unix::process::parent_id() == launcher;
    let code = match if lives { work() } else { Err(io::Error::other("the launcher has gone")) } {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("launcher's child: {e}");
            1
        }
    };
    // SAFETY: ends the child without running what belongs to the launcher.
    unsafe { libc::_exit(code) }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
