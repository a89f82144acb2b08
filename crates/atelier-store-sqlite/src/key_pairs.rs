//! The store's contract for key pairs.

use async_trait::async_trait;
use atelier_core::Timestamp;
use atelier_store::StoreError;
use atelier_store::key_pairs::{KeyPair, KeyPairOwner, KeyPairStore, KeyPairWritten, NewKeyPair};
use sqlx::SqliteConnection;

use crate::columns::parsed;
use crate::{SqliteStore, failed};

#[async_trait]
impl KeyPairStore for SqliteStore {
    async fn add_key_pair(&self, pair: NewKeyPair, most: u32) -> Result<KeyPairWritten, StoreError> {
        self.write(move |connection| Box::pin(async move { add(connection, pair, most).await })).await
    }

    async fn key_pairs(&self, owner: &KeyPairOwner) -> Result<Vec<KeyPair>, StoreError> {
        let (project_id, user_id) = (owner.project_id.as_str(), owner.user_id.as_str());
        let rows = sqlx::query_as!(
            Row,
            "select * from key_pairs where project_id = $1 and user_id = $2 order by name",
            project_id,
            user_id
        )
        .fetch_all(&mut *self.reader().await)
        .await
        .map_err(failed)?;
        rows.into_iter().map(KeyPair::try_from).collect()
    }

    async fn key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<Option<KeyPair>, StoreError> {
        find(&mut *self.reader().await, owner, name).await
    }

    async fn describe_key_pair(
        &self,
        owner: &KeyPairOwner,
        name: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (owner, name, description) = (owner.clone(), name.to_owned(), description.to_owned());
        let at = at.as_millis();
        self.write(move |connection| {
            Box::pin(async move {
                let (project_id, user_id) = (owner.project_id.as_str(), owner.user_id.as_str());
                let described = sqlx::query!(
                    r#"update key_pairs set description = $1, updated_at = $2
                    where project_id = $3 and user_id = $4 and name = $5"#,
                    description,
                    at,
                    project_id,
                    user_id,
                    name,
                );
                Ok(described.execute(connection).await.map_err(failed)?.rows_affected() > 0)
            })
        })
        .await
    }

    async fn remove_key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<bool, StoreError> {
        let (owner, name) = (owner.clone(), name.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let (project_id, user_id) = (owner.project_id.as_str(), owner.user_id.as_str());
                let removed = sqlx::query!(
                    "delete from key_pairs where project_id = $1 and user_id = $2 and name = $3",
                    project_id,
                    user_id,
                    name
                );
                Ok(removed.execute(connection).await.map_err(failed)?.rows_affected() > 0)
            })
        })
        .await
    }
}

/// Looks before it writes: a job that has written is kept, whatever it answers.
async fn add(connection: &mut SqliteConnection, pair: NewKeyPair, most: u32) -> Result<KeyPairWritten, StoreError> {
    if find(connection, &pair.owner, &pair.name).await?.is_some() {
        return Ok(KeyPairWritten::NameTaken);
    }
    if count(connection, &pair.owner).await? >= i64::from(most) {
        return Ok(KeyPairWritten::QuotaExhausted);
    }
    match insert(connection, &pair).await {
        Ok(id) => Ok(KeyPairWritten::Written(Box::new(KeyPair {
            id,
            owner: pair.owner,
            name: pair.name,
            public_key: pair.public_key,
            description: String::new(),
            created_at: pair.created_at,
            updated_at: pair.created_at,
        }))),
        Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) => {
            Ok(KeyPairWritten::NobodyThere)
        }
        Err(error) => Err(failed(error)),
    }
}

async fn count(connection: &mut SqliteConnection, owner: &KeyPairOwner) -> Result<i64, StoreError> {
    let (project_id, user_id) = (owner.project_id.as_str(), owner.user_id.as_str());
    sqlx::query_scalar!("select count(*) from key_pairs where project_id = $1 and user_id = $2", project_id, user_id)
        .fetch_one(connection)
        .await
        .map_err(failed)
}

async fn insert(connection: &mut SqliteConnection, pair: &NewKeyPair) -> Result<i64, sqlx::Error> {
    let (project_id, user_id) = (pair.owner.project_id.as_str(), pair.owner.user_id.as_str());
    let at = pair.created_at.as_millis();
    let inserted = sqlx::query!(
        r#"insert into key_pairs (project_id, user_id, name, public_key, description, created_at, updated_at)
        values ($1, $2, $3, $4, '', $5, $5)"#,
        project_id,
        user_id,
        pair.name,
        pair.public_key,
        at,
    );
    Ok(inserted.execute(connection).await?.last_insert_rowid())
}

async fn find(
    connection: &mut SqliteConnection,
    owner: &KeyPairOwner,
    name: &str,
) -> Result<Option<KeyPair>, StoreError> {
    let (project_id, user_id) = (owner.project_id.as_str(), owner.user_id.as_str());
    let row = sqlx::query_as!(
        Row,
        "select * from key_pairs where project_id = $1 and user_id = $2 and name = $3",
        project_id,
        user_id,
        name
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(KeyPair::try_from).transpose()
}

struct Row {
    id: i64,
    project_id: String,
    user_id: String,
    name: String,
    public_key: String,
    description: String,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for KeyPair {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let owner = KeyPairOwner {
            project_id: parsed("key_pairs.project_id", &row.project_id)?,
            user_id: parsed("key_pairs.user_id", &row.user_id)?,
        };
        Ok(Self {
            id: row.id,
            owner,
            name: row.name,
            public_key: row.public_key,
            description: row.description,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
        })
    }
}
