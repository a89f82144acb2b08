//! The log of a notebook server, from its beginning and as it grows.
//!
//! The file is rotated by another process: it is renamed to `….1` and begun anew. So what is open is read to its end
//! before the new one is opened, and nothing is lost or sent twice.

use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(250);
/// The size of a piece.
const PIECE: usize = 32 * 1024;

/// What is asked of a log.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// Go on with what is added.
    #[serde(default)]
    pub(super) follow: bool,
}

/// Sends a log.
pub(super) struct LogTail {
    pub(super) file: PathBuf,
    pub(super) wanted: Wanted,
    /// Whether the notebook is there: the log of one that was deleted ends.
    pub(super) is_there: Box<dyn Fn() -> bool + Send + Sync>,
    pub(super) stop: CancellationToken,
}

impl LogTail {
    /// Sends what there is, and what comes while somebody listens.
    pub(super) async fn send(self, out: mpsc::Sender<Bytes>) {
        let mut open = None;
        if let Some(older) = open_log(&rotated(&self.file)) {
            let _ = drain(older, &out).await;
        }
        while let Ok(new) = self.pass(open, &out).await {
            open = new;
            if !self.wanted.follow || !(self.is_there)() {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = out.closed() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Sends everything that is there now. What is open afterwards is what will grow.
    async fn pass(&self, open: Option<File>, out: &mpsc::Sender<Bytes>) -> io::Result<Option<File>> {
        let mut open = match open {
            Some(file) => Some(drain(file, out).await?),
            None => None,
        };
        while let Some(next) = self.next(open.as_ref()).await {
            if let Some(old) = open.take() {
                // Between the last look and the rotation, more may have been written.
                drain(old, out).await?;
            }
            open = Some(drain(next, out).await?);
        }
        Ok(open)
    }

    /// The file at the path, when it is another one than the open one.
    async fn next(&self, open: Option<&File>) -> Option<File> {
        let now = open_log(&self.file)?;
        let Some(open) = open else { return Some(now) };
        let (was, is) = (open.metadata().await.ok()?, now.metadata().await.ok()?);
        ((was.dev(), was.ino()) != (is.dev(), is.ino())).then_some(now)
    }
}

/// The name under which the file before this one is kept.
fn rotated(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// A regular file and nothing else: no link leads out of the folder, no pipe blocks.
fn open_log(path: &Path) -> Option<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|_| File::from_std(file))
}

/// Sends a file from where it stands to its end. An error when nobody listens any more.
async fn drain(mut file: File, out: &mpsc::Sender<Bytes>) -> io::Result<File> {
    loop {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece).await?;
        if length == 0 {
            return Ok(file);
        }
        piece.truncate(length);
        out.send(piece.into()).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Log {
        folder: tempfile::TempDir,
        stop: CancellationToken,
    }

    impl Log {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), stop: CancellationToken::new() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("server.log")
        }

        fn write(&self, text: &str) {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            std::fs::rename(self.path(), rotated(&self.path())).unwrap();
        }

        fn read(&self, follow: bool) -> mpsc::Receiver<Bytes> {
            let (out, pieces) = mpsc::channel(16);
            let tail = LogTail {
                file: self.path(),
                wanted: Wanted { follow },
                is_there: Box::new(|| true),
                stop: self.stop.clone(),
            };
            tokio::spawn(tail.send(out));
            pieces
        }
    }

    async fn until(pieces: &mut mpsc::Receiver<Bytes>, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            text += std::str::from_utf8(&pieces.recv().await.unwrap()).unwrap();
        }
        text
    }

    #[tokio::test]
    async fn without_following_what_is_there_is_sent_older_first() {
        let log = Log::new();
        log.write("one\n");
        log.rotate();
        log.write("two\n");
        let mut pieces = log.read(false);
        assert_eq!(until(&mut pieces, "two\n").await, "one\ntwo\n");
        assert_eq!(pieces.recv().await, None);
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_through_rotations_and_loses_nothing() {
        let log = Log::new();
        let mut pieces = log.read(true);
        log.write("one\n");
        assert_eq!(until(&mut pieces, "one\n").await, "one\n");
        log.write("two\n");
        log.rotate();
        log.write("three\n");
        assert_eq!(until(&mut pieces, "three\n").await, "two\nthree\n");
        log.stop.cancel();
        assert_eq!(pieces.recv().await, None);
    }

    #[tokio::test]
    async fn a_link_is_not_followed() {
        let log = Log::new();
        let secret = log.folder.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, log.path()).unwrap();
        assert_eq!(log.read(false).recv().await, None);
    }
}
