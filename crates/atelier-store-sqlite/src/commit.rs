//! One atomic change, as the job that the writer runs.
//!
//! Everything that can refuse is asked first (is the row there, in the generation that was read; do the conditions
//! hold), so that a refused commit has written nothing. The writer's transaction makes asking and writing one moment.

use atelier_core::audit::AuditRecord;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::{Capacity, Flavor};
use atelier_core::operation::Operation;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, StoreError};
use sqlx::SqliteConnection;

use crate::Sealer;
use crate::columns::{integer, number};
use crate::notebook_row::NotebookRow;
use crate::{audit, events, notebooks, operations, pages};

/// A commit whose secrets are sealed already: sealing is done by the many callers, not by the one writer.
pub(crate) struct Prepared {
    write: Write,
    operations: Vec<Operation>,
    events: Vec<NotebookEvent>,
    audit: Vec<AuditRecord>,
    conditions: Vec<Condition>,
}

enum Write {
    Nothing,
    Insert(Box<Draft>),
    Update(Box<Draft>),
    Remove(Vec<u8>, i64),
}

/// A row to be written, with the flavor that a condition may ask about.
struct Draft {
    row: NotebookRow,
    flavor: Flavor,
}

impl Prepared {
    pub(crate) fn new(commit: Commit, sealer: &Sealer) -> Result<Self, StoreError> {
        let draft = |notebook: Box<atelier_core::notebook::Notebook>| {
            let flavor = notebook.flavor.clone();
            NotebookRow::seal(*notebook, sealer).map(|row| Box::new(Draft { row, flavor }))
        };
        let write = match commit.notebook {
            None => Write::Nothing,
            Some(NotebookWrite::Insert(notebook)) => Write::Insert(draft(notebook)?),
            Some(NotebookWrite::Update(notebook)) => Write::Update(draft(notebook)?),
            Some(NotebookWrite::Remove(id, generation)) => {
                Write::Remove(id.as_uuid().as_bytes().to_vec(), integer("generation", generation)?)
            }
        };
        let Commit { operations, events, audit, conditions, .. } = commit;
        let prepared = Self { write, operations, events, audit, conditions };
        if !prepared.conditions.is_empty() && prepared.draft().is_none() {
            return Err(StoreError::Engine("a condition needs a notebook that is inserted or updated".into()));
        }
        Ok(prepared)
    }

    fn draft(&self) -> Option<&Draft> {
        match &self.write {
            Write::Insert(draft) | Write::Update(draft) => Some(draft),
            Write::Nothing | Write::Remove(..) => None,
        }
    }

    /// Asks, then writes.
    pub(crate) async fn run(&self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        if let Some(refused) = self.refused(connection).await? {
            return Ok(refused);
        }
        let Some(generation) = self.write_notebook(connection).await? else { return Ok(Committed::Lost) };
        for operation in &self.operations {
            operations::upsert(connection, operation).await?;
        }
        for event in &self.events {
            events::insert(connection, event).await?;
        }
        for record in &self.audit {
            audit::append(connection, record).await?;
        }
        Ok(Committed::Written(number("generation", generation)?))
    }

    async fn refused(&self, connection: &mut SqliteConnection) -> Result<Option<Committed>, StoreError> {
        if let Some(refused) = self.out_of_turn(connection).await? {
            return Ok(Some(refused));
        }
        if let Some(draft) = self.draft() {
            for condition in &self.conditions {
                if let Some(refused) = draft.unmet(connection, *condition).await? {
                    return Ok(Some(refused));
                }
            }
        }
        Ok(None)
    }

    /// Whether the row is not as the caller read it.
    async fn out_of_turn(&self, connection: &mut SqliteConnection) -> Result<Option<Committed>, StoreError> {
        let (id, expected) = match &self.write {
            Write::Nothing => return Ok(None),
            Write::Insert(draft) => (&draft.row.id, None),
            Write::Update(draft) => (&draft.row.id, Some(draft.row.generation)),
            Write::Remove(id, generation) => (id, Some(*generation)),
        };
        let kept = notebooks::generation(connection, id).await?;
        Ok(match (expected, kept) {
            (Some(_), None) => Some(Committed::Missing),
            (expected, kept) if expected != kept => Some(Committed::Lost),
            _ => None,
        })
    }

    /// The notebook's generation from now on; `None` when the conditional write met another one.
    async fn write_notebook(&self, connection: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
        match &self.write {
            Write::Nothing => Ok(Some(0)),
            Write::Insert(draft) => {
                notebooks::insert(connection, &draft.row).await?;
                Ok(Some(draft.row.generation))
            }
            Write::Update(draft) => {
                Ok(notebooks::update(connection, &draft.row).await?.then_some(draft.row.generation + 1))
            }
            Write::Remove(id, generation) => Ok(notebooks::delete(connection, id, *generation).await?.then_some(0)),
        }
    }
}

impl Draft {
    async fn unmet(
        &self,
        connection: &mut SqliteConnection,
        condition: Condition,
    ) -> Result<Option<Committed>, StoreError> {
        match condition {
            Condition::FewerNotebooksThan(quota) => self.over_quota(connection, quota).await,
            Condition::Fits(capacity) => self.too_large(connection, capacity).await,
        }
    }

    async fn over_quota(&self, connection: &mut SqliteConnection, quota: u32) -> Result<Option<Committed>, StoreError> {
        let count = notebooks::count(connection, &self.row.project_id, &self.row.user_id).await?;
        Ok((count >= i64::from(quota)).then_some(Committed::QuotaExhausted))
    }

    async fn too_large(
        &self,
        connection: &mut SqliteConnection,
        capacity: Capacity,
    ) -> Result<Option<Committed>, StoreError> {
        let held = pages::held(connection, Some(&self.row.id)).await?;
        Ok((!capacity.fits(held, &self.flavor)).then_some(Committed::NoCapacity))
    }
}
