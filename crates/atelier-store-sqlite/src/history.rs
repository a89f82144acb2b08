//! The end of history: old events, and operations that ended long ago, of notebooks that are gone.
//!
//! Both tables are numbered in the order of their commits, so what is oldest is at their beginning. Each step looks at
//! some rows from there on, in one job of the writer, and removes those of them that may go. What belongs to notebooks
//! that still exist or rest in the trash stays, however old, and is stepped over. The first row that is too young ends
//! it.

use atelier_core::Timestamp;
use atelier_store::StoreError;
use sqlx::SqliteConnection;

use crate::{SqliteStore, failed};

/// Rows that one job looks at: it holds the writer for a few milliseconds.
const STEP: i64 = 500;

/// What is pruned.
#[derive(Clone, Copy)]
enum What {
    Events,
    Operations,
}

/// What a step did.
struct Step {
    removed: u64,
    /// Where the next one goes on; `None` when all that is old was looked at.
    next: Option<i64>,
}

/// Removes what is older than `moment`; answers how many rows, steps of operations not counted.
pub(crate) async fn prune(store: &SqliteStore, moment: Timestamp) -> Result<u64, StoreError> {
    let mut removed = 0;
    for what in [What::Events, What::Operations] {
        let mut from = Some(0);
        while let Some(after) = from {
            let step = store
                .write(move |connection| {
                    Box::pin(async move { step(connection, what, moment.as_millis(), after).await })
                })
                .await?;
            removed += step.removed;
            from = step.next;
        }
    }
    Ok(removed)
}

async fn step(connection: &mut SqliteConnection, what: What, moment: i64, after: i64) -> Result<Step, StoreError> {
    let Some(last) = last_old(connection, what, moment, after).await? else {
        return Ok(Step { removed: 0, next: None });
    };
    let removed = remove(connection, what, moment, after, last).await?;
    Ok(Step { removed, next: Some(last) })
}

/// The last of the next rows that are old enough, one after the other.
async fn last_old(
    connection: &mut SqliteConnection,
    what: What,
    moment: i64,
    after: i64,
) -> Result<Option<i64>, StoreError> {
    let sql = match what {
        What::Events => "select seq, happened_at from events where seq > $1 order by seq limit $2",
        What::Operations => "select seq, began_at from operations where seq > $1 order by seq limit $2",
    };
    let rows: Vec<(i64, i64)> =
        sqlx::query_as(sql).bind(after).bind(STEP).fetch_all(connection).await.map_err(failed)?;
    Ok(rows.into_iter().take_while(|(_, at)| *at < moment).last().map(|(seq, _)| seq))
}

/// Removes what may go of the rows after `after`, up to `last`.
async fn remove(
    connection: &mut SqliteConnection,
    what: What,
    moment: i64,
    after: i64,
    last: i64,
) -> Result<u64, StoreError> {
    let done = match what {
        What::Events => {
            sqlx::query!(
                "delete from events where seq > $1 and seq <= $2 and happened_at < $3
                    and not exists (select 1 from notebooks where notebooks.id = events.notebook_id)
                    and not exists (select 1 from trash where trash.notebook_id = events.notebook_id)",
                after,
                last,
                moment
            )
            .execute(connection)
            .await
        }
        What::Operations => {
            sqlx::query!(
                "delete from operations where seq > $1 and seq <= $2 and ended_at < $3
                    and state not in ('running', 'undoing')
                    and not exists (select 1 from notebooks where notebooks.id = operations.notebook_id)
                    and not exists (select 1 from trash where trash.notebook_id = operations.notebook_id)",
                after,
                last,
                moment
            )
            .execute(connection)
            .await
        }
    };
    Ok(done.map_err(failed)?.rows_affected())
}
