//! Volumes that notebooks share, with by how many. The numbers are kept by triggers.

use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::volume::{Volume, VolumeKind};
use atelier_store::{SharedVolume, Sharing, StoreError};
use sqlx::SqliteConnection;

use crate::columns::{number, parsed, uuid};
use crate::failed;
use crate::notebook_row::NotebookRow;
use crate::script::Script;

/// All of them, by id.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<SharedVolume>, StoreError> {
    let rows =
        sqlx::query!("select id, in_use, in_trash, last_notebook_id, last_project_id from shared_volumes order by id");
    let rows = rows.fetch_all(connection).await.map_err(failed)?;
    let read = rows.into_iter().map(|row| {
        let last = row.last_notebook_id.zip(row.last_project_id).map(|(notebook, project)| {
            let notebook = NotebookId::from_uuid(uuid("shared_volumes.last_notebook_id", &notebook)?);
            Ok::<_, StoreError>((notebook, parsed("shared_volumes.last_project_id", &project)?))
        });
        Ok(SharedVolume {
            id: VolumeId::from_uuid(uuid("shared_volumes.id", &row.id)?),
            in_use: number("shared_volumes.in_use", row.in_use)?,
            in_trash: number("shared_volumes.in_trash", row.in_trash)?,
            last: last.transpose()?,
        })
    });
    read.collect()
}

/// That which this user's notebooks in this workspace of the project share. The index by owner leads to the few that they
/// have.
pub(crate) async fn of(
    connection: &mut SqliteConnection,
    project_id: &str,
    user_id: &str,
    workspace_id: &str,
) -> Result<Option<Volume>, StoreError> {
    let row = sqlx::query!(
        "select volume_id, volume_capacity_gib from notebooks
            where project_id = $1 and user_id = $2 and workspace_id = $3 and volume_kind is 'SHARED' limit 1",
        project_id,
        user_id,
        workspace_id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let read = row.map(|row| {
        let capacity_gib = number("volume_capacity_gib", row.volume_capacity_gib)?;
        let id = VolumeId::from_uuid(uuid("volume_id", &row.volume_id)?);
        Ok(Volume { id, kind: VolumeKind::Shared { capacity_gib } })
    });
    read.transpose()
}

/// Drops one that nobody needs, and writes with that what is told of it.
pub(crate) async fn forget(connection: &mut SqliteConnection, id: VolumeId, told: Script) -> Result<(), StoreError> {
    let id = id.as_uuid().as_bytes().as_slice();
    let done = sqlx::query!("delete from shared_volumes where id = $1 and in_use = 0 and in_trash = 0", id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    told.run(connection).await
}

/// Whether the notebook of this row would have another volume than those of its owner in its workspace share, or would not
/// come to it as is said.
pub(crate) async fn is_another(
    connection: &mut SqliteConnection,
    row: &NotebookRow,
    sharing: Sharing,
) -> Result<bool, StoreError> {
    let seen = sqlx::query!(
        r#"select
            exists (
                select 1 from notebooks where project_id = $1 and user_id = $2 and workspace_id = $3
                    and volume_kind is 'SHARED' and volume_id <> $4
            ) as "other!: bool",
            (select in_use from shared_volumes where id = $4) as "in_use: i64""#,
        row.project_id,
        row.user_id,
        row.workspace_id,
        row.volume_id
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let as_said = match sharing {
        Sharing::Brings => seen.in_use.is_none(),
        Sharing::Joins => seen.in_use.is_some_and(|others| others > 0),
        Sharing::Returns => true,
    };
    Ok(seen.other || !as_said)
}
