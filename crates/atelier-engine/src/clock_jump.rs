//! After the wall clock was set.
//!
//! Leases are kept as points on the wall clock, because that is what their owners are shown, and counted in time that
//! passes, because that is what they were granted. A clock that was set by *d* therefore moves every lease that runs by
//! *d*: what is left of it stays the same to the millisecond, and the end that is shown is right again. So a jump
//! neither stops all notebooks at once (forward) nor lets them run on for ever (back). Each lease that was moved says
//! so in its notebook's history (`clock.jumped`).
//!
//! While leases are moved, nobody else writes: half of them would be read by the one clock and half by the other. The
//! engine's own clock follows the jump at the end of that moment, and not before.
//!
//! Across a restart of the server the last reading of both clocks is in the store, if it is of the same boot. Across a
//! reboot there is nothing but the wall clock: then a lease can end early or late by as much as the clock was set
//! while nobody looked, but never later than its whole grant from now, because a lease that was written in the future
//! is held to have been written now. A crash in the midst of moving errs to the same side.

use atelier_core::activity::Watch;
use atelier_core::caller::Origin;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::{Clock as _, Timestamp};
use atelier_store::{NotebookStore, StoreError};
use serde_json::{Value, json};

use crate::Engine;
use crate::steady::FOLLOWED_MS;
use crate::time::{Reading, Timekeeper};
use crate::write::{AGAIN_MS, Change};

/// What the store remembers the clocks under.
const CLOCK: &str = "clock";
/// How often they are remembered.
const KEPT_EVERY_MS: i64 = 300_000;

/// The last reading of this boot that a former server has left.
pub(crate) async fn last_reading(
    store: &dyn NotebookStore,
    time: &dyn Timekeeper,
) -> Result<Option<Reading>, StoreError> {
    let Some(text) = store.remembered(CLOCK).await? else { return Ok(None) };
    let kept: Value = serde_json::from_str(&text).unwrap_or_default();
    let same_boot = time.boot().is_some_and(|boot| kept["boot"] == boot);
    let (wall, elapsed_ms) = (kept["wall"].as_i64(), kept["elapsed_ms"].as_i64());
    let reading =
        wall.zip(elapsed_ms).map(|(wall, elapsed_ms)| Reading { wall: Timestamp::from_millis(wall), elapsed_ms });
    Ok(reading.filter(|_| same_boot))
}

impl Engine {
    pub(crate) fn spawn_clock(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let time = &engine.inner.time;
            loop {
                tokio::select! {
                    () = engine.inner.stopping.cancelled() => return,
                    () = time.jumped() => engine.follow_jump().await,
                    () = time.pass(KEPT_EVERY_MS) => engine.keep_reading().await,
                }
            }
        });
    }

    /// Remembers both clocks for the next start. Without that the next start only knows less.
    pub(crate) async fn keep_reading(&self) {
        if self.inner.time.skew() != 0 {
            return;
        }
        let (reading, boot) = (self.inner.time.reading(), self.inner.time.boot());
        let text = json!({"boot": boot, "wall": reading.wall.as_millis(), "elapsed_ms": reading.elapsed_ms});
        if let Err(error) = self.inner.store.remember(CLOCK, &text.to_string()).await {
            tracing::warn!("the clocks are not remembered: {error}");
        }
    }

    /// Moves every lease that runs by as much as the wall clock was set. Ends when all are moved, or at the shutdown.
    pub(crate) async fn follow_jump(&self) {
        let _alone = self.inner.frame.write().await;
        let skew = self.inner.time.skew();
        if skew == 0 {
            return;
        }
        tracing::warn!(skew_ms = skew, "the wall clock was set by {skew} ms; the leases that run are moved with it");
        for id in self.inner.routes.holding() {
            while let Err(refusal) = self.move_lease(id, skew, self.inner.time.now().plus_millis(skew)).await {
                if matches!(refusal.code(), Code::NotFound | Code::Conflict) {
                    break;
                }
                tokio::select! {
                    () = self.inner.stopping.cancelled() => return,
                    () = self.inner.time.pass(AGAIN_MS) => {}
                }
            }
        }
        let now = self.inner.time.now().plus_millis(skew);
        while let Err(error) = self.inner.store.shift_trash(skew.max(0), now).await {
            tracing::warn!("the trash does not follow the wall clock yet: {error}");
            tokio::select! {
                () = self.inner.stopping.cancelled() => return,
                () = self.inner.time.pass(AGAIN_MS) => {}
            }
        }
        self.inner.time.absorb(skew);
        self.begin_watches_anew();
        self.keep_reading().await;
    }

    /// What was seen of activity was seen at points of the old clock. What follows from it stands in the leases.
    fn begin_watches_anew(&self) {
        let now = self.now();
        for watch in self.inner.activities.watches().values_mut() {
            *watch = Watch::beginning(now);
        }
    }

    /// `now` is what the wall clock shows.
    async fn move_lease(&self, id: NotebookId, skew: i64, now: Timestamp) -> Result<Notebook, Refusal> {
        self.change_alone(id, |mut notebook| {
            if !notebook.lease.is_enabled() {
                return Err(Refusal::new(Code::Conflict, "its lease has no end"));
            }
            notebook.follow_clock(skew, now);
            let left = notebook.lease.remaining_ms(now).unwrap_or(0);
            let why = format!("the wall clock was set by {skew} ms; {left} ms of the lease are left");
            let mut event = self.event(&notebook, &Origin::system(), "clock.jumped", why);
            event.at = now;
            Ok(Change { events: vec![event], ..Change::of(notebook) })
        })
        .await
    }

    /// Leases that were written in the future are held to have been written now, and what came into the trash in the future
    /// to have come now. For the start of a server.
    pub(crate) async fn hold_leases_to_their_grants(&self) {
        let now = self.now();
        if let Err(error) = self.inner.store.shift_trash(0, now).await {
            tracing::warn!("what came into the trash in the future stays longer: {error}");
        }
        for id in self.inner.routes.holding() {
            let Ok(Some(notebook)) = self.inner.store.notebook(id).await else { continue };
            let ahead = notebook.lease.update_at().millis_since(now);
            if ahead > FOLLOWED_MS && self.move_lease(id, -ahead, now).await.is_err() {
                tracing::warn!(notebook = %id, "the lease of notebook {id} was written in the future and stays so");
            }
        }
    }
}
