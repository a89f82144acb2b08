//! Operations and their steps.

use std::collections::HashMap;

use atelier_core::Timestamp;
use atelier_core::id::{NotebookId, OperationId};
use atelier_core::operation::{Operation, OperationKind, OperationState, StepRecord};
use atelier_store::{OperationQuery, StoreError};
use sqlx::{Connection as _, FromRow as _, QueryBuilder, Row as _, Sqlite, SqliteConnection};

use crate::columns::{OriginColumns, StepRow, named, origin, uuid};
use crate::failed;

/// Which operations to read.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    One(OperationId),
    Of(NotebookId),
    Unfinished,
}

impl Which {
    fn filter(self, sql: &mut QueryBuilder<Sqlite>) {
        match self {
            Self::One(id) => sql.push("operations.id = ").push_bind(id.as_uuid().as_bytes().to_vec()),
            Self::Of(id) => sql.push("operations.notebook_id = ").push_bind(id.as_uuid().as_bytes().to_vec()),
            // Written as in the index, which otherwise is not used; that it means `!is_ended` is tested.
            Self::Unfinished => sql.push("operations.state in ('running', 'undoing')"),
        };
    }
}

#[derive(sqlx::FromRow)]
struct OperationRow {
    id: Vec<u8>,
    notebook_id: Vec<u8>,
    kind: String,
    actor: String,
    actor_user_id: Option<String>,
    actor_user_name: Option<String>,
    request_id: Option<String>,
    why: String,
    state: String,
    began_at: i64,
    ended_at: Option<i64>,
    error: Option<String>,
}

impl OperationRow {
    fn with_steps(self, steps: Vec<StepRecord>) -> Result<Operation, StoreError> {
        Ok(Operation {
            id: OperationId::from_uuid(uuid("operations.id", &self.id)?),
            notebook_id: NotebookId::from_uuid(uuid("notebook_id", &self.notebook_id)?),
            kind: named("kind", &OperationKind::ALL, OperationKind::as_str, &self.kind)?,
            origin: origin(&self.actor, self.actor_user_id.as_deref(), self.actor_user_name, self.request_id)?,
            why: self.why,
            state: named("state", &OperationState::ALL, OperationState::as_str, &self.state)?,
            began_at: Timestamp::from_millis(self.began_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            steps,
            error: self.error,
        })
    }
}

/// Operations in the order in which they were first written.
pub(crate) async fn select(connection: &mut SqliteConnection, which: Which) -> Result<Vec<Operation>, StoreError> {
    let mut snapshot = connection.begin().await.map_err(failed)?;
    let mut sql = QueryBuilder::new("select * from operations where ");
    which.filter(&mut sql);
    sql.push(" order by seq");
    let rows: Vec<OperationRow> = sql.build_query_as().fetch_all(&mut *snapshot).await.map_err(failed)?;
    let mut steps = if rows.is_empty() { HashMap::new() } else { select_steps(&mut snapshot, which).await? };
    snapshot.commit().await.map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let steps = steps.remove(&row.id).unwrap_or_default();
            row.with_steps(steps)
        })
        .collect()
}

/// The operations that a query asks for, newest first.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    query: &OperationQuery,
) -> Result<Vec<Operation>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new("select id from operations where 1 = 1");
    if let Some(id) = query.notebook_id {
        sql.push(" and notebook_id = ").push_bind(id.as_uuid().as_bytes().to_vec());
    }
    if let Some((project_id, user_id)) = &query.of {
        sql.push(" and notebook_id in (select id from notebooks where project_id = ").push_bind(project_id.to_string());
        sql.push(" and user_id = ").push_bind(user_id.to_string()).push(")");
    }
    if let Some(state) = query.state {
        sql.push(" and state = ").push_bind(state.as_str());
    }
    if let Some(kind) = query.kind {
        sql.push(" and kind = ").push_bind(kind.as_str());
    }
    if let Some(before) = query.before {
        sql.push(" and seq < (select seq from operations where id = ");
        sql.push_bind(before.as_uuid().as_bytes().to_vec()).push(")");
    }
    sql.push(" order by seq desc limit ").push_bind(query.limit);
    let ids: Vec<Vec<u8>> = sql.build_query_scalar().fetch_all(&mut *connection).await.map_err(failed)?;
    let mut page = Vec::with_capacity(ids.len());
    for id in ids {
        let id = OperationId::from_uuid(uuid("operations.id", &id)?);
        page.extend(select(connection, Which::One(id)).await?);
    }
    Ok(page)
}

/// The steps of those operations, in order, by operation.
async fn select_steps(
    connection: &mut SqliteConnection,
    which: Which,
) -> Result<HashMap<Vec<u8>, Vec<StepRecord>>, StoreError> {
    let mut sql = QueryBuilder::new(
        "select operation_steps.* from operation_steps join operations on operations.id = operation_id where ",
    );
    which.filter(&mut sql);
    sql.push(" order by operations.seq, position");
    let mut steps: HashMap<Vec<u8>, Vec<StepRecord>> = HashMap::new();
    for row in sql.build().fetch_all(connection).await.map_err(failed)? {
        let step = StepRow::from_row(&row).map_err(failed)?;
        steps.entry(row.try_get("operation_id").map_err(failed)?).or_default().push(step.try_into()?);
    }
    Ok(steps)
}

/// Inserts an operation or overwrites the one with its id; its place in the order stays.
pub(crate) async fn upsert(connection: &mut SqliteConnection, operation: &Operation) -> Result<(), StoreError> {
    let id = operation.id.as_uuid().as_bytes().as_slice();
    let notebook_id = operation.notebook_id.as_uuid().as_bytes().as_slice();
    let by = OriginColumns::from(&operation.origin);
    let (kind, state) = (operation.kind.as_str(), operation.state.as_str());
    let began_at = operation.began_at.as_millis();
    let ended_at = operation.ended_at.map(Timestamp::as_millis);
    sqlx::query!(
        r#"insert into operations (
            id, notebook_id, kind, actor, actor_user_id, actor_user_name, request_id, why, state, began_at, ended_at,
            error
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (id) do update set
            notebook_id = excluded.notebook_id, kind = excluded.kind, actor = excluded.actor,
            actor_user_id = excluded.actor_user_id, actor_user_name = excluded.actor_user_name,
            request_id = excluded.request_id, why = excluded.why, state = excluded.state,
            began_at = excluded.began_at, ended_at = excluded.ended_at, error = excluded.error"#,
        id,
        notebook_id,
        kind,
        by.actor,
        by.user_id,
        by.user_name,
        by.request_id,
        operation.why,
        state,
        began_at,
        ended_at,
        operation.error,
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    write_steps(connection, id, &operation.steps).await
}

/// Makes `steps` the steps of the operation. One statement for all of them, because every statement is a trip to the
/// connection's thread.
async fn write_steps(connection: &mut SqliteConnection, id: &[u8], steps: &[StepRecord]) -> Result<(), StoreError> {
    let count = i64::try_from(steps.len()).map_err(|_| StoreError::Engine("too many steps".into()))?;
    sqlx::query!("delete from operation_steps where operation_id = $1 and position >= $2", id, count)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if steps.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<Sqlite>::new(
        "insert into operation_steps (operation_id, position, name, state, attempts, began_at, ended_at, note) ",
    );
    sql.push_values((0_i64..).zip(steps), |mut row, (position, step)| {
        row.push_bind(id.to_vec()).push_bind(position).push_bind(step.name.as_str()).push_bind(step.state.as_str());
        row.push_bind(step.attempts).push_bind(step.began_at.map(Timestamp::as_millis));
        row.push_bind(step.ended_at.map(Timestamp::as_millis)).push_bind(step.note.clone());
    });
    sql.push(
        " on conflict (operation_id, position) do update set name = excluded.name, state = excluded.state, \
         attempts = excluded.attempts, began_at = excluded.began_at, ended_at = excluded.ended_at, note = excluded.note",
    );
    sql.build().execute(connection).await.map_err(failed)?;
    Ok(())
}
