//! The store's contract for people, put together from the statements, and the statements of tokens.

use async_trait::async_trait;
use atelier_core::Timestamp;
use atelier_core::id::UserId;
use atelier_store::StoreError;
use atelier_store::people::{
    Directory, GrantTarget, Method, PeopleChange, PeopleStore, PeopleWritten, Token, TokenHash,
};
use sqlx::SqliteConnection;

use crate::columns::{named, parsed, unreadable};
use crate::{SqliteStore, directory, failed};

#[async_trait]
impl PeopleStore for SqliteStore {
    async fn directory(&self) -> Result<Directory, StoreError> {
        directory::select(&mut *self.reader().await, self.sealer()).await
    }

    async fn change_people(
        &self,
        changes: Vec<PeopleChange>,
        only_when_empty: bool,
    ) -> Result<PeopleWritten, StoreError> {
        let sealer = self.sealer().clone();
        self.write(move |connection| {
            Box::pin(async move {
                if only_when_empty && !directory::is_empty(connection).await? {
                    return Ok(PeopleWritten::NotEmpty);
                }
                directory::change(connection, &changes, &sealer).await
            })
        })
        .await
    }

    async fn put_token(&self, token: &Token) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |connection| Box::pin(async move { insert_token(connection, &token).await })).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        let bytes = hash.0.as_slice();
        let row = sqlx::query_as!(TokenRow, "select * from tokens where hash = $1", bytes)
            .fetch_optional(&mut *self.reader().await)
            .await
            .map_err(failed)?;
        row.map(Token::try_from).transpose()
    }

    async fn remove_token(&self, hash: TokenHash) -> Result<bool, StoreError> {
        self.write(move |connection| Box::pin(async move { remove_token(connection, hash).await })).await
    }

    async fn remove_tokens_of(&self, user_id: &UserId) -> Result<u64, StoreError> {
        let user_id = user_id.clone();
        self.write(move |connection| Box::pin(async move { remove_tokens_of(connection, &user_id).await })).await
    }

    async fn remove_tokens_expired_by(&self, moment: Timestamp) -> Result<u64, StoreError> {
        let moment = moment.as_millis();
        self.write(move |connection| {
            Box::pin(async move {
                let removed =
                    sqlx::query!("delete from tokens where expires_at <= $1", moment).execute(connection).await;
                Ok(removed.map_err(failed)?.rows_affected())
            })
        })
        .await
    }
}

struct TokenRow {
    hash: Vec<u8>,
    user_id: String,
    project_id: Option<String>,
    domain_id: Option<String>,
    methods: String,
    issued_at: i64,
    expires_at: i64,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;

    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        let scope = match (row.project_id, row.domain_id) {
            (Some(id), None) => GrantTarget::Project(parsed("tokens.project_id", &id)?),
            (None, Some(id)) => GrantTarget::Domain(parsed("tokens.domain_id", &id)?),
            _ => return Err(unreadable("scope of a token")),
        };
        let methods = row.methods.split_whitespace().map(|text| named("methods", Method::ALL, Method::as_str, text));
        Ok(Self {
            hash: token_hash("tokens.hash", &row.hash)?,
            user_id: parsed("tokens.user_id", &row.user_id)?,
            scope,
            methods: methods.collect::<Result<_, _>>()?,
            issued_at: Timestamp::from_millis(row.issued_at),
            expires_at: Timestamp::from_millis(row.expires_at),
        })
    }
}

/// Whether there was one.
pub(crate) async fn remove_token(connection: &mut SqliteConnection, hash: TokenHash) -> Result<bool, StoreError> {
    let bytes = hash.0.as_slice();
    let removed = sqlx::query!("delete from tokens where hash = $1", bytes).execute(connection).await;
    Ok(removed.map_err(failed)?.rows_affected() > 0)
}

pub(crate) async fn remove_tokens_of(connection: &mut SqliteConnection, user_id: &UserId) -> Result<u64, StoreError> {
    let user_id = user_id.as_str();
    let removed = sqlx::query!("delete from tokens where user_id = $1", user_id).execute(connection).await;
    Ok(removed.map_err(failed)?.rows_affected())
}

pub(crate) fn token_hash(column: &str, bytes: &[u8]) -> Result<TokenHash, StoreError> {
    bytes.try_into().map(TokenHash).map_err(|_| unreadable(column))
}

async fn insert_token(connection: &mut SqliteConnection, token: &Token) -> Result<(), StoreError> {
    let hash = token.hash.0.as_slice();
    let user_id = token.user_id.as_str();
    let (project_id, domain_id) = match &token.scope {
        GrantTarget::Project(id) => (Some(id.as_str()), None),
        GrantTarget::Domain(id) => (None, Some(id.as_str())),
    };
    let methods = token.methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(" ");
    let (issued_at, expires_at) = (token.issued_at.as_millis(), token.expires_at.as_millis());
    sqlx::query!(
        r#"insert into tokens (hash, user_id, project_id, domain_id, methods, issued_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7)"#,
        hash,
        user_id,
        project_id,
        domain_id,
        methods,
        issued_at,
        expires_at,
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
