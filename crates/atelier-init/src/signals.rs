//! Signals as something to read.
//!
//! All signals are blocked: no handler ever runs, and what the loop does cannot be interrupted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::system::check;

/// The signals that have arrived.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: an all-zero set is a valid place for `sigfillset`, and every pointer is to a live local.
        let fd = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()))?;
            check(libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
        };
        // SAFETY: just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes all that arrived; whether one of them asks this process to end.
    pub(crate) fn told_to_end(&self) -> io::Result<bool> {
        let mut told = false;
        while let Some(signal) = self.next()? {
            told |= matches!(signal, libc::SIGTERM | libc::SIGINT);
        }
        Ok(told)
    }

    fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: the structure is plain numbers; `read` writes at most its size into it.
        let (read, arrived) = unsafe {
            let mut arrived: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            (libc::read(self.0.as_raw_fd(), (&raw mut arrived).cast(), size), arrived)
        };
        if read > 0 {
            return Ok(i32::try_from(arrived.ssi_signo).ok());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
