//! How all notebooks stand, and what lists know of them, read at the start of a server.
//!
//! sqlx hands every row, and each value of it, from the connection's thread to the reader's: some 80 µs for a notebook,
//! which for a hundred thousand are many seconds in which nobody is served. So here `SQLite` puts a thousand notebooks
//! into one value, as JSON, and the rest is ours: a tenth of that.

use std::borrow::Cow;

use atelier_core::id::{ImageId, NotebookId};
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_store::{OpenSecrets, Resting, StoreError};
use secrecy::SecretString;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use crate::columns::{named, number, parsed, statuses, tags_from_json, unreadable};
use crate::listing::{Line, Listing, Owner};
use crate::notebook_row::{TOKEN, UPSTREAM_SECRET};
use crate::{Sealer, failed};

/// Notebooks in one pack.
const STRIDE: u32 = 1024;

/// Some notebooks as one text, and the id of the last of them; none at the end.
type Pack = (String, Option<Vec<u8>>);

/// One value of `columns` of each notebook after the id `last`, by id.
async fn pack(connection: &mut SqliteConnection, columns: &str, last: &[u8]) -> Result<Pack, StoreError> {
    // The inner query has the order and the end; the group is made from its rows as they come.
    let sql = format!(
        "select json_group_array({columns}), max(id)
        from (select * from notebooks where id > $1 order by id limit {STRIDE})"
    );
    sqlx::query_as(AssertSqlSafe(sql)).bind(last).fetch_one(connection).await.map_err(failed)
}

/// Shows `columns` of every notebook to `visit`, pack by pack. While one is taken in, the next is made.
async fn every_pack(
    connection: &mut SqliteConnection,
    columns: &str,
    mut visit: impl FnMut(&str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut at = pack(connection, columns, &[]).await?;
    while let (text, Some(last)) = at {
        let (next, taken) = tokio::join!(biased; pack(connection, columns, &last), async { visit(&text) });
        taken?;
        at = next?;
    }
    Ok(())
}

fn unpacked<'p, T: Deserialize<'p>>(pack: &'p str) -> Result<Vec<T>, StoreError> {
    serde_json::from_str(pack).map_err(|error| StoreError::Unreadable(format!("`notebooks` holds odd values: {error}")))
}

fn bytes(column: &str, hex: &str) -> Result<Vec<u8>, StoreError> {
    hex::decode(hex).map_err(|_| unreadable(column))
}

fn id(column: &str, hex: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(hex).map_err(|_| unreadable(column))
}

/// Those that rest have all of it, the others their ids only.
#[derive(Deserialize)]
struct Row<'p>(&'p str, #[serde(borrow, default)] Option<At<'p>>);

#[derive(Deserialize)]
struct At<'p> {
    project_id: &'p str,
    user_id: &'p str,
    name: String,
    status: &'p str,
    fail_reason: Option<String>,
    token: Box<str>,
    upstream_secret: Box<str>,
}

/// Shows all that rest to `visit`, and answers the ids of the others.
pub(crate) async fn every(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    visit: &mut (dyn FnMut(Resting) + Send),
) -> Result<Vec<NotebookId>, StoreError> {
    let at_rest = statuses(|status| status.is_stable() && !status.holds_compute());
    let columns = format!(
        "json_array(hex(id), case
        when status in (select value from json_each('{at_rest}')) and volume_growing_to_gib is null and progress = '[]'
        then json_array(project_id, user_id, name, status, fail_reason, hex(token_sealed), hex(upstream_secret_sealed))
    end)"
    );
    let mut moving = Vec::new();
    every_pack(connection, &columns, |pack| {
        for Row(hex, at) in unpacked::<Row<'_>>(pack)? {
            let id = NotebookId::from_uuid(id("id", hex)?);
            match at {
                Some(at) => visit(at.standing(id, sealer)?),
                None => moving.push(id),
            }
        }
        Ok(())
    })
    .await?;
    Ok(moving)
}

impl At<'_> {
    fn standing(self, id: NotebookId, sealer: &Sealer) -> Result<Resting, StoreError> {
        Ok(Resting {
            id,
            project_id: parsed("project_id", self.project_id)?,
            user_id: parsed("user_id", self.user_id)?,
            name: self.name,
            status: named("status", &Status::ALL, Status::as_str, self.status)?,
            fail_reason: self.fail_reason,
            secrets: Box::new(Secrets {
                id,
                token: self.token,
                upstream_secret: self.upstream_secret,
                sealer: sealer.clone(),
            }),
        })
    }
}

/// The sealed columns, in hexadecimal.
#[derive(Debug)]
struct Secrets {
    id: NotebookId,
    token: Box<str>,
    upstream_secret: Box<str>,
    sealer: Sealer,
}

impl OpenSecrets for Secrets {
    fn open(&self) -> Result<(SecretString, SecretString), StoreError> {
        let row = self.id.to_string();
        let open = |column, hex: &str| self.sealer.unseal(column, &row, &bytes(column, hex)?);
        Ok((open(TOKEN, &self.token)?, open(UPSTREAM_SECRET, &self.upstream_secret)?))
    }
}

/// The columns that lists are made from.
#[derive(Deserialize)]
struct LineRow<'p> {
    id: &'p str,
    project_id: &'p str,
    user_id: &'p str,
    #[serde(borrow)]
    user_name: Cow<'p, str>,
    #[serde(borrow)]
    workspace_id: Cow<'p, str>,
    name: Box<str>,
    description: Box<str>,
    feature: &'p str,
    #[serde(borrow)]
    tags: Cow<'p, str>,
    #[serde(borrow)]
    flavor_id: Cow<'p, str>,
    image_id: &'p str,
    #[serde(borrow)]
    image_swr_path: Cow<'p, str>,
    pool_id: Option<String>,
    pool_name: Option<String>,
    status: &'p str,
    create_at: i64,
    update_at: i64,
    generation: i64,
}

impl LineRow<'_> {
    fn into_line(self) -> Result<(Owner, Line), StoreError> {
        let owner = Owner { project_id: self.project_id.into(), user_id: self.user_id.into() };
        let line = Line {
            id: NotebookId::from_uuid(id("id", self.id)?),
            generation: number("generation", self.generation)?,
            create_at: self.create_at,
            update_at: self.update_at,
            name: self.name,
            description: self.description,
            tags: tags_from_json("tags", &self.tags)?,
            workspace_id: (*self.workspace_id).into(),
            user_name: (*self.user_name).into(),
            flavor_id: (*self.flavor_id).into(),
            image_id: ImageId::from_uuid(id("image_id", self.image_id)?),
            image_swr_path: (*self.image_swr_path).into(),
            pool: self.pool_id.zip(self.pool_name).map(|(id, name)| InPool { id, name }.into()),
            feature: parsed("feature", self.feature)?,
            status: named("status", &Status::ALL, Status::as_str, self.status)?,
        };
        Ok((owner, line))
    }
}

/// Fills `listing` with what lists know of every notebook.
pub(crate) async fn fill(connection: &mut SqliteConnection, listing: &Listing) -> Result<(), StoreError> {
    let columns = "json_array(hex(id), project_id, user_id, user_name, workspace_id, name, description, feature, tags,
        flavor_id, hex(image_id), image_swr_path, pool_id, pool_name, status, create_at, update_at, generation)";
    every_pack(connection, columns, |pack| {
        let lines: Result<Vec<_>, _> = unpacked(pack)?.into_iter().map(LineRow::into_line).collect();
        listing.fill(lines?);
        Ok(())
    })
    .await?;
    listing.sort();
    Ok(())
}
