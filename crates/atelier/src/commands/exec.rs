//! `atelier notebook exec`: a command in a running notebook, as if it ran here.
//!
//! Its exit code becomes ours. What is not its own end, whether it could not be run or nobody knows how it ended, is
//! [`NOT_ITS_OWN`] and said on stderr.

use std::io::{self, IsTerminal as _, Read as _};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Upgraded;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{Context, lookup};
use crate::args::{ExecArgs, Tty};
use crate::client::Client;
use crate::exec_frames::{End, Frame, PIECE, PROTOCOL, Size, WINDOW, Wish, config};
use crate::failure::Failure;

/// The exit code when the command has not ended by itself.
pub(crate) const NOT_ITS_OWN: u8 = 125;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: ExecArgs) -> Result<(), Failure> {
    match exec(context, args).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::ended_with(code)),
        Err(failure) => Err(failure.exiting(NOT_ITS_OWN)),
    }
}

async fn exec(context: &Context, args: ExecArgs) -> Result<u8, Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found = lookup::notebook(&client, &args.notebook).await?;
    let terminal = match args.tty {
        Tty::Never => None,
        Tty::Auto if !(io::stdin().is_terminal() && io::stdout().is_terminal()) => None,
        Tty::Auto | Tty::Always => Some(own_size().unwrap_or(Size { columns: 80, rows: 24 })),
    };
    let mut env: std::collections::BTreeMap<_, _> = args.env.into_iter().collect();
    if let (Some(_), Some(kind)) = (terminal, context.surroundings.variable("TERM")) {
        env.entry("TERM".into()).or_insert_with(|| kind.to_owned());
    }
    let wish = Wish { command: args.command, env, folder: args.workdir, terminal, ..Wish::default() };
    let mut remote = Remote::begin(&client, found["id"].as_str().unwrap_or_default(), &wish).await?;
    let _raw = terminal.and_then(|_| Raw::enter());
    remote.attach(terminal.is_some()).await
}

fn own_size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { columns: size.ws_col, rows: size.ws_row })
}

/// Our own terminal, as it was: put back when this is dropped.
struct Raw(Termios);

impl Raw {
    /// Every key goes to the command. Nothing happens where stdin is no terminal.
    fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// A command that runs in a notebook.
pub(crate) struct Remote {
    socket: WebSocketStream<Upgraded>,
    /// Bytes of input that may be sent.
    window: usize,
}

/// What came from the command.
pub(crate) enum Heard {
    Output(Bytes),
    Errors(Bytes),
    /// More input may be sent.
    Taken,
    Over(u8),
}

impl Remote {
    /// Has the server begin with it.
    pub(crate) async fn begin(client: &Client, notebook: &str, wish: &Wish) -> Result<Self, Failure> {
        let upgraded = client.websocket(&format!("/notebooks/{notebook}/exec"), PROTOCOL).await?;
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config())).await;
        let wish = serde_json::to_string(wish).map_err(|e| Failure::new(e.to_string()))?;
        socket.send(Message::Text(wish.into())).await.map_err(|_| broken())?;
        Ok(Self { socket, window: WINDOW })
    }

    /// What comes next.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Failure> {
        loop {
            let bytes = match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return Err(broken()),
            };
            return Ok(match Frame::read(&bytes) {
                Some(Frame::Output(bytes)) => Heard::Output(bytes),
                Some(Frame::Errors(bytes)) => Heard::Errors(bytes),
                Some(Frame::Taken(bytes)) => {
                    self.window = self.window.saturating_add(bytes as usize).min(WINDOW);
                    Heard::Taken
                }
                Some(Frame::Over(End::ExitCode(code))) => Heard::Over(u8::try_from(code).unwrap_or(u8::MAX)),
                Some(Frame::Over(End::Error(why))) => return Err(Failure::new(why)),
                _ => return Err(Failure::new("the server said something that this version does not know")),
            });
        }
    }

    /// Whether a piece of input can be sent now.
    pub(crate) const fn has_room(&self) -> bool {
        self.window >= PIECE
    }

    /// Sends a piece of input; an empty one is the end of it.
    pub(crate) async fn give(&mut self, piece: Vec<u8>) -> Result<(), Failure> {
        self.window = self.window.saturating_sub(piece.len());
        let frame = if piece.is_empty() { Frame::EndOfInput } else { Frame::Input(piece.into()) };
        self.send(&frame).await
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), Failure> {
        self.socket.send(frame.message()).await.map_err(|_| broken())
    }

    /// Our own stdin, stdout and stderr become the command's, until it ends; its exit code.
    async fn attach(&mut self, has_terminal: bool) -> Result<u8, Failure> {
        let (mut typed, mut ends) = (Some(read_stdin()), Ends::listen()?);
        let mut resized = signal(SignalKind::window_change())?;
        loop {
            tokio::select! {
                heard = self.hear() => match heard? {
                    Heard::Output(bytes) => write(io::stdout().lock(), &bytes)?,
                    Heard::Errors(bytes) => write(io::stderr().lock(), &bytes)?,
                    Heard::Taken => {}
                    Heard::Over(code) => return Ok(code),
                },
                piece = next(&mut typed), if self.has_room() => match piece {
                    Some(Ok(piece)) => self.give(piece).await?,
                    Some(Err(e)) => return Err(Failure::new(format!("stdin cannot be read: {e}"))),
                    None => {
                        typed = None;
                        self.give(Vec::new()).await?;
                    }
                },
                _ = resized.recv(), if has_terminal => if let Some(size) = own_size() {
                    self.send(&Frame::Resize(size)).await?;
                },
                code = ends.told() => return Ok(code),
            }
        }
    }
}

fn broken() -> Failure {
    Failure::new("the connection to the server broke off; the command is ended")
        .hint("the server was stopped or restarted, or the network failed")
}

fn write(mut to: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Never returns where there is no stdin any more.
async fn next(typed: &mut Option<mpsc::Receiver<io::Result<Vec<u8>>>>) -> Option<io::Result<Vec<u8>>> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads stdin on a thread that nobody waits for: a read of a terminal returns when somebody types.
fn read_stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match io::stdin().lock().read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece)
                }
                Err(e) => Err(e),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    typed
}

/// The signals that end this program, each with its exit code.
struct Ends([(Signal, u8); 3]);

impl Ends {
    fn listen() -> io::Result<Self> {
        let end = |kind: SignalKind| -> io::Result<_> {
            Ok((signal(kind)?, 128 + u8::try_from(kind.as_raw_value()).unwrap_or(0)))
        };
        Ok(Self([end(SignalKind::interrupt())?, end(SignalKind::terminate())?, end(SignalKind::hangup())?]))
    }

    async fn told(&mut self) -> u8 {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.0.recv() => one.1,
            _ = two.0.recv() => two.1,
            _ = three.0.recv() => three.1,
        }
    }
}
