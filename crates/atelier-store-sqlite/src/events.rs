//! Events, in the order in which they were committed.

use atelier_core::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::id::{EventId, NotebookId, ProjectId, UserId};
use atelier_store::StoreError;
use sqlx::SqliteConnection;

use crate::columns::{OriginColumns, origin, parsed, uuid};
use crate::failed;
use crate::script::Script;

struct EventRow {
    id: Vec<u8>,
    notebook_id: Vec<u8>,
    project_id: String,
    happened_at: i64,
    what: String,
    actor: String,
    actor_user_id: Option<String>,
    actor_user_name: Option<String>,
    request_id: Option<String>,
    why: String,
}

impl TryFrom<EventRow> for NotebookEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: EventId::from_uuid(uuid("events.id", &row.id)?),
            notebook_id: NotebookId::from_uuid(uuid("notebook_id", &row.notebook_id)?),
            project_id: parsed("project_id", &row.project_id)?,
            at: Timestamp::from_millis(row.happened_at),
            what: row.what,
            origin: origin(&row.actor, row.actor_user_id.as_deref(), row.actor_user_name, row.request_id)?,
            why: row.why,
        })
    }
}

/// A notebook's events after the given one. An `after` that does not exist is no place in the order: all are returned.
pub(crate) async fn select(
    connection: &mut SqliteConnection,
    id: NotebookId,
    after: Option<EventId>,
    limit: u32,
) -> Result<Vec<NotebookEvent>, StoreError> {
    let id = id.as_uuid().as_bytes().as_slice();
    let after = after.map(|event| event.as_uuid().as_bytes().to_vec());
    let rows = sqlx::query_as!(
        EventRow,
        r#"select id, notebook_id, project_id, happened_at, what, actor, actor_user_id, actor_user_name, request_id, why
            from events
            where notebook_id = $1 and seq > coalesce((select seq from events where id = $2), 0)
            order by seq limit $3"#,
        id,
        after,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(NotebookEvent::try_from).collect()
}

/// A project's events after the given one; with `owner`, only those of this user's notebooks.
pub(crate) async fn select_of_project(
    connection: &mut SqliteConnection,
    project_id: &ProjectId,
    owner: Option<&UserId>,
    after: Option<EventId>,
    limit: u32,
) -> Result<Vec<NotebookEvent>, StoreError> {
    let project_id = project_id.as_str();
    let after = after.map(|event| event.as_uuid().as_bytes().to_vec());
    let after = sqlx::query_scalar!("select seq from events where id = $1", after)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?
        .unwrap_or(0);
    let rows = match owner.map(UserId::as_str) {
        // Two statements, so that each finds its index.
        Some(owner) => {
            sqlx::query_as!(
                EventRow,
                r#"select id, notebook_id, project_id, happened_at, what, actor, actor_user_id, actor_user_name,
                    request_id, why
                    from events where project_id = $1 and owner_user_id = $2 and seq > $3 order by seq limit $4"#,
                project_id,
                owner,
                after,
                limit
            )
            .fetch_all(connection)
            .await
        }
        None => {
            sqlx::query_as!(
                EventRow,
                r#"select id, notebook_id, project_id, happened_at, what, actor, actor_user_id, actor_user_name,
                    request_id, why
                    from events where project_id = $1 and seq > $2 order by seq limit $3"#,
                project_id,
                after,
                limit
            )
            .fetch_all(connection)
            .await
        }
    };
    rows.map_err(failed)?.into_iter().map(NotebookEvent::try_from).collect()
}

/// Appends an event. Whose notebook it tells of is taken from the notebook, or where that is gone, from its first event.
pub(crate) fn insert(script: &mut Script, event: &NotebookEvent) -> Result<(), StoreError> {
    let notebook_id = event.notebook_id.as_uuid().as_bytes().to_vec();
    let by = OriginColumns::from(&event.origin);
    script.statement(
        "insert into events (
            id, notebook_id, project_id, happened_at, what, actor, actor_user_id, actor_user_name, request_id, why,
            owner_user_id
        ) values (
            ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
            coalesce(
                (select user_id from notebooks where id = ?),
                (select owner_user_id from events where notebook_id = ? order by seq limit 1)
            )
        )",
    );
    script.bind(event.id.as_uuid().as_bytes().to_vec())?;
    script.bind(notebook_id.clone())?;
    script.bind(event.project_id.as_str().to_owned())?;
    script.bind(event.at.as_millis())?;
    script.bind(event.what.clone())?;
    script.bind(by.actor)?;
    script.bind(by.user_id.map(str::to_owned))?;
    script.bind(by.user_name.map(str::to_owned))?;
    script.bind(by.request_id.map(str::to_owned))?;
    script.bind(event.why.clone())?;
    script.bind(notebook_id.clone())?;
    script.bind(notebook_id)
}
