//! One atomic change, as the job that the writer runs.
//!
//! Everything that can refuse comes first (do the conditions hold; is the row there, in the generation that was read), so
//! that a refused commit has written nothing. The generation is a part of the first write itself, which writes nothing
//! when it meets another. The writer's transaction makes asking and writing one moment.
//!
//! Every statement that is sent alone is a trip to the one thread that all writes share, so there are few: one that asks
//! all conditions, where there are any; the notebook; and all the rest in one [`Script`].

use atelier_core::audit::AuditRecord;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Flavor;
use atelier_core::operation::Operation;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, StoreError};
use sqlx::SqliteConnection;

use crate::Sealer;
use crate::columns::{integer, number};
use crate::notebook_row::NotebookRow;
use crate::script::Script;
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
        let Some(generation) = self.write_notebook(connection).await? else {
            return self.out_of_turn(connection).await;
        };
        let mut script = Script::default();
        for operation in &self.operations {
            operations::upsert(&mut script, operation)?;
        }
        for event in &self.events {
            events::insert(&mut script, event)?;
        }
        script.run(connection).await?;
        for record in &self.audit {
            audit::append(connection, record).await?;
        }
        Ok(Committed::Written(number("generation", generation)?))
    }

    /// Asks the conditions, in their order. Whoever lost is told that first.
    async fn refused(&self, connection: &mut SqliteConnection) -> Result<Option<Committed>, StoreError> {
        let Some(draft) = self.draft().filter(|_| !self.conditions.is_empty()) else { return Ok(None) };
        let (row, flavor) = (&draft.row, &draft.flavor);
        let standing = pages::standing(connection, &row.id, &row.project_id, &row.user_id).await?;
        let asks_for_others = self.conditions.iter().any(|c| matches!(c, Condition::OnlyOneOfItsFeature));
        let others = if asks_for_others { pages::others_of_its_feature(connection, row).await? } else { 0 };
        let asks_for_name = self.conditions.iter().any(|condition| matches!(condition, Condition::NameIsFree));
        let name_is_taken = asks_for_name && notebooks::others_of_name(connection, row).await? > 0;
        let refused = out_of_step(self.expected(), standing.generation).or_else(|| {
            self.conditions.iter().find_map(|condition| match *condition {
                Condition::FewerNotebooksThan(quota) => {
                    (standing.owned >= i64::from(quota)).then_some(Committed::QuotaExhausted)
                }
                Condition::NameIsFree => name_is_taken.then_some(Committed::NameTaken),
                Condition::Fits(capacity) => {
                    (!capacity.fits(standing.held_besides, flavor)).then_some(Committed::NoCapacity)
                }
                Condition::OnlyOneOfItsFeature => (others > 0).then_some(Committed::AlreadyOne),
            })
        });
        Ok(refused)
    }

    /// The generation that the row must have; `None` when it must not be there.
    fn expected(&self) -> Option<i64> {
        match &self.write {
            Write::Nothing | Write::Insert(_) => None,
            Write::Update(draft) => Some(draft.row.generation),
            Write::Remove(_, generation) => Some(*generation),
        }
    }

    /// The answer to a conditional write that met no row it was for.
    async fn out_of_turn(&self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        let id = match &self.write {
            Write::Nothing => return Ok(Committed::Lost),
            Write::Insert(draft) | Write::Update(draft) => &draft.row.id,
            Write::Remove(id, _) => id,
        };
        let kept = notebooks::generation(connection, id).await?;
        Ok(out_of_step(self.expected(), kept).unwrap_or(Committed::Lost))
    }

    /// The notebook's generation from now on; `None` when the conditional write changed nothing.
    async fn write_notebook(&self, connection: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
        match &self.write {
            Write::Nothing => Ok(Some(0)),
            Write::Insert(draft) => {
                Ok(notebooks::insert(connection, &draft.row).await?.then_some(draft.row.generation))
            }
            Write::Update(draft) => {
                Ok(notebooks::update(connection, &draft.row).await?.then_some(draft.row.generation + 1))
            }
            Write::Remove(id, generation) => Ok(notebooks::delete(connection, id, *generation).await?.then_some(0)),
        }
    }
}

/// Whether the row is not as the caller read it.
fn out_of_step(expected: Option<i64>, kept: Option<i64>) -> Option<Committed> {
    match (expected, kept) {
        (Some(_), None) => Some(Committed::Missing),
        (expected, kept) if expected != kept => Some(Committed::Lost),
        _ => None,
    }
}
