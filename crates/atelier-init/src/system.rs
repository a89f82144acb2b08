//! The system calls that the standard library does not offer.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Descriptors that one message may carry.
const MOST_PASSED: usize = 4;
/// Descriptors up to here have a fixed meaning in a server; no pipe of ours may be among them.
const FIRST_FREE_FD: RawFd = 16;

/// The flag of an answer that leaves a call to the kernel.
const CONTINUE: u32 = 1;
const _: () = assert!(CONTINUE as libc::c_ulong == libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE);

/// The error of the last call as a result.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Nobody but root outside may read this process's memory, environment or descriptors.
pub(crate) fn hide_from_ptrace() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(drop)
}

/// Waits until one of the descriptors can be read, or the time is up.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout_ms: Option<u64>) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length describe `polled`, which lives across the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    match check(result) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// One process that has ended, and its wait status.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// The code that a shell would show for this wait status.
pub(crate) fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Sends a signal to a process that has not been reaped yet, so that its number cannot belong to another.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: takes no pointers. The process being gone is no error here.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to every process of a session, and says whether there was one.
pub(crate) fn signal_session(session: i32, signal: Signal) -> bool {
    let mut found = false;
    for pid in processes() {
        // The descriptor first, so that what is looked at is what gets the signal.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if session_of(pid.as_raw_nonzero().get()) == Some(session) {
            found = true;
            let _ = pidfd_send_signal(&process, signal);
        }
    }
    found
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// The session of a process that has not ended.
fn session_of(pid: i32) -> Option<i32> {
    session_in(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The same, from what the kernel says of a process. The name in it may be anything, and is cut off within a character; what
/// follows the last parenthesis counts.
fn session_in(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<_> = std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(3)?.parse().ok()
}

/// A child that does this, and ends with what it answers. It must not touch what the parent and others share.
pub(crate) fn in_a_child(work: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    match check(unsafe { libc::fork() })? {
        0 => {
            let code = work();
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// Closes every descriptor but these, which are in ascending order.
pub(crate) fn close_all_but(kept: &[RawFd]) {
    let mut first = 0;
    for next in kept.iter().copied().chain([RawFd::MAX]) {
        if next > first {
            // SAFETY: no pointers; whoever calls this uses none of those descriptors any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
        }
        first = next.saturating_add(1);
    }
}

/// Does this with another user's rights to files, which root of a container may take.
pub(crate) fn with_the_files_of<T>((uid, gid): (u32, u32), work: impl FnOnce() -> T) -> T {
    // SAFETY: no pointers. Both calls answer what was before, and are undone below.
    let (group, user) = unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
    let result = work();
    // SAFETY: as above.
    unsafe { (libc::setfsuid(user.cast_unsigned()), libc::setfsgid(group.cast_unsigned())) };
    result
}

/// Where a filter is and how long, as the kernel wants to be told. It is good for as long as the filter is.
pub(crate) fn described(filter: &[libc::sock_filter]) -> io::Result<libc::sock_fprog> {
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    Ok(libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() })
}

/// Installs a filter that asks about calls, here and in all that is started from here; who reads the descriptor is asked.
/// Where the kernel knows how, a caller that is known to the reader hears the answer, unless a signal ends it.
pub(crate) fn install_and_listen(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = described(filter)?;
    let install = |flags: libc::c_ulong| {
        let operation = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the kernel copies `len` instructions from a live slice and writes nothing.
        let listener = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
        check(i32::try_from(listener).map_err(io::Error::other)?)
    };
    let listens = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listener = match install(listens | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => install(listens)?,
        other => other?,
    };
    // SAFETY: just made, owned by nobody else.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    // Whoever calls must not find that nobody hears it.
    Ok(lift(&listener).unwrap_or(listener))
}

/// What a listener has heard.
pub(crate) enum Heard {
    /// Somebody waits for the answer to this call.
    Call(u64),
    /// Nobody calls now.
    Nothing,
    /// Nobody runs with its filter any more.
    End,
}

/// What this listener has heard; returns at once.
pub(crate) fn hear(listener: &OwnedFd) -> Heard {
    let mut look = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives across the call.
    let ready = unsafe { libc::poll(&raw mut look, 1, 0) } > 0;
    if !ready || look.revents & libc::POLLIN == 0 {
        return if ready && look.revents & libc::POLLHUP != 0 { Heard::End } else { Heard::Nothing };
    }
    // SAFETY: all of it are numbers, and the kernel wants zeros.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into a live structure of the size that the number of the request holds. It does not wait,
    // since there was a call and nobody else takes it; whoever has made it may be gone, which is an error.
    let taken = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    if taken == 0 { Heard::Call(call.id) } else { Heard::Nothing }
}

/// What becomes of a call.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// It was done, and returns 0.
    Done,
    /// The kernel does it after all.
    Continue,
}

/// Lets a call go on, unless whoever made it has gone.
pub(crate) fn answer_call(listener: &OwnedFd, call: u64, verdict: Verdict) {
    let flags = match verdict {
        Verdict::Done => 0,
        Verdict::Continue => CONTINUE,
    };
    let answer = libc::seccomp_notif_resp { id: call, val: 0, error: 0, flags };
    // SAFETY: the kernel reads a live structure of the size that the number of the request holds.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
}

/// Kills every other process in the container.
pub(crate) fn kill_everything_else() {
    // SAFETY: takes no pointers. As the first process of a pid namespace, -1 means "all others of the namespace".
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

fn clock_ms(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; both clocks used here always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Milliseconds by a clock that only goes forward.
pub(crate) fn monotonic_ms() -> u64 {
    u64::try_from(clock_ms(libc::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn wall_clock_ms() -> i64 {
    clock_ms(libc::CLOCK_REALTIME)
}

/// A pipe whose ends are closed by `exec` and lie above the descriptors that a server is given.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both descriptors were just made and belong to nobody else.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    Ok((lift(&read)?, lift(&write)?))
}

fn lift(fd: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; the new descriptor belongs to the caller.
    let lifted = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE_FD) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// Reads what has arrived, and the descriptors that came with it, which lie above those that a server is given.
pub(crate) fn receive(from: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_PASSED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let read = recvmsg(from, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut passed = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                passed.push(lift(&descriptor)?);
            }
        }
    }
    Ok((read, passed))
}

/// The parent of a process, as its own namespace numbers it.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Reads that find nothing return at once.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_a_few_descriptors_are_closed() {
        let (kept, closed) = (pipe().unwrap(), pipe().unwrap());
        let mut few = [kept.0.as_raw_fd(), kept.1.as_raw_fd()];
        few.sort_unstable();
        let is_open = |fd: &OwnedFd| {
            // SAFETY: no pointers.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) >= 0 }
        };
        let look = || {
            close_all_but(&few);
            i32::from(is_open(&kept.0)) + 2 * i32::from(is_open(&kept.1)) + 4 * i32::from(is_open(&closed.0))
        };
        let child = in_a_child(look).unwrap();
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(exit_code(status), 1 + 2);
    }

    #[test]
    fn no_name_hides_a_process() {
        assert_eq!(session_in(b"7 (sh) S 1 7 5 0 -1"), Some(5));
        assert_eq!(session_in(b"7 (a) Z (b) S 1 7 5 0 -1"), Some(5));
        assert_eq!(session_in(b"7 (run-\xe6\x95\xb0\xe6) S 1 7 5 0 -1"), Some(5), "cut off within a character");
        assert_eq!(session_in(b"7 (sh) Z 1 7 5 0 -1"), None, "it has ended");
    }
}
