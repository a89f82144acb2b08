//! The directory of people: read as a whole, changed by whole changes.

use atelier_core::Timestamp;
use atelier_store::StoreError;
use atelier_store::people::{
    AccessKey, Directory, Domain, Grant, GrantTarget, KeyParent, KeySession, PeopleChange, PeopleWritten, Project,
    Role, User,
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection as _, SqliteConnection};

use crate::columns::{named, parsed, unreadable};
use crate::people::{self, token_hash};
use crate::{Sealer, audit, failed};

/// The place that secrets of access keys are sealed for.
const SECRET: &str = "access_keys.sealed_secret";

/// Whether nobody is there yet.
pub(crate) async fn is_empty(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let domains = sqlx::query_scalar!("select count(*) from domains").fetch_one(connection).await.map_err(failed)?;
    Ok(domains == 0)
}

/// All changes or none. A violated constraint undoes only the statement that violated it, so the savepoint is still
/// there to be rolled back.
pub(crate) async fn change(
    connection: &mut SqliteConnection,
    changes: &[PeopleChange],
    sealer: &Sealer,
) -> Result<PeopleWritten, StoreError> {
    let mut savepoint = connection.begin().await.map_err(failed)?;
    for change in changes {
        match apply(&mut savepoint, change, sealer).await {
            Ok(()) => {}
            Err(Trouble::Conflict) => {
                savepoint.rollback().await.map_err(failed)?;
                return Ok(PeopleWritten::Conflict);
            }
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
    savepoint.commit().await.map_err(failed)?;
    Ok(PeopleWritten::Written)
}

/// Why a change was not made.
enum Trouble {
    Conflict,
    Failed(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(violation) if violation.is_unique_violation() || violation.is_foreign_key_violation() => {
                Self::Conflict
            }
            _ => Self::Failed(failed(error)),
        }
    }
}

async fn apply(connection: &mut SqliteConnection, change: &PeopleChange, sealer: &Sealer) -> Result<(), Trouble> {
    match change {
        PeopleChange::PutDomain(domain) => put_domain(connection, domain).await,
        PeopleChange::PutUser(user) => put_user(connection, user).await,
        PeopleChange::PutProject(project) => put_project(connection, project).await,
        PeopleChange::Give(grant) => give(connection, grant).await,
        PeopleChange::Take(grant) => take(connection, grant).await,
        PeopleChange::PutAccessKey(key) => put_access_key(connection, key, sealer).await,
        PeopleChange::RemoveAccessKey(access) => remove_access_key(connection, access).await,
        PeopleChange::RemoveTokensOf(user_id) => Ok(people::remove_tokens_of(connection, user_id).await.map(drop)?),
        PeopleChange::RemoveToken(hash) => Ok(people::remove_token(connection, *hash).await.map(drop)?),
        PeopleChange::Record(record) => Ok(audit::append(connection, record).await?),
    }
}

async fn put_domain(connection: &mut SqliteConnection, domain: &Domain) -> Result<(), Trouble> {
    let id = domain.id.as_str();
    sqlx::query!(
        r#"insert into domains (id, name, description) values ($1, $2, $3)
        on conflict (id) do update set name = excluded.name, description = excluded.description"#,
        id,
        domain.name,
        domain.description,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_user(connection: &mut SqliteConnection, user: &User) -> Result<(), Trouble> {
    let (id, domain_id) = (user.id.as_str(), user.domain_id.as_str());
    let password_hash = user.password_hash.as_ref().map(ExposeSecret::expose_secret);
    let created_at = user.created_at.as_millis();
    sqlx::query!(
        r#"insert into users (id, domain_id, name, password_hash, enabled, created_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (id) do update set domain_id = excluded.domain_id, name = excluded.name,
            password_hash = excluded.password_hash, enabled = excluded.enabled, created_at = excluded.created_at"#,
        id,
        domain_id,
        user.name,
        password_hash,
        user.enabled,
        created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_project(connection: &mut SqliteConnection, project: &Project) -> Result<(), Trouble> {
    let (id, domain_id) = (project.id.as_str(), project.domain_id.as_str());
    sqlx::query!(
        r#"insert into projects (id, domain_id, name, description) values ($1, $2, $3, $4)
        on conflict (id) do update set domain_id = excluded.domain_id, name = excluded.name,
            description = excluded.description"#,
        id,
        domain_id,
        project.name,
        project.description,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn give(connection: &mut SqliteConnection, grant: &Grant) -> Result<(), Trouble> {
    let (user_id, role) = (grant.user_id.as_str(), grant.role.as_str());
    match &grant.target {
        GrantTarget::Project(id) => {
            let id = id.as_str();
            sqlx::query!(
                "insert into project_grants (user_id, project_id, role) values ($1, $2, $3) on conflict do nothing",
                user_id,
                id,
                role
            )
            .execute(connection)
            .await?
        }
        GrantTarget::Domain(id) => {
            let id = id.as_str();
            sqlx::query!(
                "insert into domain_grants (user_id, domain_id, role) values ($1, $2, $3) on conflict do nothing",
                user_id,
                id,
                role
            )
            .execute(connection)
            .await?
        }
    };
    Ok(())
}

async fn take(connection: &mut SqliteConnection, grant: &Grant) -> Result<(), Trouble> {
    let (user_id, role) = (grant.user_id.as_str(), grant.role.as_str());
    match &grant.target {
        GrantTarget::Project(id) => {
            let id = id.as_str();
            sqlx::query!(
                "delete from project_grants where user_id = $1 and project_id = $2 and role = $3",
                user_id,
                id,
                role
            )
            .execute(connection)
            .await?
        }
        GrantTarget::Domain(id) => {
            let id = id.as_str();
            sqlx::query!(
                "delete from domain_grants where user_id = $1 and domain_id = $2 and role = $3",
                user_id,
                id,
                role
            )
            .execute(connection)
            .await?
        }
    };
    Ok(())
}

async fn put_access_key(connection: &mut SqliteConnection, key: &AccessKey, sealer: &Sealer) -> Result<(), Trouble> {
    let sealed_secret = sealer.seal(SECRET, &key.access, &key.secret)?;
    let user_id = key.user_id.as_str();
    let created_at = key.created_at.as_millis();
    let session = key.session.as_ref();
    let token_hash = session.map(|session| session.token_hash.0.to_vec());
    let expires_at = session.map(|session| session.expires_at.as_millis());
    let (parent_token, parent_key) = match session.map(|session| &session.parent) {
        None => (None, None),
        Some(KeyParent::Token(hash)) => (Some(hash.0.as_slice()), None),
        Some(KeyParent::Key(access)) => (None, Some(access.as_str())),
    };
    sqlx::query!(
        r#"insert into access_keys (
            access, sealed_secret, user_id, active, description, created_at, session_token_hash, session_expires_at,
            session_parent_token, session_parent_key
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (access) do update set sealed_secret = excluded.sealed_secret, user_id = excluded.user_id,
            active = excluded.active, description = excluded.description, created_at = excluded.created_at,
            session_token_hash = excluded.session_token_hash, session_expires_at = excluded.session_expires_at,
            session_parent_token = excluded.session_parent_token,
            session_parent_key = excluded.session_parent_key"#,
        key.access,
        sealed_secret,
        user_id,
        key.active,
        key.description,
        created_at,
        token_hash,
        expires_at,
        parent_token,
        parent_key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn remove_access_key(connection: &mut SqliteConnection, access: &str) -> Result<(), Trouble> {
    sqlx::query!("delete from access_keys where access = $1", access).execute(connection).await?;
    Ok(())
}

/// Everything, from one moment.
pub(crate) async fn select(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<Directory, StoreError> {
    let mut snapshot = connection.begin().await.map_err(failed)?;
    let directory = Directory {
        domains: domains(&mut snapshot).await?,
        users: users(&mut snapshot).await?,
        projects: projects(&mut snapshot).await?,
        grants: grants(&mut snapshot).await?,
        access_keys: access_keys(&mut snapshot, sealer).await?,
    };
    snapshot.commit().await.map_err(failed)?;
    Ok(directory)
}

async fn domains(connection: &mut SqliteConnection) -> Result<Vec<Domain>, StoreError> {
    let rows = sqlx::query!("select * from domains order by id").fetch_all(connection).await.map_err(failed)?;
    rows.into_iter()
        .map(|row| Ok(Domain { id: parsed("domains.id", &row.id)?, name: row.name, description: row.description }))
        .collect()
}

async fn users(connection: &mut SqliteConnection) -> Result<Vec<User>, StoreError> {
    let rows = sqlx::query!("select * from users order by id").fetch_all(connection).await.map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(User {
                id: parsed("users.id", &row.id)?,
                domain_id: parsed("domain_id", &row.domain_id)?,
                name: row.name,
                password_hash: row.password_hash.map(SecretString::from),
                enabled: row.enabled != 0,
                created_at: Timestamp::from_millis(row.created_at),
            })
        })
        .collect()
}

async fn projects(connection: &mut SqliteConnection) -> Result<Vec<Project>, StoreError> {
    let rows = sqlx::query!("select * from projects order by id").fetch_all(connection).await.map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(Project {
                id: parsed("projects.id", &row.id)?,
                domain_id: parsed("domain_id", &row.domain_id)?,
                name: row.name,
                description: row.description,
            })
        })
        .collect()
}

/// Grants in domains first: the order is by user, then as written here.
async fn grants(connection: &mut SqliteConnection) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query!(
        r#"select user_id as "user_id!", target as "target!", target_id as "target_id!", role as "role!" from (
            select user_id, 'domain' as target, domain_id as target_id, role from domain_grants
            union all
            select user_id, 'project', project_id, role from project_grants
        ) order by user_id, target, target_id, role"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let target = match row.target.as_str() {
                "domain" => GrantTarget::Domain(parsed("domain_id", &row.target_id)?),
                _ => GrantTarget::Project(parsed("project_id", &row.target_id)?),
            };
            let role = named("role", Role::ALL, Role::as_str, &row.role)?;
            Ok(Grant { user_id: parsed("user_id", &row.user_id)?, target, role })
        })
        .collect()
}

async fn access_keys(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<Vec<AccessKey>, StoreError> {
    let rows = sqlx::query!("select * from access_keys order by access").fetch_all(connection).await.map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let session = match (row.session_token_hash, row.session_expires_at) {
                (Some(hash), Some(end)) => Some(KeySession {
                    token_hash: token_hash("session_token_hash", &hash)?,
                    expires_at: Timestamp::from_millis(end),
                    parent: parent(row.session_parent_token.as_deref(), row.session_parent_key)?,
                }),
                _ => None,
            };
            Ok(AccessKey {
                secret: sealer.unseal(SECRET, &row.access, &row.sealed_secret)?,
                access: row.access,
                user_id: parsed("user_id", &row.user_id)?,
                active: row.active != 0,
                description: row.description,
                created_at: Timestamp::from_millis(row.created_at),
                session,
            })
        })
        .collect()
}

fn parent(token: Option<&[u8]>, key: Option<String>) -> Result<KeyParent, StoreError> {
    match (token, key) {
        (Some(hash), None) => token_hash("session_parent_token", hash).map(KeyParent::Token),
        (None, Some(access)) => Ok(KeyParent::Key(access)),
        _ => Err(unreadable("parent of a temporary access key")),
    }
}
