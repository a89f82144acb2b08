//! Deleted notebooks whose volumes rest in the trash: each its whole row, as JSON, its secrets sealed as they were.

use atelier_core::Timestamp;
use atelier_store::{StoreError, TrashQuery, Trashed};
use sqlx::SqliteConnection;

use crate::columns::unreadable;
use crate::notebook_row::NotebookRow;
use crate::{Sealer, failed};

/// Puts a notebook there.
pub(crate) async fn insert(connection: &mut SqliteConnection, row: &NotebookRow) -> Result<(), StoreError> {
    let whole = serde_json::to_string(row).map_err(|error| StoreError::Engine(error.to_string()))?;
    let shared_volume_id = row.shared_volume_id();
    sqlx::query!(
        "insert into trash (notebook_id, project_id, user_id, since, notebook, shared_volume_id)
            values ($1, $2, $3, $4, $5, $6)",
        row.id,
        row.project_id,
        row.user_id,
        row.update_at,
        whole,
        shared_volume_id
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes a notebook out that rests there; `false` when none does.
pub(crate) async fn take(connection: &mut SqliteConnection, id: &[u8]) -> Result<bool, StoreError> {
    let done = sqlx::query!("delete from trash where notebook_id = $1 and leaves = 0", id)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// Lets a notebook leave; `false` when none rests there.
pub(crate) async fn discard(connection: &mut SqliteConnection, id: &[u8]) -> Result<bool, StoreError> {
    let done = sqlx::query!("update trash set leaves = 1 where notebook_id = $1 and leaves = 0", id)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// Drops a notebook that leaves; `false` when none does.
pub(crate) async fn forget(connection: &mut SqliteConnection, id: &[u8]) -> Result<bool, StoreError> {
    let done = sqlx::query!("delete from trash where notebook_id = $1 and leaves = 1", id)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// What the trash holds of this, what rests there longest first.
pub(crate) async fn select(
    connection: &mut SqliteConnection,
    query: &TrashQuery,
    sealer: &Sealer,
) -> Result<Vec<Trashed>, StoreError> {
    let id = query.id.map(|id| id.as_uuid().as_bytes().to_vec());
    let (project_id, user_id) = query.of.as_ref().map(|(project, user)| (project.as_str(), user.as_str())).unzip();
    let due = query.due.map(Timestamp::as_millis);
    let rows = sqlx::query!(
        r#"select since, leaves, notebook from trash
            where ($1 is null or notebook_id = $1)
                and ($2 is null or (project_id = $2 and user_id = $3))
                and ($4 is null or leaves = 1 or since <= $4)
            order by since, notebook_id limit $5"#,
        id,
        project_id,
        user_id,
        due,
        query.limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let read = rows.into_iter().map(|row| {
        let whole: NotebookRow = serde_json::from_str(&row.notebook).map_err(|_| unreadable("trash.notebook"))?;
        let since = Timestamp::from_millis(row.since);
        Ok(Trashed { notebook: whole.unseal(sealer)?, since, leaves: row.leaves != 0 })
    });
    read.collect()
}

/// Lets everything there rest since `ms` later, and since `latest` at the latest.
pub(crate) async fn shift(connection: &mut SqliteConnection, ms: i64, latest: i64) -> Result<(), StoreError> {
    sqlx::query!("update trash set since = min(since + $1, $2)", ms, latest)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
