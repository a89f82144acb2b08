//! The control socket.
//!
//! Connections are few and come from root outside; still none of them may hold up the loop: every read and write is
//! non-blocking, and a peer that does not take its answers is dropped.
//!
//! Descriptors that come with a request are kept until the request is read, the newest ones only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use atelier_init::protocol::{Answer, CONTROL_SOCKET, MAX_LINE, Request};
use serde::Serialize;

use crate::system;

/// Connections at once; the oldest gives way to a new one.
const MAX_PEERS: usize = 32;

/// Names a connection; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection(u64);

/// The socket and everyone connected to it.
pub(crate) struct Control {
    listener: UnixListener,
    peers: BTreeMap<Connection, Peer>,
    next: u64,
}

struct Peer {
    stream: UnixStream,
    unread: Vec<u8>,
    passed: Vec<OwnedFd>,
    watches: bool,
    awaits_end: bool,
}

impl Control {
    pub(crate) fn listen(folder: &Path) -> io::Result<Self> {
        let path = folder.join(CONTROL_SOCKET);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, peers: BTreeMap::new(), next: 0 })
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.peers.values().map(|p| p.stream.as_fd()))
    }

    /// Every whole request that has arrived.
    pub(crate) fn requests(&mut self) -> Vec<(Connection, Result<Request, String>)> {
        self.accept();
        let mut requests = Vec::new();
        self.peers.retain(|connection, peer| {
            let open = peer.read();
            while let Some(line) = peer.take_line() {
                requests.push((*connection, parse(&line)));
            }
            open && peer.unread.len() <= MAX_LINE
        });
        requests
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.peers.len() >= MAX_PEERS {
                self.peers.pop_first();
            }
            self.next += 1;
            self.peers.insert(Connection(self.next), Peer::new(stream));
        }
    }

    /// The process that opened this connection, and the descriptor that it sent.
    pub(crate) fn take_sender(&mut self, connection: Connection) -> Result<(i32, OwnedFd), String> {
        let peer = self.peers.get_mut(&connection).ok_or("the connection is closed")?;
        let passed = peer.passed.pop().ok_or("no descriptor came with the request")?;
        let sender = rustix::net::sockopt::socket_peercred(&peer.stream).map_err(|e| format!("the sender: {e}"))?;
        Ok((sender.pid.as_raw_nonzero().get(), passed))
    }

    /// The descriptors that came with the last request.
    pub(crate) fn take_passed(&mut self, connection: Connection) -> Vec<OwnedFd> {
        self.peers.get_mut(&connection).map(|peer| std::mem::take(&mut peer.passed)).unwrap_or_default()
    }

    /// Whether the other side is still there.
    pub(crate) fn is_open(&self, connection: Connection) -> bool {
        self.peers.contains_key(&connection)
    }

    pub(crate) fn answer(&mut self, to: Connection, answer: &impl Serialize) {
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.write(answer).is_err()
        {
            self.peers.remove(&to);
        }
    }

    /// This peer hears of every change from now on.
    pub(crate) fn keep_watching(&mut self, connection: Connection) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.watches = true;
        }
    }

    /// This peer gets its answer when the server has ended.
    pub(crate) fn await_end(&mut self, connection: Connection) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.awaits_end = true;
        }
    }

    /// The state has changed: answers everyone who waits for that.
    pub(crate) fn tell_watchers(&mut self, answer: &Answer) {
        let ended = matches!(answer.state, atelier_init::protocol::State::Ended(_));
        self.peers.retain(|_, peer| {
            let due = peer.watches || (peer.awaits_end && ended);
            peer.awaits_end &= !ended;
            !due || peer.write(answer).is_ok()
        });
    }
}

impl Peer {
    const fn new(stream: UnixStream) -> Self {
        Self { stream, unread: Vec::new(), passed: Vec::new(), watches: false, awaits_end: false }
    }

    /// Reads what there is; whether the peer is still there.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        while self.unread.len() <= MAX_LINE {
            match system::receive(&self.stream, &mut buffer) {
                Ok((0, _)) => return false,
                Ok((n, passed)) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    if !passed.is_empty() {
                        self.passed = passed;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|b| *b == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    fn write(&mut self, answer: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }
}

fn parse(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|e| format!("not a request of this protocol: {e}"))
}
