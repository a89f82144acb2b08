//! Pages of notebooks, and what all of them hold.
//!
//! Which conditions a list has depends on the query, so its SQL is put together; every value is bound, never written
//! into the text.

use atelier_core::flavor::Held;
use atelier_core::status::Status;
use atelier_store::{NotebookQuery, SortKey, StoreError};
use sqlx::{Connection as _, QueryBuilder, Sqlite, SqliteConnection};

use crate::columns::number;
use crate::failed;
use crate::notebook_row::NotebookRow;

/// The page's rows and the number of rows on all pages, from one snapshot.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    query: &NotebookQuery,
) -> Result<(Vec<NotebookRow>, i64), StoreError> {
    let mut snapshot = connection.begin().await.map_err(failed)?;
    let total = matching("select count(*)", query).build_query_scalar().fetch_one(&mut *snapshot).await;
    let total = total.map_err(failed)?;
    let mut select = matching("select *", query);
    sorted(&mut select, query);
    let rows = select.build_query_as().fetch_all(&mut *snapshot).await.map_err(failed)?;
    snapshot.commit().await.map_err(failed)?;
    Ok((rows, total))
}

fn matching(what: &'static str, query: &NotebookQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(what);
    sql.push(" from notebooks where project_id = ").push_bind(query.project_id.to_string());
    if let Some(user_id) = &query.user_id {
        sql.push(" and user_id = ").push_bind(user_id.to_string());
    }
    if let Some(part) = &query.name_contains {
        // Not `like`: there `%` and `_` have a meaning, and letter case has none.
        sql.push(" and instr(name, ").push_bind(part.clone()).push(") > 0");
    }
    if let Some(status) = query.status {
        sql.push(" and status = ").push_bind(status.as_str());
    }
    if let Some(workspace_id) = &query.workspace_id {
        sql.push(" and workspace_id = ").push_bind(workspace_id.clone());
    }
    sql
}

fn sorted(sql: &mut QueryBuilder<Sqlite>, query: &NotebookQuery) {
    let key = match query.sort_key {
        SortKey::CreateAt => "create_at",
        SortKey::UpdateAt => "update_at",
        SortKey::Name => "name",
    };
    let direction = if query.descending { " desc" } else { "" };
    sql.push(format_args!(" order by {key}{direction}, id{direction} limit ")).push_bind(query.limit);
    sql.push(" offset ").push_bind(query.offset);
}

/// What all notebooks, or all but one, hold together.
pub(crate) async fn held(connection: &mut SqliteConnection, besides: Option<&[u8]>) -> Result<Held, StoreError> {
    let mut sql = QueryBuilder::new(
        "select coalesce(sum(flavor_cpu_millis), 0), coalesce(sum(flavor_memory_mib), 0) from notebooks where status in (",
    );
    let mut statuses = sql.separated(", ");
    for status in Status::ALL.into_iter().filter(|s| s.holds_compute()) {
        statuses.push_bind(status.as_str());
    }
    sql.push(")");
    if let Some(id) = besides {
        sql.push(" and id <> ").push_bind(id.to_vec());
    }
    let (cpu_millis, memory_mib): (i64, i64) = sql.build_query_as().fetch_one(connection).await.map_err(failed)?;
    let memory_mib: u64 = number("flavor_memory_mib", memory_mib)?;
    Ok(Held { cpu_millis: number("flavor_cpu_millis", cpu_millis)?, memory_bytes: memory_mib * 1024 * 1024 })
}
