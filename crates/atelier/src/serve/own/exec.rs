//! Commands in notebooks, over a WebSocket: [`mod@crate::exec_frames`] says what goes over it.
//!
//! Whoever is let in has shown it in the request; what shall be run comes in the first message, because addresses end up in
//! the logs of proxies. The audit keeps the program's name, and never its arguments.
//!
//! Everything of a command is one task. It ends with the command, with the connection, with the proof that let it in, and
//! with the server, whatever comes first; then the command is ended, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atelier_core::audit::FieldChange;
use atelier_core::status::Status;
use atelier_engine::CommandPlace;
use atelier_runtime::{Exec, ExecSpec, Program, RuntimeError, WindowSize};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt as _, StreamExt as _};
use http::StatusCode;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Mutex as Turn, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::seeing::Metrics;
use super::Own;
use super::call::{Call, Refused, Standing};
use crate::exec_frames::{Destination, End, Frame, PIECE, PROTOCOL, Size, WINDOW, Wish, config};

/// How long the wish may take to come, and the last message to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the client is asked whether it is there, and its proof is looked at.
const BEAT: Duration = Duration::from_secs(5);
/// How long a client may say nothing. Long, because one whose own reader is slow cannot answer.
const SILENCE: Duration = Duration::from_mins(5);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/atelier/v1/{project_id}/notebooks/{id}/exec", get(exec))
}

/// Runs a command in a notebook of the caller's own.
async fn exec(State(own): State<Own>, mut call: Call) -> Result<Response, Refused> {
    let id = call.notebook()?;
    let place = own.engine.place_for_command(&call.caller, id).await.map_err(call.refused())?;
    let (upgrade, answer) = call.websocket(PROTOCOL)?;
    let standing = call.standing(&own.iam);
    tokio::spawn(Session { own, call, place, standing }.serve(upgrade));
    Ok(answer)
}

/// A client and its place in the notebook.
struct Session {
    own: Own,
    call: Call,
    place: CommandPlace,
    standing: Standing,
}

/// The client's side of the socket: what is sent waits for those who are slow, and one message for another.
struct Client<S = SplitSink<Socket, Message>>(Turn<S>);

impl<S: Sink<Message> + Unpin> Client<S> {
    /// Whether it could be sent.
    async fn say(&self, message: Message) -> bool {
        self.0.lock().await.send(message).await.is_ok()
    }

    /// Asks whether it is there. One that reads nothing must not hold up whoever looks at it.
    async fn ping(&self) {
        let _ = timeout(BEAT, self.say(Message::Ping(Bytes::new()))).await;
    }
}

impl Session {
    async fn serve(self, upgrade: OnUpgrade) {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await;
        let (sink, mut stream) = socket.split();
        let client = Client(Turn::new(sink));
        let served = self.own.stop.run_until_cancelled(self.run(&client, &mut stream)).await;
        let end = served.unwrap_or_else(|| End::error("the server stops"));
        tracing::debug!(notebook = %self.place.notebook(), "a command ended: {end:?}");
        let farewell = async {
            client.say(Frame::Over(end).message()).await;
            // The client closes when it has read that. To close before, with some of its input unread, would throw away
            // what is on its way to it.
            while let Some(Ok(_)) = stream.next().await {}
        };
        let _ = timeout(PATIENCE, farewell).await;
    }

    async fn run(&self, client: &Client, stream: &mut SplitStream<Socket>) -> End {
        let wish = match timeout(PATIENCE, stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => serde_json::from_str::<Wish>(&text),
            _ => return End::error("the first message must be the command, as text"),
        };
        let spec = match wish.map(spec) {
            Ok(Some(spec)) => spec,
            Ok(None) => return End::error("one of `command`, `send` and `receive` must say what is run"),
            Err(e) => return End::error(format!("the command cannot be read: {e}")),
        };
        let program = FieldChange { field: "command".into(), before: None, after: Some(spec.program.name().into()) };
        if let Err(e) = self.call.record(&self.own, StatusCode::SWITCHING_PROTOCOLS, vec![program]).await {
            tracing::error!("the audit could not be written: {e}");
            return End::error("the command was not run, because it could not be recorded");
        }
        let has_terminal = spec.terminal.is_some();
        let mut counted = Counted::from_here(&self.own.metrics, &spec.program);
        let end = match self.own.engine.exec(&self.place, spec).await {
            Ok(exec) => self.drive(exec, has_terminal, client, stream).await,
            Err(e) => failed(&e),
        };
        counted.by_itself = matches!(end, End::ExitCode(_));
        end
    }

    async fn drive(&self, exec: Exec, has_terminal: bool, client: &Client, stream: &mut SplitStream<Socket>) -> End {
        let Exec { input, output, errors, resize, end } = exec;
        let (ear, pieces) = Ear::new(resize);
        let errors = async {
            if let Some(errors) = errors {
                pump(errors, Frame::Errors, client).await;
            }
        };
        let running = async { tokio::join!(end, pump(output, Frame::Output, client), errors).0 };
        tokio::select! {
            code = running => self.ended(code),
            why = self.hear(&ear, stream) => why,
            why = self.beat(&ear, has_terminal, client) => why,
            () = feed(input, pieces, &ear.waiting, client) => End::error("the input has ended"),
        }
    }

    /// A command that ended by a signal while its notebook did was ended with it.
    fn ended(&self, code: Result<i32, RuntimeError>) -> End {
        let route = self.own.engine.route(self.place.notebook());
        let runs = route.is_some_and(|route| route.status == Status::Running);
        match code {
            Ok(code) if runs || code < 128 => End::ExitCode(code),
            Ok(_) => failed(&RuntimeError::Absent),
            Err(error) => failed(&error),
        }
    }

    /// Takes what the client says; returns when it is gone.
    async fn hear(&self, ear: &Ear, stream: &mut SplitStream<Socket>) -> End {
        while let Some(Ok(message)) = stream.next().await {
            ear.heard();
            let frame = match &message {
                Message::Binary(bytes) => Frame::read(bytes),
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => break,
                Message::Text(_) | Message::Frame(_) => None,
            };
            let understood = match frame {
                Some(Frame::Input(bytes)) => {
                    self.own.engine.person_worked(self.place.notebook());
                    ear.take(bytes)
                }
                Some(Frame::EndOfInput) => ear.ends(),
                Some(Frame::Resize(size)) => {
                    (ear.resize)(window(size));
                    true
                }
                _ => false,
            };
            if !understood {
                return End::error("the client does not keep to the protocol");
            }
        }
        End::error("the client has gone")
    }

    /// Keeps the connection alive; returns when the client is silent for too long or may stay no longer. A command without
    /// a terminal is work for as long as it runs; one with a terminal is looked at like every terminal.
    async fn beat(&self, ear: &Ear, has_terminal: bool, client: &Client) -> End {
        loop {
            sleep(BEAT).await;
            if !self.standing.holds().await {
                return End::error("the token that this command was asked for with counts no longer");
            }
            if !has_terminal {
                self.own.engine.person_worked(self.place.notebook());
            }
            if ear.silence() > SILENCE {
                return End::error("the client is silent");
            }
            client.ping().await;
        }
    }
}

/// A command in the figures: among the open ones until this is dropped, however that comes about.
struct Counted<'a> {
    metrics: &'a Metrics,
    kind: &'static str,
    by_itself: bool,
}

impl<'a> Counted<'a> {
    fn from_here(metrics: &'a Metrics, program: &Program) -> Self {
        metrics.open_commands.inc();
        Self { metrics, kind: program.kind(), by_itself: false }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.open_commands.dec();
        self.metrics.command(self.kind, self.by_itself);
    }
}

fn failed(error: &RuntimeError) -> End {
    match error {
        RuntimeError::Absent => End::error("the notebook has stopped"),
        other => End::error(other.to_string()),
    }
}

fn spec(wish: Wish) -> Option<ExecSpec> {
    let program = match (wish.command, wish.send, wish.receive) {
        (command, None, None) if !command.is_empty() => Program::Command(command),
        (command, Some(path), None) if command.is_empty() => Program::Send { path },
        (command, None, Some(Destination { path, name })) if command.is_empty() => Program::Receive { path, name },
        _ => return None,
    };
    Some(ExecSpec {
        program,
        env: wish.env.into_iter().collect(),
        folder: wish.folder,
        terminal: wish.terminal.map(window),
    })
}

const fn window(size: Size) -> WindowSize {
    WindowSize { columns: size.columns, rows: size.rows }
}

/// What hears the client.
struct Ear {
    /// Takes pieces of input; `None` is its end.
    typed: mpsc::Sender<Option<Bytes>>,
    resize: Box<dyn Fn(WindowSize) + Send + Sync>,
    /// Bytes of input that the command has not taken yet: never more than a window.
    waiting: AtomicUsize,
    heard: Mutex<Instant>,
}

impl Ear {
    /// With it comes what it hears of input.
    fn new(resize: Box<dyn Fn(WindowSize) + Send + Sync>) -> (Self, mpsc::Receiver<Option<Bytes>>) {
        // Room for a window of single bytes, and the end: more pieces than that say nothing.
        let (typed, pieces) = mpsc::channel(WINDOW + 1);
        (Self { typed, resize, waiting: AtomicUsize::new(0), heard: Mutex::new(Instant::now()) }, pieces)
    }

    fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether the window had room for it.
    fn take(&self, bytes: Bytes) -> bool {
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        waiting <= WINDOW && self.typed.try_send(Some(bytes)).is_ok()
    }

    /// Whether there was room for the end of the input.
    fn ends(&self) -> bool {
        self.typed.try_send(None).is_ok()
    }
}

/// Gives the command what it reads. A command that reads no more gets no more; the rest is taken and dropped, as a pipe
/// would refuse it.
async fn feed(
    input: impl AsyncWrite + Unpin,
    mut pieces: mpsc::Receiver<Option<Bytes>>,
    waiting: &AtomicUsize,
    client: &Client,
) {
    let mut open = Some(input);
    while let Some(piece) = pieces.recv().await {
        let Some(bytes) = piece else {
            if let Some(mut input) = open.take() {
                let _ = input.shutdown().await;
            }
            continue;
        };
        if let Some(input) = &mut open
            && input.write_all(&bytes).await.is_err()
        {
            open = None;
        }
        waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        client.say(Frame::Taken(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).message()).await;
    }
}

/// Sends what the command writes, until there is no more. What nobody takes any more is given up.
async fn pump(mut from: impl AsyncRead + Unpin, frame: impl Fn(Bytes) -> Frame, client: &Client) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if !client.say(frame(Bytes::copy_from_slice(&piece[..length])).message()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_holds_up_nobody_who_looks_at_it() {
        let (near, _far) = tokio::io::duplex(64);
        let socket = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let client = Client(Turn::new(socket.split().0));
        tokio::select! {
            biased;
            _ = client.say(Message::Binary(vec![0; 4096].into())) => panic!("nobody has read it"),
            () = client.ping() => {}
        }
    }

    #[test]
    fn what_a_client_sends_without_a_byte_is_bounded_too() {
        let (ear, _pieces) = Ear::new(Box::new(|_| ()));
        let taken = (0..2 * WINDOW).take_while(|_| ear.take(Bytes::new())).count();
        assert!((WINDOW..2 * WINDOW).contains(&taken), "{taken}");
        assert!(!ear.ends());
    }

    #[test]
    fn a_window_of_single_bytes_and_the_end_have_room() {
        let (ear, _pieces) = Ear::new(Box::new(|_| ()));
        assert!((0..WINDOW).all(|_| ear.take(Bytes::from_static(b"x"))));
        assert!(ear.ends());
        assert!(!ear.take(Bytes::from_static(b"x")));
    }
}
