//! What keeps one zygote: makes it, and another one whenever it has ended or has had its children.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::MOST_CHILDREN;
use super::process::Zygote;
use crate::config::Launcher;
use crate::launch::ZygoteSpec;

/// The pause before a zygote that could not be made is tried again, the first time and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

#[derive(Clone, Debug)]
pub(super) enum State {
    /// One is being made: for the first time, or again after this.
    Warming(Option<String>),
    Warm(Arc<Zygote>),
}

/// A zygote, or one to be. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Nursery {
    state: watch::Receiver<State>,
    /// The present zygote has had its children.
    worn: Arc<Notify>,
    given_up: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Nursery {
    /// `of` says for people what it brings forth.
    pub(super) fn open(of: &'static str, launcher: Launcher, spec: ZygoteSpec) -> Self {
        let (sender, state) = watch::channel(State::Warming(None));
        let worn = Arc::new(Notify::new());
        let keeper =
            Keeper { of, launcher, spec, state: sender, worn: Arc::clone(&worn), given_up: CancellationToken::new() };
        Self { state, worn, given_up: keeper.given_up.clone(), keeper: tokio::spawn(keeper.keep()) }
    }

    /// The zygote has ended afterwards, however far it was.
    pub(super) async fn close(mut self) {
        self.given_up.cancel();
        let _ = (&mut self.keeper).await;
        let state = self.state.borrow().clone();
        if let State::Warm(zygote) = state {
            zygote.end().await;
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The zygote, to be asked for one child; the error says why there is none.
    pub(super) fn take(&self) -> Result<Arc<Zygote>, String> {
        match &*self.state.borrow() {
            State::Warm(zygote) => {
                if zygote.count() == MOST_CHILDREN {
                    self.worn.notify_one();
                }
                Ok(Arc::clone(zygote))
            }
            State::Warming(Some(why)) => Err(format!("there is no zygote: {why}")),
            State::Warming(None) => Err("the zygote is still being made".into()),
        }
    }
}

/// Returns when there is a zygote, or with the reason when one could not be made.
pub(super) async fn settled(mut states: watch::Receiver<State>) -> Result<(), String> {
    let settled = states.wait_for(|state| !matches!(state, State::Warming(None))).await;
    match settled.as_deref() {
        Ok(State::Warm(_)) => Ok(()),
        Ok(State::Warming(Some(why))) => Err(why.clone()),
        _ => Err("it was given up".into()),
    }
}

struct Keeper {
    of: &'static str,
    launcher: Launcher,
    spec: ZygoteSpec,
    state: watch::Sender<State>,
    worn: Arc<Notify>,
    given_up: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let of = self.of;
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            match Zygote::start(&self.launcher, &self.spec, &self.given_up).await {
                Ok(None) => return,
                Ok(Some(zygote)) => {
                    pause = PAUSES.0;
                    tracing::info!(millis = began.elapsed().as_millis(), "the zygote of {of} is warm");
                    let zygote = Arc::new(zygote);
                    self.state.send_replace(State::Warm(Arc::clone(&zygote)));
                    tokio::select! {
                        () = zygote.ended() => {}
                        // It serves until the next one does.
                        () = self.worn.notified() => continue,
                        () = self.given_up.cancelled() => return,
                    }
                    tracing::warn!("the zygote of {of} has ended; another one is made");
                    self.state.send_replace(State::Warming(Some("it has ended".into())));
                }
                Err(e) => {
                    tracing::warn!("no zygote of {of} could be made, so they start by the command line: {e}");
                    self.fails(&e);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.given_up.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// One that is worn but lives is better than none.
    fn fails(&self, why: &std::io::Error) {
        self.state.send_if_modified(|state| {
            let cold = !matches!(state, State::Warm(_));
            if cold {
                *state = State::Warming(Some(why.to_string()));
            }
            cold
        });
    }
}
