//! Notebooks by the many, and what they hold of each part of the machine.
//!
//! Pages come from the listing in memory; the page here is for the case that notebooks change faster than their rows
//! can be read. Which conditions a list has depends on the query, so its SQL is put together; every value is bound, never written
//! into the text.

use std::sync::LazyLock;

use atelier_core::flavor::Held;
use atelier_core::gpu::HeldGpus;
use atelier_core::id::NotebookId;
use atelier_core::pool::Part;
use atelier_core::status::Status;
use atelier_store::{NotebookFilter, NotebookQuery, Searched, SortKey, StoreError};
use sqlx::{AssertSqlSafe, Connection as _, QueryBuilder, Sqlite, SqliteConnection};

use crate::columns::{number, statuses};
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
    filtered(&mut sql, &query.filter);
    sql
}

fn filtered(sql: &mut QueryBuilder<Sqlite>, filter: &NotebookFilter) {
    for (which, part) in &filter.contains {
        // Not `like`: there `%` and `_` have a meaning, and letter case has none.
        sql.push(format_args!(" and instr({}, ", column(*which))).push_bind(part.clone()).push(") > 0");
    }
    for (name, id) in [
        ("id", filter.id.map(|id| id.as_uuid().as_bytes().to_vec())),
        ("image_id", filter.image_id.map(|id| id.as_uuid().as_bytes().to_vec())),
    ] {
        if let Some(id) = id {
            sql.push(format_args!(" and {name} = ")).push_bind(id);
        }
    }
    for (name, word) in [
        ("status", filter.status.map(|status| status.as_str().to_owned())),
        ("feature", filter.feature.map(|feature| feature.as_str().to_owned())),
        ("workspace_id", filter.workspace_id.clone()),
        ("pool_id", filter.pool_id.clone()),
    ] {
        if let Some(word) = word {
            sql.push(format_args!(" and {name} = ")).push_bind(word);
        }
    }
    for (key, value) in &filter.tags {
        sql.push(" and exists (select 1 from json_each(tags) as tag where tag.key = ").push_bind(key.clone());
        sql.push(" and tag.value = ").push_bind(value.clone()).push(")");
    }
}

const fn column(which: Searched) -> &'static str {
    match which {
        Searched::Name => "name",
        Searched::Description => "description",
        Searched::Flavor => "flavor_id",
        Searched::SwrPath => "image_swr_path",
        Searched::UserName => "user_name",
        Searched::PoolName => "pool_name",
    }
}

fn sorted(sql: &mut QueryBuilder<Sqlite>, query: &NotebookQuery) {
    let direction = if query.descending { " desc" } else { "" };
    sql.push(" order by ");
    for key in std::iter::once(&query.sort_key).chain(&query.then_by) {
        let key = match key {
            SortKey::CreateAt => "create_at",
            SortKey::UpdateAt => "update_at",
            SortKey::Name => "name",
            SortKey::Status => "status",
            SortKey::Flavor => "flavor_id",
        };
        sql.push(format_args!("{key}{direction}, "));
    }
    sql.push(format_args!("id{direction} limit ")).push_bind(query.limit);
    sql.push(" offset ").push_bind(query.offset);
}

/// The next rows after the id `last`, by id.
pub(crate) async fn after(
    connection: &mut SqliteConnection,
    last: &[u8],
    limit: u32,
) -> Result<Vec<NotebookRow>, StoreError> {
    sqlx::query_as("select * from notebooks where id > $1 order by id limit $2")
        .bind(last)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(failed)
}

/// The rows with these ids, as far as they are there, in no order.
pub(crate) async fn with_ids(
    connection: &mut SqliteConnection,
    ids: &[NotebookId],
) -> Result<Vec<NotebookRow>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new("select * from notebooks where id in (");
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(id.as_uuid().as_bytes().to_vec());
    }
    sql.push(")");
    sql.build_query_as().fetch_all(connection).await.map_err(failed)
}

/// What the notebooks of a part hold together, from the totals by status.
pub(crate) async fn held(connection: &mut SqliteConnection, part: &Part) -> Result<Held, StoreError> {
    let (pools, are_in) = in_columns(part);
    let held = sqlx::query!(
        r#"select coalesce(sum(cpu_millis), 0) as "cpu_millis!: i64", coalesce(sum(memory_mib), 0) as "memory_mib!: i64"
            from status_totals where status in (select value from json_each($1))
                and (pool_id in (select value from json_each($2))) = $3"#,
        *HOLDING,
        pools,
        are_in
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    sum(held.cpu_millis, held.memory_mib)
}

/// The GPUs that all notebooks hold together, but for the one with the id `besides`.
pub(crate) async fn held_gpus(
    connection: &mut SqliteConnection,
    besides: Option<&[u8]>,
) -> Result<HeldGpus, StoreError> {
    let besides = besides.unwrap_or_default();
    let rows = sqlx::query!(
        r#"select flavor_gpu_kind as kind, sum(flavor_gpus) as "count!: i64" from notebooks
            where flavor_gpus is not null and status in (select value from json_each($1)) and id <> $2
            group by flavor_gpu_kind"#,
        *HOLDING_GPUS,
        besides
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(|row| Ok((row.kind, number("flavor_gpus", row.count)?))).collect()
}

/// What conditions are asked about.
pub(crate) struct Standing {
    /// The generation that the notebook is kept with.
    pub(crate) generation: Option<i64>,
    /// How many notebooks its owner has in its project.
    pub(crate) owned: i64,
    /// What all other notebooks of the part hold together.
    pub(crate) held_besides: Held,
}

/// All that conditions may ask about one notebook and its owner, in one trip.
pub(crate) async fn standing(
    connection: &mut SqliteConnection,
    id: &[u8],
    project_id: &str,
    user_id: &str,
    part: &Part,
) -> Result<Standing, StoreError> {
    let (pools, are_in) = in_columns(part);
    let seen = sqlx::query!(
        r#"with own as (
                select generation, status, coalesce(pool_id, '') as pool_id, flavor_cpu_millis, flavor_memory_mib
                    from notebooks where id = $1
            ),
            holding as (select value as status from json_each($4)),
            pools as (select value as pool_id from json_each($5)),
            all_of_part as (
                select sum(cpu_millis) as cpu_millis, sum(memory_mib) as memory_mib from status_totals
                    where status in holding and (pool_id in pools) = $6
            ),
            own_of_part as (
                select flavor_cpu_millis, flavor_memory_mib from own where status in holding and (pool_id in pools) = $6
            )
        select (select generation from own) as "generation?: i64",
            coalesce((select notebooks from owner_totals where project_id = $2 and user_id = $3), 0) as "owned!: i64",
            coalesce((select cpu_millis from all_of_part), 0)
                - coalesce((select flavor_cpu_millis from own_of_part), 0) as "cpu_millis!: i64",
            coalesce((select memory_mib from all_of_part), 0)
                - coalesce((select flavor_memory_mib from own_of_part), 0) as "memory_mib!: i64""#,
        id,
        project_id,
        user_id,
        *HOLDING,
        pools,
        are_in
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let held_besides = sum(seen.cpu_millis, seen.memory_mib)?;
    Ok(Standing { generation: seen.generation, owned: seen.owned, held_besides })
}

/// How many other notebooks with this value in a column the owner of `row` has in its project. The index by owner leads to
/// the few that they have.
pub(crate) async fn others_alike(
    connection: &mut SqliteConnection,
    row: &NotebookRow,
    column: &'static str,
    value: Option<&str>,
) -> Result<i64, StoreError> {
    let count =
        format!("select count(*) from notebooks where project_id = $1 and user_id = $2 and {column} = $3 and id <> $4");
    let count = sqlx::query_scalar(AssertSqlSafe(count));
    let count = count.bind(&row.project_id).bind(&row.user_id).bind(value).bind(&row.id);
    count.fetch_one(connection).await.map_err(failed)
}

/// Some pools, as JSON, and whether a part is what is in them or what is not.
fn in_columns(part: &Part) -> (String, bool) {
    let json = |ids: &[&str]| serde_json::Value::from(ids).to_string();
    match part {
        Part::Pool(id) => (json(&[&**id]), true),
        Part::Besides(ids) => (json(&ids.iter().map(String::as_str).collect::<Vec<_>>()), false),
    }
}

/// The statuses that hold compute, as JSON.
static HOLDING: LazyLock<String> = LazyLock::new(|| statuses(Status::holds_compute));
static HOLDING_GPUS: LazyLock<String> = LazyLock::new(|| statuses(Status::holds_gpus));

fn sum(cpu_millis: i64, memory_mib: i64) -> Result<Held, StoreError> {
    let memory_mib: u64 = number("flavor_memory_mib", memory_mib)?;
    Ok(Held { cpu_millis: number("flavor_cpu_millis", cpu_millis)?, memory_bytes: memory_mib * 1024 * 1024 })
}
