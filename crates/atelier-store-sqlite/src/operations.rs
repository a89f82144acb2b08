//! Operations and their steps.

use atelier_core::Timestamp;
use atelier_core::id::{NotebookId, OperationId};
use atelier_core::operation::{Operation, OperationKind, OperationState, StepRecord};
use atelier_store::{OperationQuery, StoreError};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::columns::{OriginColumns, named, origin, steps_from_json, steps_to_json, uuid};
use crate::failed;
use crate::script::Script;

/// Which operations to read.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    One(OperationId),
    Of(NotebookId),
    Unfinished,
    UnfinishedOf(NotebookId),
}

/// Written as in the index, which otherwise is not used; that it means `!is_ended` is tested.
const UNFINISHED: &str = "operations.state in ('running', 'undoing')";

impl Which {
    fn filter(self, sql: &mut QueryBuilder<Sqlite>) {
        match self {
            Self::One(id) => sql.push("operations.id = ").push_bind(id.as_uuid().as_bytes().to_vec()),
            Self::Of(id) => sql.push("operations.notebook_id = ").push_bind(id.as_uuid().as_bytes().to_vec()),
            Self::Unfinished => sql.push(UNFINISHED),
            Self::UnfinishedOf(id) => {
                Self::Of(id).filter(sql);
                sql.push(" and ").push(UNFINISHED)
            }
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
    steps: String,
}

impl OperationRow {
    fn into_operation(self) -> Result<Operation, StoreError> {
        Ok(Operation {
            id: OperationId::from_uuid(uuid("operations.id", &self.id)?),
            notebook_id: NotebookId::from_uuid(uuid("notebook_id", &self.notebook_id)?),
            kind: named("kind", &OperationKind::ALL, OperationKind::as_str, &self.kind)?,
            origin: origin(&self.actor, self.actor_user_id.as_deref(), self.actor_user_name, self.request_id)?,
            why: self.why,
            state: named("state", &OperationState::ALL, OperationState::as_str, &self.state)?,
            began_at: Timestamp::from_millis(self.began_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            steps: steps_from_json("operation_steps", &self.steps)?,
            error: self.error,
        })
    }
}

/// Operations in the order in which they were first written. One statement, and so one moment, and one trip to the
/// connection's thread.
pub(crate) async fn select(connection: &mut SqliteConnection, which: Which) -> Result<Vec<Operation>, StoreError> {
    let mut sql = QueryBuilder::new(
        "select operations.*, (
            select json_group_array(json_object(
                'name', name, 'state', state, 'attempts', attempts, 'began_at', began_at, 'ended_at', ended_at,
                'note', note
            ) order by position) from operation_steps where operation_id = operations.id
        ) as steps from operations where ",
    );
    which.filter(&mut sql);
    sql.push(" order by seq");
    let rows: Vec<OperationRow> = sql.build_query_as().fetch_all(connection).await.map_err(failed)?;
    rows.into_iter().map(OperationRow::into_operation).collect()
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

/// Inserts an operation or overwrites the one with its id; its place in the order stays.
pub(crate) fn upsert(script: &mut Script, operation: &Operation) -> Result<(), StoreError> {
    let id = operation.id.as_uuid().as_bytes().to_vec();
    let by = OriginColumns::from(&operation.origin);
    script.statement(
        "insert into operations (
            id, notebook_id, kind, actor, actor_user_id, actor_user_name, request_id, why, state, began_at, ended_at,
            error
        ) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        on conflict (id) do update set
            notebook_id = excluded.notebook_id, kind = excluded.kind, actor = excluded.actor,
            actor_user_id = excluded.actor_user_id, actor_user_name = excluded.actor_user_name,
            request_id = excluded.request_id, why = excluded.why, state = excluded.state,
            began_at = excluded.began_at, ended_at = excluded.ended_at, error = excluded.error",
    );
    script.bind(id.clone())?;
    script.bind(operation.notebook_id.as_uuid().as_bytes().to_vec())?;
    script.bind(operation.kind.as_str())?;
    script.bind(by.actor)?;
    script.bind(by.user_id.map(str::to_owned))?;
    script.bind(by.user_name.map(str::to_owned))?;
    script.bind(by.request_id.map(str::to_owned))?;
    script.bind(operation.why.clone())?;
    script.bind(operation.state.as_str())?;
    script.bind(operation.began_at.as_millis())?;
    script.bind(operation.ended_at.map(Timestamp::as_millis))?;
    script.bind(operation.error.clone())?;
    write_steps(script, id, &operation.steps)
}

/// Writes what of an operation differs from `before`, which is kept.
pub(crate) fn update(script: &mut Script, before: &Operation, operation: &Operation) -> Result<(), StoreError> {
    if !goes_on_from(before, operation) {
        return upsert(script, operation);
    }
    let id = operation.id.as_uuid().as_bytes();
    if end(before) != end(operation) {
        script.statement("update operations set state = ?, ended_at = ?, error = ? where id = ?");
        script.bind(operation.state.as_str())?;
        script.bind(operation.ended_at.map(Timestamp::as_millis))?;
        script.bind(operation.error.clone())?;
        script.bind(id.to_vec())?;
    }
    let steps = (0_i64..).zip(before.steps.iter().zip(&operation.steps));
    for (position, (_, step)) in steps.filter(|(_, (before, step))| before != step) {
        script.statement(
            "update operation_steps set state = ?, attempts = ?, began_at = ?, ended_at = ?, note = ?
            where operation_id = ? and position = ?",
        );
        script.bind(step.state.as_str())?;
        script.bind(step.attempts)?;
        script.bind(step.began_at.map(Timestamp::as_millis))?;
        script.bind(step.ended_at.map(Timestamp::as_millis))?;
        script.bind(step.note.clone())?;
        script.bind(id.to_vec())?;
        script.bind(position)?;
    }
    Ok(())
}

/// How far an operation has come, beside its steps.
fn end(operation: &Operation) -> (OperationState, Option<Timestamp>, Option<&str>) {
    (operation.state, operation.ended_at, operation.error.as_deref())
}

/// Whether one operation differs from the other only in how far it has come.
fn goes_on_from(before: &Operation, operation: &Operation) -> bool {
    before.id == operation.id
        && before.notebook_id == operation.notebook_id
        && before.kind == operation.kind
        && before.origin == operation.origin
        && before.why == operation.why
        && before.began_at == operation.began_at
        && before.steps.iter().map(|step| step.name).eq(operation.steps.iter().map(|step| step.name))
}

/// Makes `steps` the steps of the operation; what has not changed is not written.
fn write_steps(script: &mut Script, id: Vec<u8>, steps: &[StepRecord]) -> Result<(), StoreError> {
    let count = i64::try_from(steps.len()).map_err(|_| StoreError::Engine("too many steps".into()))?;
    script.statement("delete from operation_steps where operation_id = ? and position >= ?");
    script.bind(id.clone())?;
    script.bind(count)?;
    // `where true` tells the conflict clause from a join.
    script.statement(
        "insert into operation_steps (operation_id, position, name, state, attempts, began_at, ended_at, note)
        select ?, key, value ->> 'name', value ->> 'state', value ->> 'attempts', value ->> 'began_at',
            value ->> 'ended_at', value ->> 'note'
        from json_each(?) where true
        on conflict (operation_id, position) do update set
            name = excluded.name, state = excluded.state, attempts = excluded.attempts,
            began_at = excluded.began_at, ended_at = excluded.ended_at, note = excluded.note
        where (name, state, attempts, began_at, ended_at, note) is not (
            excluded.name, excluded.state, excluded.attempts, excluded.began_at, excluded.ended_at, excluded.note
        )",
    );
    script.bind(id)?;
    script.bind(steps_to_json(steps)?)
}
