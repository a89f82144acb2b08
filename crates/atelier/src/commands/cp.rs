//! `atelier notebook cp`: files and folders into a running notebook, and out of it.
//!
//! The other end runs in the notebook, as its user, who may be anybody: nothing that it says is believed, see
//! [`atelier_init::archive`]. Files are read and written on a thread of their own, in step with the network.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use atelier_init::archive;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Bytes;

use super::exec::{Heard, Remote};
use super::{Context, lookup};
use crate::args::Cp;
use crate::client::Client;
use crate::exec_frames::{Destination, PIECE, Wish};
use crate::failure::Failure;
use crate::printer::{Printer, plain};

/// Pieces between the network and the thread.
const BETWEEN: usize = 8;
/// What the other end says without a break is shown when it is longer than this, in bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    /// In a notebook, by its name or id and a path.
    There(String, String),
    /// On this machine.
    Here(PathBuf),
    /// Stdin or stdout.
    Standard,
}

impl Side {
    /// A colon behind the first slash belongs to a path on this machine.
    fn read(text: &str) -> Self {
        match text.split_once(':') {
            Some((notebook, path)) if !notebook.is_empty() && !notebook.contains('/') => {
                Self::There(notebook.into(), if path.is_empty() { ".".into() } else { path.into() })
            }
            _ if text == "-" => Self::Standard,
            _ => Self::Here(text.into()),
        }
    }

    /// What it is called in a folder that it is copied to.
    fn name(&self) -> Option<String> {
        let path = match self {
            Self::There(_, path) => Path::new(path),
            Self::Here(path) => path,
            Self::Standard => return None,
        };
        path.file_name()?.to_str().map(str::to_owned)
    }
}

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Cp) -> Result<(), Failure> {
    let (from, to) = (Side::read(&args.from), Side::read(&args.to));
    let one_notebook = || {
        Failure::new("one of the two must be in a notebook, as NOTEBOOK:PATH, and the other one must not")
            .hint("a path of this machine that has a colon is written as ./PATH")
    };
    let (notebook, wish) = match (&from, &to) {
        (Side::There(..), Side::There(..)) => return Err(one_notebook()),
        (Side::There(notebook, path), _) => (notebook, Wish { send: Some(path.clone()), ..Wish::default() }),
        (_, Side::There(notebook, path)) => {
            let receive = Some(Destination { path: path.clone(), name: from.name() });
            (notebook, Wish { receive, ..Wish::default() })
        }
        _ => return Err(one_notebook()),
    };
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found = lookup::notebook(&client, notebook).await?;
    let remote = Remote::begin(&client, found["id"].as_str().unwrap_or_default(), &wish).await?;
    let copy = Copy { remote, printer: context.printer, said: false, line: Vec::new() };
    match (from, to) {
        (from, Side::There(..)) => copy.upload(from).await,
        (from, to) => copy.download(from.name(), to).await,
    }
}

struct Copy {
    remote: Remote,
    printer: Printer,
    /// The other end has said what it left out, or why it failed.
    said: bool,
    /// What it has said of a line that has not ended.
    line: Vec<u8>,
}

impl Copy {
    /// The words of the other end, line by line and without what a terminal would obey.
    fn say(&mut self, words: &Bytes) {
        self.said = true;
        self.line.extend_from_slice(words);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            self.say_line(rest);
        }
        if self.line.len() > LONGEST_LINE {
            self.say_line(Vec::new());
        }
    }

    fn say_line(&mut self, rest: Vec<u8>) {
        let line = std::mem::replace(&mut self.line, rest);
        self.printer.error(&plain(String::from_utf8_lossy(&line).trim_end_matches('\n')));
    }

    fn is_done(&mut self, code: u8, whole: io::Result<bool>) -> Result<(), Failure> {
        if !self.line.is_empty() {
            self.say_line(Vec::new());
        }
        match whole {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof || !self.said => Err(incomplete(&e.to_string())),
            Ok(true) if code == 0 => Ok(()),
            // Each thing that is missing was said already.
            _ => Err(Failure::new("not everything was copied")),
        }
    }

    async fn download(mut self, name: Option<String>, to: Side) -> Result<(), Failure> {
        let (pieces, incoming) = mpsc::channel(BETWEEN);
        let printer = self.printer;
        let mut writing = on_a_thread(move || match to {
            Side::Here(to) => {
                let to = archive::place(&to, name.as_deref().map(AsRef::as_ref))?;
                archive::receive(BufReader::new(Incoming::of(incoming)), &to, &mut |path, why| {
                    left_out(printer, path, why);
                })
            }
            _ => archive::receive_bytes(BufReader::new(Incoming::of(incoming)), io::stdout().lock()).map(|()| true),
        });
        loop {
            match self.remote.hear().await {
                Ok(Heard::Output(bytes)) => {
                    if pieces.send(bytes).await.is_err() {
                        // The thread has given up, and says why.
                        return self.is_done(0, ended(&mut writing).await);
                    }
                }
                Ok(Heard::Errors(bytes)) => self.say(&bytes),
                Ok(Heard::Taken) => {}
                Ok(Heard::Over(code)) => {
                    drop(pieces);
                    return self.is_done(code, ended(&mut writing).await);
                }
                Err(failure) => {
                    drop(pieces);
                    return Err(match ended(&mut writing).await {
                        Err(e) => failure.hint(missing(&e.to_string())),
                        Ok(_) => failure,
                    });
                }
            }
        }
    }

    async fn upload(mut self, from: Side) -> Result<(), Failure> {
        let (outgoing, mut pieces) = mpsc::channel(BETWEEN);
        let printer = self.printer;
        let mut reading = on_a_thread(move || {
            let to = BufWriter::with_capacity(PIECE, Outgoing(outgoing));
            match from {
                Side::Here(from) => archive::send(&from, to, &mut |path, why| left_out(printer, path, why))
                    .map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", from.display()))),
                _ => archive::send_bytes(io::stdin().lock(), to).map(|()| true),
            }
        });
        let mut sent = None;
        loop {
            tokio::select! {
                heard = self.remote.hear() => match heard? {
                    Heard::Errors(bytes) => self.say(&bytes),
                    Heard::Output(_) | Heard::Taken => {}
                    Heard::Over(code) => {
                        return self.is_done(code, sent.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into())));
                    }
                },
                piece = pieces.recv(), if sent.is_none() && self.remote.has_room() => {
                    if piece.is_none() {
                        let whole = ended(&mut reading).await;
                        // Without the end of its input, the other end keeps nothing that is not whole.
                        sent = Some(Ok(whole.map_err(|e| incomplete(&e.to_string()))?));
                    }
                    self.remote.give(piece.unwrap_or_default()).await?;
                },
            }
        }
    }
}

fn left_out(printer: Printer, path: &Path, why: &str) {
    printer.error(&plain(&format!("`{}` is left out: {why}", path.display())));
}

fn missing(why: &str) -> String {
    format!("{}; that and what would have come after it is missing", plain(why))
}

fn incomplete(why: &str) -> Failure {
    Failure::new(missing(why))
}

fn on_a_thread(work: impl FnOnce() -> io::Result<bool> + Send + 'static) -> oneshot::Receiver<io::Result<bool>> {
    let (done, ended) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody may wait any more.
        let _ = done.send(work());
    });
    ended
}

async fn ended(thread: &mut oneshot::Receiver<io::Result<bool>>) -> io::Result<bool> {
    thread.await.unwrap_or_else(|_| Err(io::Error::other("the thread that copies has ended")))
}

/// What comes from the network, for a thread.
struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Incoming {
    const fn of(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// What goes to the network, from a thread.
struct Outgoing(mpsc::Sender<Vec<u8>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes[..bytes.len().min(PIECE)].to_vec();
        let length = piece.len();
        self.0.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_notebooks_or_ours() {
        let there = |notebook: &str, path: &str| Side::There(notebook.into(), path.into());
        for (text, side) in [
            ("nb:a/b", there("nb", "a/b")),
            ("nb:/tmp/a:b", there("nb", "/tmp/a:b")),
            ("nb:", there("nb", ".")),
            ("./a:b", Side::Here("./a:b".into())),
            ("/a:b", Side::Here("/a:b".into())),
            (":b", Side::Here(":b".into())),
            ("-", Side::Standard),
        ] {
            assert_eq!(Side::read(text), side, "{text}");
        }
        let name = |text: &str| Side::read(text).name();
        assert_eq!(
            (name("nb:a/b/"), name("/x/y"), name("nb:."), name("-")),
            (Some("b".into()), Some("y".into()), None, None)
        );
    }
}
