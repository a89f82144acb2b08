//! The checked statements on `notebooks`.

use atelier_core::id::NotebookId;
use atelier_store::StoreError;
use sqlx::SqliteConnection;

use crate::failed;
use crate::notebook_row::NotebookRow;

/// One notebook's row.
pub(crate) async fn select(
    connection: &mut SqliteConnection,
    id: NotebookId,
) -> Result<Option<NotebookRow>, StoreError> {
    let id = id.as_uuid().as_bytes().as_slice();
    sqlx::query_as!(
        NotebookRow,
        r#"select
                id, project_id, user_id, user_name, domain_id, domain_name, name, description,
                flavor_id, flavor_description, flavor_cpu_millis, flavor_memory_mib, flavor_free,
                image_id, image_name, image_tag, image_namespace, image_description, image_swr_path,
                image_size_bytes, volume_id, volume_capacity_gib, workspace_id, status, fail_reason,
                create_at, update_at, lease_kind, lease_update_at, lease_grant_ms, lease_end_at,
                token_sealed, upstream_secret_sealed, ever_ran, progress, generation, feature, tags,
                next_lease_kind, next_lease_grant_ms, legacy_profile_id, legacy_prompt, volume_growing_to_gib,
                pool_id, pool_name, hooks, flavor_gpus, flavor_gpu_kind, volume_kind, volume_uri
            from notebooks where id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)
}

/// The generation that a notebook is kept with.
pub(crate) async fn generation(connection: &mut SqliteConnection, id: &[u8]) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!("select generation from notebooks where id = $1", id)
        .fetch_optional(connection)
        .await
        .map_err(failed)
}

/// Adds a row; `false` when there is one with this id.
pub(crate) async fn insert(connection: &mut SqliteConnection, row: &NotebookRow) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        r#"insert into notebooks (
            id, project_id, user_id, user_name, domain_id, domain_name, name, description, flavor_id,
            flavor_description, flavor_cpu_millis, flavor_memory_mib, flavor_free, image_id, image_name,
            image_tag, image_namespace, image_description, image_swr_path, image_size_bytes, volume_id,
            volume_capacity_gib, workspace_id, status, fail_reason, create_at, update_at, lease_kind,
            lease_update_at, lease_grant_ms, lease_end_at, token_sealed, upstream_secret_sealed,
            ever_ran, progress, generation, feature, tags, next_lease_kind, next_lease_grant_ms,
            legacy_profile_id, legacy_prompt, volume_growing_to_gib, pool_id, pool_name, hooks, flavor_gpus,
            flavor_gpu_kind, volume_kind, volume_uri
        ) values (
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
            $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37,
            $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50
        ) on conflict (id) do nothing"#,
        row.id,
        row.project_id,
        row.user_id,
        row.user_name,
        row.domain_id,
        row.domain_name,
        row.name,
        row.description,
        row.flavor_id,
        row.flavor_description,
        row.flavor_cpu_millis,
        row.flavor_memory_mib,
        row.flavor_free,
        row.image_id,
        row.image_name,
        row.image_tag,
        row.image_namespace,
        row.image_description,
        row.image_swr_path,
        row.image_size_bytes,
        row.volume_id,
        row.volume_capacity_gib,
        row.workspace_id,
        row.status,
        row.fail_reason,
        row.create_at,
        row.update_at,
        row.lease_kind,
        row.lease_update_at,
        row.lease_grant_ms,
        row.lease_end_at,
        row.token_sealed,
        row.upstream_secret_sealed,
        row.ever_ran,
        row.progress,
        row.generation,
        row.feature,
        row.tags,
        row.next_lease_kind,
        row.next_lease_grant_ms,
        row.legacy_profile_id,
        row.legacy_prompt,
        row.volume_growing_to_gib,
        row.pool_id,
        row.pool_name,
        row.hooks,
        row.flavor_gpus,
        row.flavor_gpu_kind,
        row.volume_kind,
        row.volume_uri,
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// Overwrites the row where it has the generation of `row`, and raises that; `false` when it has another. What kind of volume
/// it is never changes.
pub(crate) async fn update(connection: &mut SqliteConnection, row: &NotebookRow) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        r#"update notebooks set
            project_id = $3, user_id = $4, user_name = $5, domain_id = $6, domain_name = $7, name = $8,
            description = $9, flavor_id = $10, flavor_description = $11, flavor_cpu_millis = $12,
            flavor_memory_mib = $13, flavor_free = $14, image_id = $15, image_name = $16, image_tag =
            $17, image_namespace = $18, image_description = $19, image_swr_path = $20, image_size_bytes
            = $21, volume_id = $22, volume_capacity_gib = $23, workspace_id = $24, status = $25,
            fail_reason = $26, create_at = $27, update_at = $28, lease_kind = $29, lease_update_at =
            $30, lease_grant_ms = $31, lease_end_at = $32, token_sealed = $33, upstream_secret_sealed =
            $34, ever_ran = $35, progress = $36, feature = $37, tags = $38, next_lease_kind = $39,
            next_lease_grant_ms = $40, legacy_profile_id = $41, legacy_prompt = $42,
            volume_growing_to_gib = $43, pool_id = $44, pool_name = $45, hooks = $46, flavor_gpus = $47,
            flavor_gpu_kind = $48, generation = generation + 1
        where id = $1 and generation = $2"#,
        row.id,
        row.generation,
        row.project_id,
        row.user_id,
        row.user_name,
        row.domain_id,
        row.domain_name,
        row.name,
        row.description,
        row.flavor_id,
        row.flavor_description,
        row.flavor_cpu_millis,
        row.flavor_memory_mib,
        row.flavor_free,
        row.image_id,
        row.image_name,
        row.image_tag,
        row.image_namespace,
        row.image_description,
        row.image_swr_path,
        row.image_size_bytes,
        row.volume_id,
        row.volume_capacity_gib,
        row.workspace_id,
        row.status,
        row.fail_reason,
        row.create_at,
        row.update_at,
        row.lease_kind,
        row.lease_update_at,
        row.lease_grant_ms,
        row.lease_end_at,
        row.token_sealed,
        row.upstream_secret_sealed,
        row.ever_ran,
        row.progress,
        row.feature,
        row.tags,
        row.next_lease_kind,
        row.next_lease_grant_ms,
        row.legacy_profile_id,
        row.legacy_prompt,
        row.volume_growing_to_gib,
        row.pool_id,
        row.pool_name,
        row.hooks,
        row.flavor_gpus,
        row.flavor_gpu_kind,
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// Removes the row where it has this generation; `false` when it has another.
pub(crate) async fn delete(connection: &mut SqliteConnection, id: &[u8], generation: i64) -> Result<bool, StoreError> {
    let done = sqlx::query!("delete from notebooks where id = $1 and generation = $2", id, generation)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// Every notebook with its status, as they are stored.
pub(crate) async fn statuses(connection: &mut SqliteConnection) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
    let rows =
        sqlx::query!("select id, status from notebooks order by id").fetch_all(connection).await.map_err(failed)?;
    Ok(rows.into_iter().map(|row| (row.id, row.status)).collect())
}

/// The ends of the leases of what runs, the earliest first.
pub(crate) async fn lease_ends(connection: &mut SqliteConnection) -> Result<Vec<(Vec<u8>, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"select id, lease_end_at as "lease_end_at!" from notebooks
            where status = 'RUNNING' and lease_end_at is not null order by lease_end_at, id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|row| (row.id, row.lease_end_at)).collect())
}
