//! The audit: a chain of records.
//!
//! Each record's hash is SHA-256 over the hash before it and the record's own values, written as one JSON array: texts
//! are quoted there, so that no two records have the same writing. Appending reads the newest hash inside the writer's
//! transaction, and there is one writer, so the chain never forks.
//!
//! The first record hangs on a hash of zeros. After a pruning the oldest one hangs on a hash that the record of the
//! pruning names.

use async_trait::async_trait;
use atelier_core::Timestamp;
use atelier_core::audit::{AuditRecord, FieldChange};
use atelier_core::caller::{Credential, Source};
use atelier_core::id::NotebookId;
use atelier_store::StoreError;
use atelier_store::audit::{AuditEntry, AuditQuery, AuditStore, AuditVerdict, PRUNED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::columns::{number, parsed, unreadable, uuid};
use crate::{SqliteStore, failed};

/// What the oldest record of all hangs on.
const BEGINNING: [u8; 32] = [0; 32];
/// Records that are checked at a time, so that readers beside it get their turn.
const STRETCH: i64 = 1000;
/// The fields of a pruning's record.
const REMOVED_UP_TO: &str = "removed_up_to";
const REST_HANGS_ON: &str = "rest_hangs_on";

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        if is_there(&mut *self.reader().await, &record.request_id).await? {
            return Ok(());
        }
        self.write(move |connection| {
            Box::pin(async move {
                // Asked again where nobody can come between.
                if is_there(connection, &record.request_id).await? {
                    return Ok(());
                }
                append(connection, &record).await
            })
        })
        .await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let mut sql = matching(query);
        let rows: Vec<AuditRow> = sql.build_query_as().fetch_all(&mut *self.reader().await).await.map_err(failed)?;
        rows.into_iter().map(AuditEntry::try_from).collect()
    }

    async fn verify_audit(&self) -> Result<AuditVerdict, StoreError> {
        let mut check = Check::default();
        loop {
            let rows = stretch(&mut *self.reader().await, check.last_seq()).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                check.next(&row);
            }
        }
        let counted = counted(&mut *self.reader().await).await?;
        Ok(check.verdict(counted))
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |connection| Box::pin(async move { prune(connection, before, now).await })).await
    }
}

async fn is_there(connection: &mut SqliteConnection, request_id: &str) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!("select seq from audit where request_id = $1 limit 1", request_id)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    Ok(found.is_some() && !request_id.is_empty())
}

/// Appends a record behind the newest one. Called within the writer's transaction only.
pub(crate) async fn append(connection: &mut SqliteConnection, record: &AuditRecord) -> Result<(), StoreError> {
    let newest = sqlx::query!("select seq, hash from audit order by seq desc limit 1")
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    // A pruning leaves its own record, so only the very first one finds nothing.
    let (seq, previous) = newest.map_or((1, BEGINNING.to_vec()), |newest| (newest.seq + 1, newest.hash));
    let mut row = AuditRow::of(record)?;
    row.seq = seq;
    row.previous = previous;
    row.hash = row.digest().to_vec();
    insert(connection, &row).await
}

async fn insert(connection: &mut SqliteConnection, row: &AuditRow) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into audit (
            seq, recorded_at, project_id, user_id, user_name, credential, access_key, address, operation, notebook_id,
            target, request_id, status, code, changes, previous, hash
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        row.seq,
        row.recorded_at,
        row.project_id,
        row.user_id,
        row.user_name,
        row.credential,
        row.access_key,
        row.address,
        row.operation,
        row.notebook_id,
        row.target,
        row.request_id,
        row.status,
        row.code,
        row.changes,
        row.previous,
        row.hash,
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

fn matching(query: &AuditQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("select * from audit where 1 = 1");
    if let Some(id) = &query.project_id {
        sql.push(" and (project_id is null or project_id = ").push_bind(id.to_string()).push(")");
    }
    if let Some(id) = &query.user_id {
        sql.push(" and user_id = ").push_bind(id.to_string());
    }
    if let Some(name) = &query.user_name {
        sql.push(" and user_name = ").push_bind(name.clone());
    }
    if let Some(id) = &query.notebook_id {
        sql.push(" and notebook_id = ").push_bind(id.as_uuid().as_bytes().to_vec());
    }
    if let Some(operation) = &query.operation {
        sql.push(" and operation = ").push_bind(operation.clone());
    }
    if let Some(from) = query.from {
        sql.push(" and recorded_at >= ").push_bind(from.as_millis());
    }
    if let Some(until) = query.until {
        sql.push(" and recorded_at < ").push_bind(until.as_millis());
    }
    if let Some(before) = query.before {
        sql.push(" and seq < ").push_bind(i64::try_from(before).unwrap_or(i64::MAX));
    }
    sql.push(" order by seq desc limit ").push_bind(query.limit);
    sql
}

async fn stretch(connection: &mut SqliteConnection, after: i64) -> Result<Vec<AuditRow>, StoreError> {
    sqlx::query_as("select * from audit where seq > $1 order by seq limit $2")
        .bind(after)
        .bind(STRETCH)
        .fetch_all(connection)
        .await
        .map_err(failed)
}

/// The place of the newest record that was ever written, as the engine itself counts.
async fn counted(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let counted: Option<i64> = sqlx::query_scalar("select seq from sqlite_sequence where name = 'audit'")
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    Ok(counted.unwrap_or(0))
}

async fn prune(connection: &mut SqliteConnection, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
    let before = before.as_millis();
    // Whole from the oldest on: a record that is older than its predecessor, because the clock was set, waits for it.
    let last = sqlx::query!(
        "select seq, hash from audit
            where seq < coalesce((select min(seq) from audit where recorded_at >= $1), 9223372036854775807)
            order by seq desc limit 1",
        before
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(last) = last else { return Ok(0) };
    // Before the removal, so that the chain never is without a record.
    let field = |field: &str, after: String| FieldChange { field: field.into(), before: None, after: Some(after) };
    let record = AuditRecord {
        at: now,
        project_id: None,
        user_id: None,
        user_name: None,
        source: Source::default(),
        operation: PRUNED.into(),
        notebook_id: None,
        target: None,
        request_id: String::new(),
        status: 200,
        code: None,
        changes: vec![field(REMOVED_UP_TO, last.seq.to_string()), field(REST_HANGS_ON, hex::encode(&last.hash))],
    };
    append(connection, &record).await?;
    let mark = last.seq.to_string().into_bytes();
    sqlx::query!("insert into meta (name, value) values ('audit-prune', $1)", mark)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let removed = sqlx::query!("delete from audit where seq <= $1", last.seq)
        .execute(&mut *connection)
        .await
        .map_err(failed)?
        .rows_affected();
    sqlx::query!("delete from meta where name = 'audit-prune'").execute(connection).await.map_err(failed)?;
    Ok(removed)
}

/// Walks the chain.
#[derive(Default)]
struct Check {
    records: u64,
    first: Option<(i64, Vec<u8>)>,
    last: Option<(i64, [u8; 32])>,
    /// What the newest pruning says that the oldest record hangs on.
    pruned: Option<(i64, String)>,
    broken: Option<(u64, String)>,
}

impl Check {
    fn last_seq(&self) -> i64 {
        self.last.map_or(0, |(seq, _)| seq)
    }

    fn next(&mut self, row: &AuditRow) {
        self.records += 1;
        if let Some((seq, hash)) = self.last {
            if row.seq != seq + 1 {
                self.blame(seq + 1, "the record is missing");
            } else if row.previous != hash {
                self.blame(row.seq, "the record does not hang on the one before it");
            }
        } else {
            self.first = Some((row.seq, row.previous.clone()));
        }
        if row.digest().as_slice() != row.hash {
            self.blame(row.seq, "the record is not what it was when it was written");
        }
        if row.operation == PRUNED
            && let Some(pruned) = row.pruned()
        {
            self.pruned = Some(pruned);
        }
        self.last = Some((row.seq, row.hash.as_slice().try_into().unwrap_or(BEGINNING)));
    }

    /// Only the first break says where somebody was.
    fn blame(&mut self, seq: i64, how: &str) {
        self.broken.get_or_insert_with(|| (u64::try_from(seq).unwrap_or(0), how.to_owned()));
    }

    fn verdict(mut self, counted: i64) -> AuditVerdict {
        if let Some((seq, previous)) = self.first.take() {
            let hangs = match &self.pruned {
                Some((up_to, hash)) => seq == up_to + 1 && *hash == hex::encode(&previous),
                None => seq == 1 && previous == BEGINNING,
            };
            if !hangs {
                self.broken = Some((u64::try_from(seq).unwrap_or(0), "the records before it were removed".into()));
            }
            self.first = Some((seq, previous));
        }
        if counted > self.last_seq() {
            self.blame(self.last_seq() + 1, "the newest records were removed");
        }
        let place = |seq: i64| u64::try_from(seq).unwrap_or(0);
        AuditVerdict {
            records: self.records,
            first: self.first.map(|(seq, _)| place(seq)),
            head: self.last.map(|(seq, hash)| (place(seq), hash)),
            broken: self.broken,
        }
    }
}

/// A record, column by column.
#[derive(sqlx::FromRow)]
struct AuditRow {
    seq: i64,
    recorded_at: i64,
    project_id: Option<String>,
    user_id: Option<String>,
    user_name: Option<String>,
    credential: String,
    access_key: Option<String>,
    address: Option<String>,
    operation: String,
    notebook_id: Option<Vec<u8>>,
    target: Option<String>,
    request_id: String,
    status: i64,
    code: Option<String>,
    changes: String,
    previous: Vec<u8>,
    hash: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct WrittenChange {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl AuditRow {
    /// The columns of a record that has no place yet.
    fn of(record: &AuditRecord) -> Result<Self, StoreError> {
        let written = |change: &FieldChange| WrittenChange {
            field: change.field.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        };
        let changes: Vec<_> = record.changes.iter().map(written).collect();
        let changes = serde_json::to_string(&changes).map_err(|e| StoreError::Engine(e.to_string()))?;
        Ok(Self {
            seq: 0,
            recorded_at: record.at.as_millis(),
            project_id: record.project_id.as_ref().map(ToString::to_string),
            user_id: record.user_id.as_ref().map(ToString::to_string),
            user_name: record.user_name.clone(),
            credential: record.source.credential.kind().to_owned(),
            access_key: record.source.credential.access_key().map(str::to_owned),
            address: record.source.address.map(|address| address.to_string()),
            operation: record.operation.clone(),
            notebook_id: record.notebook_id.map(|id| id.as_uuid().as_bytes().to_vec()),
            target: record.target.clone(),
            request_id: record.request_id.clone(),
            status: record.status.into(),
            code: record.code.clone(),
            changes,
            previous: Vec::new(),
            hash: Vec::new(),
        })
    }

    fn digest(&self) -> [u8; 32] {
        let notebook = self.notebook_id.as_deref().map(hex::encode);
        let values = (
            (self.seq, self.recorded_at, &self.project_id, &self.user_id, &self.user_name),
            (&self.credential, &self.access_key, &self.address, &self.operation, notebook),
            (&self.target, &self.request_id, self.status, &self.code, &self.changes),
        );
        let mut digest = Sha256::new();
        digest.update(&self.previous);
        // Tuples of texts and numbers always have a writing.
        digest.update(serde_json::to_vec(&values).unwrap_or_default());
        digest.finalize().into()
    }

    fn changes(&self) -> Result<Vec<FieldChange>, StoreError> {
        let written: Vec<WrittenChange> =
            serde_json::from_str(&self.changes).map_err(|_| unreadable("audit.changes"))?;
        Ok(written.into_iter().map(|c| FieldChange { field: c.field, before: c.before, after: c.after }).collect())
    }

    /// Up to where this pruning removed, and what the rest hangs on.
    fn pruned(&self) -> Option<(i64, String)> {
        let changes = self.changes().ok()?;
        let of = |name: &str| changes.iter().find(|change| change.field == name)?.after.clone();
        Some((of(REMOVED_UP_TO)?.parse().ok()?, of(REST_HANGS_ON)?))
    }

    fn credential(&self) -> Result<Credential, StoreError> {
        Ok(match (self.credential.as_str(), &self.access_key) {
            ("none", _) => Credential::None,
            ("password", _) => Credential::Password,
            ("token", _) => Credential::Token,
            ("access-key", Some(access)) => Credential::AccessKey(access.clone()),
            _ => return Err(unreadable("audit.credential")),
        })
    }
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        let changes = row.changes()?;
        let credential = row.credential()?;
        let address = row.address.as_deref().map(|text| parsed("audit.address", text)).transpose()?;
        let notebook = row.notebook_id.as_deref().map(|id| uuid("audit.notebook_id", id)).transpose()?;
        Ok(Self {
            seq: number("audit.seq", row.seq)?,
            hash: row.hash.as_slice().try_into().map_err(|_| unreadable("audit.hash"))?,
            record: AuditRecord {
                at: Timestamp::from_millis(row.recorded_at),
                project_id: row.project_id.as_deref().map(|id| parsed("audit.project_id", id)).transpose()?,
                user_id: row.user_id.as_deref().map(|id| parsed("audit.user_id", id)).transpose()?,
                user_name: row.user_name,
                source: Source { credential, address },
                operation: row.operation,
                notebook_id: notebook.map(NotebookId::from_uuid),
                target: row.target,
                request_id: row.request_id,
                status: number("audit.status", row.status)?,
                code: row.code,
                changes,
            },
        })
    }
}
