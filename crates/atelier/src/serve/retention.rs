//! What is not kept for ever: the history of notebooks that are gone, and tokens that nobody can use any more.
//!
//! It is looked for when the server starts and once an hour, in small steps beside everything else. A failure waits for
//! the next hour.

use std::sync::Arc;

use atelier_core::Clock as _;
use atelier_core::{SystemClock, Timestamp};
use atelier_engine::Timekeeper as _;
use atelier_store::people::PeopleStore as _;
use atelier_store::{NotebookStore as _, StoreError};
use atelier_store_sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Prunes until the server stops.
pub(super) fn begin(store: Arc<SqliteStore>, history_days: i64, stop: CancellationToken) {
    let work = async move {
        loop {
            let now = SystemClock.now();
            match prune(&store, now, history_days).await {
                Ok((0, 0)) => {}
                Ok((history, tokens)) => tracing::info!(history, tokens, "old records were removed"),
                Err(error) => tracing::warn!("old records could not be removed: {error}"),
            }
            SystemClock.sleep_until(now.plus_millis(HOUR_MS)).await;
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled(work).await });
}

/// An expired token is kept for a day: whoever shows it is told that it has expired, and not that it never was.
async fn prune(store: &SqliteStore, now: Timestamp, history_days: i64) -> Result<(u64, u64), StoreError> {
    let history = store.prune(now.plus_millis(-history_days * DAY_MS)).await?;
    Ok((history, store.remove_tokens_expired_by(now.plus_millis(-DAY_MS)).await?))
}
