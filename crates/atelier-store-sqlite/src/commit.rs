//! One atomic change, as the job that the writer runs.
//!
//! Everything that can refuse comes first (do the conditions hold; is the row there, in the generation that was read), so
//! that a refused commit has written nothing. The generation is a part of the first write itself, which writes nothing
//! when it meets another. The writer's transaction makes asking and writing one moment.
//!
//! Every statement that is sent alone is a trip to the one thread that all writes share, so there are few: one that asks
//! all conditions, where there are any; the notebook; and all the rest in one [`Script`]. The steps of operations, most of
//! all writes, ask nothing and change little of the notebook: for those all of it is one script ([`Course`]), which fails
//! when the generation is another one, and so is undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atelier_core::audit::AuditRecord;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Flavor;
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::pool::Part;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, StoreError};
use sqlx::SqliteConnection;

use crate::Sealer;
use crate::columns::{integer, number};
use crate::notebook_row::{Course, NotebookRow};
use crate::script::{Script, ended_there};
use crate::{audit, events, notebooks, operations, pages};

/// A commit whose secrets are sealed already: sealing is done by the many callers, not by the one writer.
pub(crate) struct Prepared {
    write: Write,
    /// The operations as they are kept, as far as that is known.
    under_way: Vec<Operation>,
    operations: Vec<Operation>,
    events: Vec<NotebookEvent>,
    audit: Vec<AuditRecord>,
    conditions: Vec<Condition>,
    /// Set when the row was not as the caller read it, and the job therefore failed.
    lost: Arc<AtomicBool>,
}

enum Write {
    Nothing,
    /// Nothing but the course of a notebook whose row is known.
    Course(Course),
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
    /// `before` is the notebook as it is kept, with what is under way, where that is known. A course is only written
    /// over just that generation, and whoever writes an operation that is under way writes its notebook with it: so of the
    /// operations, too, only what differs is written then.
    pub(crate) fn new(
        commit: Commit,
        before: Option<(Arc<Notebook>, Vec<Operation>)>,
        sealer: &Sealer,
    ) -> Result<Self, StoreError> {
        let course = match (&commit.notebook, &before) {
            (Some(NotebookWrite::Update(after)), Some((before, _))) if commit.conditions.is_empty() => {
                Course::between(before, after)?
            }
            _ => None,
        };
        let under_way = before.filter(|_| course.is_some()).map(|(_, under_way)| under_way).unwrap_or_default();
        let draft = |notebook: Box<Notebook>| {
            let flavor = notebook.flavor.clone();
            NotebookRow::seal(*notebook, sealer).map(|row| Box::new(Draft { row, flavor }))
        };
        let write = match (commit.notebook, course) {
            (None, _) => Write::Nothing,
            (Some(_), Some(course)) => Write::Course(course),
            (Some(NotebookWrite::Insert(notebook)), _) => Write::Insert(draft(notebook)?),
            (Some(NotebookWrite::Update(notebook)), _) => Write::Update(draft(notebook)?),
            (Some(NotebookWrite::Remove(id, generation)), _) => {
                Write::Remove(id.as_uuid().as_bytes().to_vec(), integer("generation", generation)?)
            }
        };
        let Commit { operations, events, audit, conditions, .. } = commit;
        let prepared = Self { write, under_way, operations, events, audit, conditions, lost: Arc::default() };
        if !prepared.conditions.is_empty() && prepared.draft().is_none() {
            return Err(StoreError::Engine("a condition needs a notebook that is inserted or updated".into()));
        }
        Ok(prepared)
    }

    fn draft(&self) -> Option<&Draft> {
        match &self.write {
            Write::Insert(draft) | Write::Update(draft) => Some(draft),
            Write::Nothing | Write::Course(_) | Write::Remove(..) => None,
        }
    }

    /// True once the job has failed because the row was not as the caller read it.
    pub(crate) fn lost(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.lost)
    }

    /// Asks, then writes.
    pub(crate) async fn run(&self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        if let Some(refused) = self.refused(connection).await? {
            return Ok(refused);
        }
        let mut script = Script::default();
        let Some(generation) = self.write_notebook(connection, &mut script).await? else {
            return self.out_of_turn(connection).await;
        };
        for operation in &self.operations {
            match self.under_way.iter().find(|kept| kept.id == operation.id) {
                Some(kept) => operations::update(&mut script, kept, operation)?,
                None => operations::upsert(&mut script, operation)?,
            }
        }
        for event in &self.events {
            events::insert(&mut script, event)?;
        }
        script.run(connection).await.inspect_err(|error| self.lost.store(ended_there(error), Ordering::Relaxed))?;
        for record in &self.audit {
            audit::append(connection, record).await?;
        }
        Ok(Committed::Written(number("generation", generation)?))
    }

    /// Asks the conditions, in their order. Whoever lost is told that first.
    async fn refused(&self, connection: &mut SqliteConnection) -> Result<Option<Committed>, StoreError> {
        let Some(draft) = self.draft().filter(|_| !self.conditions.is_empty()) else { return Ok(None) };
        let (row, flavor) = (&draft.row, &draft.flavor);
        let part = self.conditions.iter().find_map(|condition| match condition {
            Condition::Fits(_, part) => Some(part.clone()),
            _ => None,
        });
        let part = part.unwrap_or_else(Part::everything);
        let standing = pages::standing(connection, &row.id, &row.project_id, &row.user_id, &part).await?;
        let asks_for_others = self.conditions.iter().any(|c| matches!(c, Condition::OnlyOneOfItsFeature));
        let others = if asks_for_others { pages::others_of_its_feature(connection, row).await? } else { 0 };
        let asks_for_pool = self.conditions.iter().any(|c| matches!(c, Condition::FewerInPoolThan(_)));
        let in_pool = if asks_for_pool { pages::others_in_its_pool(connection, row).await? } else { 0 };
        let asks_for_name = self.conditions.iter().any(|condition| matches!(condition, Condition::NameIsFree));
        let name_is_taken = asks_for_name && notebooks::others_of_name(connection, row).await? > 0;
        let refused = out_of_step(self.expected(), standing.generation).or_else(|| {
            self.conditions.iter().find_map(|condition| match condition {
                Condition::FewerNotebooksThan(quota) => {
                    (standing.owned >= i64::from(*quota)).then_some(Committed::QuotaExhausted)
                }
                Condition::FewerInPoolThan(quota) => {
                    (in_pool >= i64::from(*quota)).then_some(Committed::PoolQuotaExhausted)
                }
                Condition::NameIsFree => name_is_taken.then_some(Committed::NameTaken),
                Condition::Fits(capacity, _) => {
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
            Write::Course(course) => Some(course.generation),
            Write::Remove(_, generation) => Some(*generation),
        }
    }

    /// The answer to a conditional write that met no row it was for.
    async fn out_of_turn(&self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        let id = match &self.write {
            Write::Nothing => return Ok(Committed::Lost),
            Write::Course(course) => &course.id,
            Write::Insert(draft) | Write::Update(draft) => &draft.row.id,
            Write::Remove(id, _) => id,
        };
        let kept = notebooks::generation(connection, id).await?;
        Ok(out_of_step(self.expected(), kept).unwrap_or(Committed::Lost))
    }

    /// The notebook's generation from now on; `None` when the conditional write changed nothing. A course goes into the
    /// script, which fails instead.
    async fn write_notebook(
        &self,
        connection: &mut SqliteConnection,
        script: &mut Script,
    ) -> Result<Option<i64>, StoreError> {
        match &self.write {
            Write::Nothing => Ok(Some(0)),
            Write::Course(course) => course.write(script).map(|()| Some(course.generation + 1)),
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
pub(crate) fn out_of_step(expected: Option<i64>, kept: Option<i64>) -> Option<Committed> {
    match (expected, kept) {
        (Some(_), None) => Some(Committed::Missing),
        (expected, kept) if expected != kept => Some(Committed::Lost),
        _ => None,
    }
}
