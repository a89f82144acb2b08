//! A listening socket that is handed to this program at its start, in the way of `systemd.socket(5)`: the variable
//! `LISTEN_FDS` says how many there are, from descriptor 3 on.
//!
//! Whoever holds the socket outlives the server. While one server goes and the next one comes, connections wait in the
//! socket's queue instead of being refused.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::failure::Failure;

/// The socket that was handed over; `None` when none was. To be called before any thread exists: what was handed over is
/// taken out of the environment, and closed in whatever this program starts, so that no notebook has the door in its hands.
pub(crate) fn listener() -> Result<Option<TcpListener>, Failure> {
    let mut handed = ListenFd::from_env();
    match handed.len() {
        0 => Ok(None),
        1 => take(&mut handed).map(Some),
        more => Err(Failure::new(format!("`LISTEN_FDS` hands over {more} sockets; a server takes one"))
            .hint("one `ListenStream=` in atelier.socket")),
    }
}

fn take(handed: &mut ListenFd) -> Result<TcpListener, Failure> {
    let wrong = |e: std::io::Error| {
        Failure::new(format!("`LISTEN_FDS` hands over something else than a listening TCP socket: {e}"))
    };
    let listener = handed.take_tcp_listener(0).map_err(wrong)?;
    let listener = listener.ok_or_else(|| wrong(std::io::ErrorKind::NotFound.into()))?;
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(listener)
}
