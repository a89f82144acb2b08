//! Short texts by name, beside the store's own notes in `meta`. A prefix keeps the two apart.

use atelier_store::StoreError;
use sqlx::SqliteConnection;

use crate::columns::unreadable;
use crate::failed;

fn key(name: &str) -> String {
    format!("remembered/{name}")
}

/// What was kept under a name.
pub(crate) async fn select(connection: &mut SqliteConnection, name: &str) -> Result<Option<String>, StoreError> {
    let key = key(name);
    let kept = sqlx::query_scalar!("select value from meta where name = $1", key)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    kept.map(|bytes| String::from_utf8(bytes).map_err(|_| unreadable("meta.value"))).transpose()
}

/// Keeps a text under a name.
pub(crate) async fn upsert(connection: &mut SqliteConnection, name: &str, text: &str) -> Result<(), StoreError> {
    let (key, bytes) = (key(name), text.as_bytes());
    sqlx::query!(
        "insert into meta (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value",
        key,
        bytes
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
