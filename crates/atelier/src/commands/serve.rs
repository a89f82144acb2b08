//! `atelier serve`.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::{Context, configuration};
use crate::args::Settings;
use crate::failure::Failure;
use crate::logging;
use crate::serve::{Announce, Door, Server};

/// Runs the server until it is told to stop.
pub(crate) async fn run(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = configuration::load(&context.surroundings.configuration(settings)?)?;
    logging::start(&config);
    let mut ended = Ended::new()?;
    let door = match context.door.as_deref().map(TcpListener::try_clone).transpose()? {
        Some(handed) => Door::Handed(handed),
        None => Door::Own,
    };
    let server = Server::open(config, master_key(context), Announce::Yes, door).await?;
    let stop = server.stop();
    reload_when_asked(server.reload())?;
    listening(&server);
    tokio::spawn(async move {
        ended.wait().await;
        stop.cancel();
    });
    server.run().await;
    Ok(())
}

/// Looks at the certificates again at every SIGHUP.
fn reload_when_asked(reload: Arc<Notify>) -> Result<(), Failure> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|e| no_signals(&e))?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: looking at the certificates");
            reload.notify_one();
        }
    });
    Ok(())
}

/// The key from the environment, where one is there.
pub(crate) fn master_key(context: &Context) -> Option<SecretString> {
    context.surroundings.variable("ATELIER_MASTER_KEY").map(SecretString::from)
}

/// Says where the server listens, in the words that programs wait for; also to the quiet.
pub(crate) fn listening(server: &Server) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "listening on {}", server.local_url());
}

fn no_signals(error: &std::io::Error) -> Failure {
    Failure::new(format!("signals cannot be received: {error}"))
}

/// The signals that end a server.
pub(crate) struct Ended {
    terminate: Signal,
    interrupt: Signal,
}

impl Ended {
    /// Listens for them from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| no_signals(&e));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Returns at the next one.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
