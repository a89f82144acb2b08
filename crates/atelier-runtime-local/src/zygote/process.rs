//! One zygote: the process, and asking it for a child.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    recv, send, sendmsg, shutdown, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader, Interest};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Launcher;
use crate::launch::ZygoteSpec;

/// How long imports may take.
const WARM_LIMIT: Duration = Duration::from_mins(1);
/// How long it may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a child may take into its container.
const DESCENT_LIMIT: Duration = Duration::from_secs(10);
/// What a child says that has arrived there.
const TAKEN_OVER: &str = "taken over";
/// Descriptors of one request: three, and one for each hierarchy of control groups.
const MOST_DESCRIPTORS: usize = 32;

/// A process that waits to be forked. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Zygote {
    gate: AsyncFd<OwnedFd>,
    children: AtomicU32,
    process: Mutex<Child>,
}

/// Where a child goes.
pub(crate) struct Destination {
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// The container's control groups: a folder to be born in, if any, and files that take whoever writes to them.
    pub(crate) groups: Vec<File>,
}

impl Zygote {
    /// Starts one; it has imported everything afterwards. `None` when it was given up meanwhile, and has ended.
    pub(super) async fn start(
        launcher: &Launcher,
        spec: &ZygoteSpec,
        given_up: &CancellationToken,
    ) -> io::Result<Option<Self>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (gate, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&theirs, false)?;
        send(&gate, &serde_json::to_vec(spec)?, SendFlags::empty())?;
        // Their end is the zygote's alone afterwards: the command that holds it too goes with this statement.
        let mut process = crate::launch::command(launcher)
            .arg(crate::launch::ZYGOTE)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let said = process.stderr.take().map(|stderr| tokio::spawn(listen(stderr)));
        // SAFETY: an owned descriptor stays open and the same for as long as it is owned.
        let gate = unsafe { AsyncFd::register_with_interest(gate, Interest::READABLE | Interest::WRITABLE)? };
        let zygote = Self { gate, children: AtomicU32::new(0), process: Mutex::new(process) };
        let warm = tokio::select! {
            warm = timeout(WARM_LIMIT, zygote.hear()) => warm,
            () = given_up.cancelled() => {
                zygote.end().await;
                return Ok(None);
            }
        };
        match warm {
            Ok(Ok(true)) => Ok(Some(zygote)),
            Ok(Ok(false)) => {
                let said = match said {
                    Some(listening) => listening.await.unwrap_or_default(),
                    None => String::new(),
                };
                Err(io::Error::other(format!("it ended: {}", said.trim())))
            }
            Ok(Err(e)) => Err(e),
            Err(_) => Err(io::Error::other(format!("its imports took more than {WARM_LIMIT:?}"))),
        }
    }

    /// Whether it has said that it is warm; it says nothing else.
    async fn hear(&self) -> io::Result<bool> {
        let mut word = [0; 16];
        let read = |gate: &OwnedFd| Ok(recv(gate, &mut word[..], RecvFlags::DONTWAIT)?.0);
        Ok(self.gate.async_io(Interest::READABLE, read).await? > 0)
    }

    /// Returns when it has ended. It says nothing while it serves.
    pub(super) async fn ended(&self) {
        while self.hear().await.unwrap_or(false) {}
    }

    /// It has ended afterwards, and so have its children that learn or wait: they hold its end of the gate too.
    pub(super) async fn end(&self) {
        let _ = shutdown(&self.gate, Shutdown::Write);
        let mut process = self.process.lock().await;
        if timeout(FAREWELL, async { tokio::join!(self.ended(), process.wait()) }).await.is_err()
            && let Err(e) = process.kill().await
        {
            tracing::warn!("a zygote could not be ended: {e}");
        }
    }

    /// Counts one more child; each number comes once.
    pub(super) fn count(&self) -> u32 {
        self.children.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A child of it is in the container afterwards, as `request` says, and belongs to the container's init.
    pub(super) async fn fork(&self, request: &[u8], to: &Destination) -> io::Result<()> {
        let mut asked = File::from(memfd_create("request", MemfdFlags::CLOEXEC)?);
        asked.write_all(request)?;
        asked.rewind()?;
        let (answer, end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut descriptors = vec![asked.as_fd(), end.as_fd(), to.init.as_fd()];
        descriptors.extend(to.groups.iter().map(File::as_fd));
        self.gate.async_io(Interest::WRITABLE, |gate| pass(gate, &descriptors)).await?;
        drop(descriptors);
        // Only the child may hold this end, so that its death is seen as the end of what it says.
        drop(end);
        let mut said = String::new();
        let mut answer = pipe::Receiver::from_owned_fd(answer)?;
        let reading = async { answer.read_to_string(&mut said).await };
        timeout(DESCENT_LIMIT, reading).await.map_err(|_| io::Error::other("the child does not arrive"))??;
        match said.as_str() {
            TAKEN_OVER => Ok(()),
            "" => Err(io::Error::other("the child ended without a word")),
            why => Err(io::Error::other(why.to_owned())),
        }
    }
}

fn pass(gate: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    sendmsg(gate, &[IoSlice::new(b"!")], &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Passes on what the zygote says while it imports; returns its last line.
async fn listen(from: impl AsyncRead + Unpin) -> String {
    let (mut lines, mut last) = (BufReader::new(from).lines(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!("zygote: {line}");
        last = line;
    }
    last
}
