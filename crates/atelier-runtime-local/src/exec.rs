//! Commands beside the notebook server.
//!
//! The init starts them, as it starts the server. What they read and write are pipes, or a terminal of the container's own,
//! whose other ends are here: their bytes pass through no other process. Both belong to ma-user, since who opens one by its
//! name in `/proc` or `/dev` has to own it.
//!
//! The connection to the init is the command's life. When all of an [`Exec`] is dropped, or this server ends in whatever
//! way, the init hangs the command up. It holds the writing end of the command's input, too, so that the command cannot
//! take that for the end of its input: only [`Command::EndInput`] is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use atelier_init::protocol::{Command, ExecEnd, MAX_LINE, Request};
use atelier_runtime::{Exec, ExecSpec, RuntimeError, WindowSize};
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchown, openat2};
use rustix::io::{Errno, dup};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, Interest, ReadBuf, WriteHalf,
};
use tokio::net::UnixStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::config::LocalConfig;
use crate::control::{Directions, Init, open_folder};
use crate::live::Live;
use crate::place::Place;
use crate::record::Record;
use crate::server::{self, GID, UID};

/// The master of the container's terminals.
const TERMINALS: &str = "dev/pts/ptmx";
/// What a terminal takes for the end of input.
const END_OF_TRANSMISSION: u8 = 4;

/// Starts a command in a running container.
pub(crate) async fn start(
    config: &LocalConfig,
    record: &Record,
    place: &Place,
    live: &Live,
    spec: ExecSpec,
) -> Result<Exec, RuntimeError> {
    let terminal = spec.terminal;
    let command = server::beside(config, record, spec)?;
    let broken = |e: io::Error| RuntimeError::Transient(format!("the command's streams: {e}"));
    let ends = match terminal {
        Some(size) => Ends::of_terminal(live, size),
        None => Ends::of_pipes(record.uid_base),
    };
    let (near, far) = ends.map_err(broken)?;
    let asked = async {
        let mut init = Init::connect(&place.shared()).await?;
        let answer = init.ask_with(Command::Exec(Box::new(command)), &far.each_ref().map(AsFd::as_fd)).await?;
        Ok::<_, io::Error>((init, answer))
    };
    let (init, answer) = match asked.await {
        Ok(asked) => asked,
        Err(_) if !live.first.lives().unwrap_or(true) => return Err(RuntimeError::Absent),
        Err(e) => return Err(RuntimeError::Transient(format!("the init does not answer: {e}"))),
    };
    match answer.error {
        None => near.exec(init.split()).map_err(broken),
        Some(why) => Err(RuntimeError::Permanent(format!("the command could not be started: {why}"))),
    }
}

/// The ends of a command's streams that are here.
enum Ends {
    Pipes { input: OwnedFd, output: OwnedFd, errors: OwnedFd },
    Terminal { master: OwnedFd },
}

/// Those that the init gets: what the command reads and writes, and what keeps its input open.
type FarEnds = [OwnedFd; 4];

impl Ends {
    fn of_pipes(uid_base: u32) -> io::Result<(Self, FarEnds)> {
        let pipe = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            fchown(&read, Some(Uid::from_raw(uid_base + UID)), Some(Gid::from_raw(uid_base + GID)))?;
            Ok((read, write))
        };
        let ((read, input), (output, write), (errors, write_errors)) = (pipe()?, pipe()?, pipe()?);
        for own in [&input, &output, &errors] {
            rustix::io::ioctl_fionbio(own, true)?;
        }
        let kept = dup(&input)?;
        Ok((Self::Pipes { input, output, errors }, [read, write, write_errors, kept]))
    }

    /// A terminal of the container, opened in its own file system of terminals.
    fn of_terminal(live: &Live, size: WindowSize) -> io::Result<(Self, FarEnds)> {
        let root = open_folder(Path::new(&format!("/proc/{}/root", live.pid)))?;
        // The process lives after its root was opened, so the number meant it then.
        if !live.first.lives()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let master = openat2(&root, TERMINALS, flags, Mode::empty(), below)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        resize(&master, size);
        // A terminal that is hung up is no end of input either, so there is nothing to be kept open.
        Ok((Self::Terminal { master }, [dup(&slave)?, dup(&slave)?, dup(&slave)?, slave]))
    }

    fn exec(self, (reader, writer): Directions) -> io::Result<Exec> {
        let over = CancellationToken::new();
        let end = Box::pin(end(reader, over.clone()));
        Ok(match self {
            Self::Pipes { input, output, errors } => Exec {
                input: Box::new(Input {
                    stream: Some(watched(input, Interest::WRITABLE)?),
                    end: EndOfInput::Said(writer),
                }),
                output: Box::new(Output::new(output, &over)?),
                errors: Some(Box::new(Output::new(errors, &over)?)),
                resize: Box::new(|_| ()),
                end,
            },
            Self::Terminal { master } => {
                let typed = watched(dup(&master)?, Interest::WRITABLE)?;
                Exec {
                    input: Box::new(Input { stream: Some(typed), end: EndOfInput::Typed(writer) }),
                    output: Box::new(Output::new(dup(&master)?, &over)?),
                    errors: None,
                    resize: Box::new(move |size| resize(&master, size)),
                    end,
                }
            }
        })
    }
}

fn resize(terminal: &OwnedFd, size: WindowSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(e) = tcsetwinsize(terminal, size) {
        tracing::debug!("a terminal keeps its size: {e}");
    }
}

/// What the init says at the command's end.
async fn end(reader: impl AsyncRead + Unpin, over: CancellationToken) -> Result<i32, RuntimeError> {
    let mut line = Vec::new();
    let read = BufReader::new(reader).take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
    over.cancel();
    match read {
        Ok(1..) => match serde_json::from_slice::<ExecEnd>(&line) {
            Ok(end) => Ok(end.ended.code),
            Err(e) => Err(RuntimeError::Permanent(format!("the init's answer cannot be read: {e}"))),
        },
        // The init has gone, and the container with it.
        Ok(0) | Err(_) => Err(RuntimeError::Absent),
    }
}

/// How the end of input is told.
enum EndOfInput {
    /// To the init, once our own end is closed.
    Said(WriteHalf<BufReader<UnixStream>>),
    /// On the terminal. The connection is held all the same.
    Typed(#[expect(dead_code, reason = "it is held open")] WriteHalf<BufReader<UnixStream>>),
}

fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same for as long as it is owned.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// What a command reads.
struct Input {
    stream: Option<AsyncFd<OwnedFd>>,
    end: EndOfInput,
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = &self.stream else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut ready = ready!(stream.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_none() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.end {
            EndOfInput::Typed(_) => {
                ready!(self.as_mut().poll_write(cx, &[END_OF_TRANSMISSION]))?;
            }
            EndOfInput::Said(init) => {
                let mut line = serde_json::to_vec(&Request::new(Command::EndInput))?;
                line.push(b'\n');
                // The socket is empty, so that it takes all of a line as short as this.
                if ready!(Pin::new(init).poll_write(cx, &line))? < line.len() {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
            }
        }
        self.stream = None;
        Poll::Ready(Ok(()))
    }
}

/// What a command writes. What something that it has started may still write is not waited for.
struct Output {
    stream: AsyncFd<OwnedFd>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Output {
    fn new(stream: OwnedFd, over: &CancellationToken) -> io::Result<Self> {
        Ok(Self { stream: watched(stream, Interest::READABLE)?, over: Box::pin(over.clone().cancelled_owned()) })
    }
}

impl AsyncRead for Output {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_over = self.over.as_mut().poll(cx).is_ready();
        loop {
            // First, since what was written before the end may not have been told of yet.
            match rustix::io::read(&self.stream, into.initialize_unfilled()) {
                Ok(read) => {
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // All that have had the terminal are gone.
                Err(Errno::IO) => return Poll::Ready(Ok(())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if is_over => return Poll::Ready(Ok(())),
                Err(Errno::AGAIN) => ready!(self.stream.poll_read_ready(cx))?.clear_ready(),
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }
}
