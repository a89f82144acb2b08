//! One atomic change, as the job that the writer runs.
//!
//! Everything that can refuse comes first (do the conditions hold; is the row there, in the generation that was read), so
//! that a refused commit has written nothing. The generation is a part of the first write itself, which writes nothing
//! when it meets another. The writer's transaction makes asking and writing one moment.
//!
//! Every statement that is sent alone is a trip to the one thread that all writes share, so there are few: one that asks
//! all conditions, where there are any; the notebook; and all the rest in one [`Script`]. The steps of operations, most of
//! all writes, ask nothing and change only the course of the notebook: for those all of it is one script, whose first
//! statement ends it when the generation is another one, before anything is written.

use std::sync::Arc;

use atelier_core::audit::AuditRecord;
use atelier_core::flavor::Flavor;
use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::pool::Part;
use atelier_store::{Commit, Committed, Condition, NotebookWrite, StoreError};
use sqlx::SqliteConnection;

use crate::Sealer;
use crate::columns::{integer, number};
use crate::notebook_row::{self, NotebookRow};
use crate::script::{Script, ended_there};
use crate::{audit, events, notebooks, operations, pages, shared_volumes, trash};

/// A commit as the writer needs it. Sealing its secrets and binding its values is done by the many callers, not by the one
/// writer.
pub(crate) struct Prepared {
    write: Write,
    /// What is written after the notebook's row; of a course, the row too.
    script: Script,
    audit: Vec<AuditRecord>,
    conditions: Vec<Condition>,
}

enum Write {
    Nothing,
    /// Nothing but the course of the notebook with this id and generation.
    Course(Vec<u8>, i64),
    Insert(Box<Draft>),
    Update(Box<Draft>),
    Remove(Vec<u8>, i64),
    SetAside(Box<Draft>),
    Restore(Box<Draft>),
    Discard(Vec<u8>),
    Forget(Vec<u8>),
}

/// A row to be written, with the flavor that a condition may ask about.
struct Draft {
    row: NotebookRow,
    flavor: Flavor,
}

impl Draft {
    fn of(notebook: &Notebook, sealer: &Sealer) -> Result<Box<Self>, StoreError> {
        let row = NotebookRow::seal(notebook.clone(), sealer)?;
        Ok(Box::new(Self { row, flavor: notebook.flavor.clone() }))
    }
}

impl Prepared {
    /// `before` is the notebook as it is kept, with what is under way, where that is known. A course is only written
    /// over just that generation, and whoever writes an operation that is under way writes its notebook with it: so of the
    /// operations, too, only what differs is written then.
    ///
    /// The records and the conditions are taken out of the commit: only the writer asks for them.
    pub(crate) fn new(
        commit: &mut Commit,
        before: Option<(Arc<Notebook>, Vec<Operation>)>,
        sealer: &Sealer,
    ) -> Result<Self, StoreError> {
        let (audit, conditions) = (std::mem::take(&mut commit.audit), std::mem::take(&mut commit.conditions));
        let mut script = Script::default();
        let mut under_way = Vec::new();
        let write = match (&commit.notebook, before) {
            (None, _) => Write::Nothing,
            (Some(NotebookWrite::Update(after)), Some((before, known)))
                if conditions.is_empty() && before.differs_only_in_course(after) =>
            {
                under_way = known;
                let (id, generation) = (bytes(after.id), integer("generation", after.generation)?);
                notebook_row::write_course(&mut script, after, &id, generation)?;
                Write::Course(id, generation)
            }
            (Some(NotebookWrite::Insert(notebook)), _) => Write::Insert(Draft::of(notebook, sealer)?),
            (Some(NotebookWrite::Update(notebook)), _) => Write::Update(Draft::of(notebook, sealer)?),
            (Some(NotebookWrite::Remove(id, generation)), _) => {
                Write::Remove(bytes(*id), integer("generation", *generation)?)
            }
            (Some(NotebookWrite::SetAside(notebook)), _) => Write::SetAside(Draft::of(notebook, sealer)?),
            (Some(NotebookWrite::Restore(notebook)), _) => Write::Restore(Draft::of(notebook, sealer)?),
            (Some(NotebookWrite::Discard(id)), _) => Write::Discard(bytes(*id)),
            (Some(NotebookWrite::Forget(id)), _) => Write::Forget(bytes(*id)),
        };
        for operation in &commit.operations {
            match under_way.iter().find(|kept| kept.id == operation.id) {
                Some(kept) => operations::update(&mut script, kept, operation)?,
                None => operations::upsert(&mut script, operation)?,
            }
        }
        for event in &commit.events {
            events::insert(&mut script, event)?;
        }
        let prepared = Self { write, script, audit, conditions };
        prepared.can_be_asked()?;
        Ok(prepared)
    }

    /// Conditions are about one row, and about one part of the machine.
    fn can_be_asked(&self) -> Result<(), StoreError> {
        if !self.conditions.is_empty() && self.draft().is_none() {
            return Err(StoreError::Engine("a condition needs a notebook that is inserted or updated".into()));
        }
        if self.parts().count() > 1 {
            return Err(StoreError::Engine("a notebook fits into one part of the machine, not into several".into()));
        }
        Ok(())
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Fits(_, part) => Some(part),
            _ => None,
        })
    }

    fn draft(&self) -> Option<&Draft> {
        match &self.write {
            Write::Insert(draft) | Write::Update(draft) | Write::Restore(draft) => Some(draft),
            Write::Nothing
            | Write::Course(..)
            | Write::Remove(..)
            | Write::SetAside(_)
            | Write::Discard(_)
            | Write::Forget(_) => None,
        }
    }

    /// Asks, then writes.
    pub(crate) async fn run(mut self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        if let Some(refused) = self.refused(connection).await? {
            return Ok(refused);
        }
        let Some(generation) = self.write_notebook(connection).await? else {
            return self.out_of_turn(connection).await;
        };
        match std::mem::take(&mut self.script).run(connection).await {
            // The course found no row, so nothing was written, and this error leaves the transaction as it is.
            Err(error) if matches!(self.write, Write::Course(..)) && ended_there(&error) => {
                return self.out_of_turn(connection).await;
            }
            done => done?,
        }
        for record in &self.audit {
            audit::append(connection, record).await?;
        }
        Ok(Committed::Written(number("generation", generation)?))
    }

    /// Asks the conditions, in their order. Whoever lost is told that first.
    async fn refused(&self, connection: &mut SqliteConnection) -> Result<Option<Committed>, StoreError> {
        let Some(draft) = self.draft().filter(|_| !self.conditions.is_empty()) else { return Ok(None) };
        let (row, flavor) = (&draft.row, &draft.flavor);
        let part = self.parts().next().cloned().unwrap_or_else(Part::everything);
        let standing = pages::standing(connection, &row.id, &row.project_id, &row.user_id, &part).await?;
        if let Some(late) = out_of_step(self.expected(), standing.generation) {
            return Ok(Some(late));
        }
        for condition in &self.conditions {
            let (refused, answer) = match condition {
                Condition::FewerNotebooksThan(quota) => {
                    (standing.owned >= i64::from(*quota), Committed::QuotaExhausted)
                }
                Condition::FewerInPoolThan(quota) => {
                    let others = pages::others_alike(connection, row, "pool_id", row.pool_id.as_deref()).await?;
                    (others >= i64::from(*quota), Committed::PoolQuotaExhausted)
                }
                Condition::NameIsFree => {
                    (pages::others_alike(connection, row, "name", Some(&row.name)).await? > 0, Committed::NameTaken)
                }
                Condition::Fits(capacity, _) => (!capacity.fits(standing.held_besides, flavor), Committed::NoCapacity),
                Condition::HasGpus(there) => {
                    let held = pages::held_gpus(connection, Some(&row.id)).await?;
                    (!there.fit(&held, flavor.gpus.as_ref()), Committed::NoCapacity)
                }
                Condition::OnlyOneOfItsFeature => {
                    let others = pages::others_alike(connection, row, "feature", Some(&row.feature)).await?;
                    (others > 0, Committed::AlreadyOne)
                }
                Condition::OneShare(sharing) => {
                    (shared_volumes::is_another(connection, row, *sharing).await?, Committed::OtherShare)
                }
            };
            if refused {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The generation that the row must have; `None` when it must not be there.
    fn expected(&self) -> Option<i64> {
        match &self.write {
            Write::Nothing | Write::Insert(_) | Write::Restore(_) | Write::Discard(_) | Write::Forget(_) => None,
            Write::Update(draft) | Write::SetAside(draft) => Some(draft.row.generation),
            Write::Course(_, generation) | Write::Remove(_, generation) => Some(*generation),
        }
    }

    /// The answer to a conditional write that met no row it was for.
    async fn out_of_turn(&self, connection: &mut SqliteConnection) -> Result<Committed, StoreError> {
        let id = match &self.write {
            Write::Nothing => return Ok(Committed::Lost),
            // What is asked of the trash asks for no generation.
            Write::Restore(_) | Write::Discard(_) | Write::Forget(_) => return Ok(Committed::Missing),
            Write::Course(id, _) | Write::Remove(id, _) => id,
            Write::Insert(draft) | Write::Update(draft) | Write::SetAside(draft) => &draft.row.id,
        };
        let kept = notebooks::generation(connection, id).await?;
        Ok(out_of_step(self.expected(), kept).unwrap_or(Committed::Lost))
    }

    /// The notebook's generation from now on; `None` when the conditional write changed nothing. A course is in the
    /// script.
    async fn write_notebook(&self, connection: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
        match &self.write {
            Write::Nothing => Ok(Some(0)),
            Write::Course(_, generation) => Ok(Some(generation + 1)),
            Write::Insert(draft) => {
                Ok(notebooks::insert(connection, &draft.row).await?.then_some(draft.row.generation))
            }
            Write::Update(draft) => {
                Ok(notebooks::update(connection, &draft.row).await?.then_some(draft.row.generation + 1))
            }
            Write::Remove(id, generation) => Ok(notebooks::delete(connection, id, *generation).await?.then_some(0)),
            Write::SetAside(draft) => {
                let removed = notebooks::delete(connection, &draft.row.id, draft.row.generation).await?;
                if removed {
                    trash::insert(connection, &draft.row).await?;
                }
                Ok(removed.then_some(0))
            }
            Write::Restore(draft) => {
                if !trash::take(connection, &draft.row.id).await? {
                    return Ok(None);
                }
                if !notebooks::insert(connection, &draft.row).await? {
                    return Err(StoreError::Unreadable("a notebook that was in the trash is there as well".into()));
                }
                Ok(Some(draft.row.generation))
            }
            Write::Discard(id) => Ok(trash::discard(connection, id).await?.then_some(0)),
            Write::Forget(id) => Ok(trash::forget(connection, id).await?.then_some(0)),
        }
    }
}

fn bytes(id: NotebookId) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

/// Whether the row is not as the caller read it.
fn out_of_step(expected: Option<i64>, kept: Option<i64>) -> Option<Committed> {
    match (expected, kept) {
        (Some(_), None) => Some(Committed::Missing),
        (expected, kept) if expected != kept => Some(Committed::Lost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use atelier_core::observe::{Observer, StoreCall, Watcher};
    use atelier_core::status::Event;
    use atelier_store::NotebookStore as _;

    use super::*;
    use crate::SqliteStore;
    use crate::recent::tests::{Random, notebook};

    /// How commits were answered.
    #[derive(Default)]
    struct Answers(Mutex<Vec<bool>>);

    impl Observer for Answers {
        fn store(&self, call: StoreCall, _began: Instant, answered: bool) {
            if call == StoreCall::Commit {
                self.0.lock().unwrap().push(answered);
            }
        }
    }

    fn writing(write: NotebookWrite) -> Commit {
        Commit { notebook: Some(write), ..Commit::default() }
    }

    /// A course that was prepared for a generation that is kept no more, as happens when two threads prepare at once.
    #[tokio::test]
    async fn a_course_that_comes_too_late_is_answered_and_is_no_failure_of_the_store() {
        let folder = tempfile::TempDir::new().unwrap();
        let answers = Arc::new(Answers::default());
        let (path, sealer) = (folder.path().join("atelier.db"), Sealer::new(&[1; 32], Arc::new(Random)));
        let store = SqliteStore::open(&path, sealer).await.unwrap().by_rows().watched_by(Watcher::new(answers.clone()));
        let before = notebook(0);
        let mut after = before.clone();
        after.apply(Event::Begin, before.create_at).unwrap();
        let course = || {
            let mut update = writing(NotebookWrite::Update(Box::new(after.clone())));
            Prepared::new(&mut update, Some((Arc::new(before.clone()), Vec::new())), store.sealer()).unwrap()
        };
        let run =
            |prepared: Prepared| store.write(move |connection| Box::pin(async move { prepared.run(connection).await }));
        let insertion = writing(NotebookWrite::Insert(Box::new(before.clone())));
        assert_eq!(store.commit(insertion).await.unwrap(), Committed::Written(0));
        // Two in one group: the second meets what the first wrote, and leaves it alone.
        let (first, second) = tokio::join!(run(course()), run(course()));
        assert_eq!((first.unwrap(), second.unwrap()), (Committed::Written(1), Committed::Lost));
        assert_eq!(run(course()).await.unwrap(), Committed::Lost);
        let kept = store.notebook(before.id).await.unwrap().unwrap();
        assert_eq!((kept.generation, kept.status()), (1, after.status()));
        assert_eq!(store.commit(writing(NotebookWrite::Remove(before.id, 1))).await.unwrap(), Committed::Written(0));
        assert_eq!(run(course()).await.unwrap(), Committed::Missing);
        assert_eq!(*answers.0.lock().unwrap(), [true; 6]);
    }
}
