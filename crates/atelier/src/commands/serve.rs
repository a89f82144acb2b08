//! `atelier serve`.

use std::io::Write as _;

use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, configuration};
use crate::args::Settings;
use crate::failure::Failure;
use crate::logging;
use crate::serve::{Announce, Server};

/// Runs the server until it is told to stop.
pub(crate) async fn run(context: &Context, settings: &Settings) -> Result<(), Failure> {
    let config = configuration::load(&context.surroundings.configuration(settings)?)?;
    logging::start(&config);
    let mut ended = Ended::new()?;
    let server = Server::open(config, master_key(context), Announce::Yes).await?;
    let stop = server.stop();
    listening(&server);
    tokio::spawn(async move {
        ended.wait().await;
        stop.cancel();
    });
    server.run().await;
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

/// The signals that end a server.
pub(crate) struct Ended {
    terminate: Signal,
    interrupt: Signal,
}

impl Ended {
    /// Listens for them from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be received: {e}")));
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
