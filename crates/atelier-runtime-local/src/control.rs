//! Talking to a container's init.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use atelier_init::protocol::{Answer, Command, MAX_LINE, Request};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest, ReadHalf, WriteHalf};
use tokio::net::UnixStream;

/// How long the init may take for an answer that needs no waiting.
const PROMPT: Duration = Duration::from_secs(5);
/// Descriptors that go with one request at most.
const MOST_DESCRIPTORS: usize = 4;

/// Opens what a path names below a folder, without following a link anywhere on the way.
pub(crate) fn open_below(folder: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(folder, path, flags, Mode::empty(), below)?)
}

/// Opens a folder below a folder, to be asked about itself, without following a link anywhere on the way.
pub(crate) fn open_folder_below(folder: &OwnedFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(File::from(openat2(folder, path, flags, Mode::empty(), below)?))
}

/// Opens a folder by its path.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Connects to a Unix socket below a folder, and to nothing else: what the name leads to is opened first, looked at,
/// and then connected to as the very thing that was looked at.
pub(crate) async fn connect_below(folder: &OwnedFd, path: &Path) -> io::Result<UnixStream> {
    let socket = open_below(folder, path)?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode);
    if !kind.is_socket() {
        return Err(io::Error::new(ErrorKind::NotFound, "not a socket"));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

/// A connection to an init.
pub(crate) struct Init(BufReader<UnixStream>);

/// The two directions of a connection, which is closed when neither is there any more.
pub(crate) type Directions = (ReadHalf<BufReader<UnixStream>>, WriteHalf<BufReader<UnixStream>>);

impl Init {
    /// Connects through the instance's shared folder.
    pub(crate) async fn connect(shared: &Path) -> io::Result<Self> {
        let folder = open_folder(shared)?;
        let stream = connect_below(&folder, Path::new(atelier_init::protocol::CONTROL_SOCKET)).await?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for something that is answered at once.
    pub(crate) async fn ask(&mut self, command: Command) -> io::Result<Answer> {
        self.ask_within(command, PROMPT).await
    }

    pub(crate) async fn ask_within(&mut self, command: Command, limit: Duration) -> io::Result<Answer> {
        let talk = async {
            let mut line = serde_json::to_vec(&Request::new(command))?;
            line.push(b'\n');
            self.0.write_all(&line).await?;
            // It may have held a secret.
            line.fill(0);
            self.next().await
        };
        tokio::time::timeout(limit, talk).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
    }

    /// Asks for something that these descriptors belong to.
    pub(crate) async fn ask_with(&mut self, command: Command, descriptors: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        let talk = async {
            let mut line = serde_json::to_vec(&Request::new(command))?;
            line.push(b'\n');
            let stream = self.0.get_mut();
            // They travel with the first byte; what the socket does not take at once follows.
            let sent = stream.async_io(Interest::WRITABLE, || pass(&*stream, &line, descriptors)).await?;
            stream.write_all(&line[sent..]).await?;
            self.next().await
        };
        tokio::time::timeout(PROMPT, talk).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
    }

    /// Its two directions, for what goes on after an answer.
    pub(crate) fn split(self) -> Directions {
        tokio::io::split(self.0)
    }

    /// The next answer, whenever it comes.
    pub(crate) async fn next(&mut self) -> io::Result<Answer> {
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(MAX_LINE as u64);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

fn pass(to: impl AsFd, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    Ok(sendmsg(to, &[IoSlice::new(line)], &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn only_a_real_socket_below_the_folder_is_connected_to() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let _other = UnixListener::bind(outside.path().join("s")).unwrap();
        let _own = UnixListener::bind(folder.path().join("own")).unwrap();
        symlink(outside.path().join("s"), folder.path().join("link")).unwrap();
        symlink(outside.path(), folder.path().join("away")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let at = open_folder(folder.path()).unwrap();
        assert!(connect_below(&at, Path::new("own")).await.is_ok());
        for trap in ["link", "away/s", "file", "none", "../s"] {
            assert!(connect_below(&at, Path::new(trap)).await.is_err(), "{trap} was followed");
        }
    }
}
