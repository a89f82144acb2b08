//! The store's contract, put together from the statements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::clock::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Held;
use atelier_core::gpu::HeldGpus;
use atelier_core::id::{EventId, NotebookId, OperationId, ProjectId, UserId, VolumeId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::pool::Part;
use atelier_core::status::Status;
use atelier_core::volume::Volume;
use atelier_store::{
    Commit, Committed, NotebookPage, NotebookQuery, NotebookStore, NotebookWrite, OperationQuery, Room, SharedVolume,
    Standing, StoreError, TrashQuery, Trashed,
};

use crate::columns::{named, number, uuid};
use crate::commit::Prepared;
use crate::listing::{Line, Listed, Owner};
use crate::operations::Which;
use crate::recent::Found;
use crate::script::Script;
use crate::{
    SqliteStore, events, failed, history, notebooks, operations, pages, remembered, shared_volumes, standings, trash,
};

/// How often a list is made anew because a row has left its place between the listing and its reading.
pub(crate) const LIST_TRIES: u32 = 3;
/// Lists that walk over more lines than this go to a thread for blocking work.
const LONG_WALK: usize = 4096;
/// Rows that are read at a time when all are read.
const STRIDE: u32 = 512;

#[async_trait]
impl NotebookStore for SqliteStore {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let id = commit.notebook.as_ref().map(NotebookWrite::id);
        let before = id.and_then(|id| self.recent.both(id));
        let prepared = Prepared::new(&mut commit, before, self.sealer())?;
        let Commit { notebook, operations, .. } = commit;
        let ids: BTreeSet<_> = id.into_iter().chain(operations.iter().map(|operation| operation.notebook_id)).collect();
        let changes: Vec<_> = ids.into_iter().map(|id| self.recent.change(id)).collect();
        let listed = notebook.as_ref().map(line_of);
        let kept = match notebook {
            Some(
                NotebookWrite::Insert(notebook) | NotebookWrite::Update(notebook) | NotebookWrite::Restore(notebook),
            ) => Some(notebook),
            Some(
                NotebookWrite::Remove(..)
                | NotebookWrite::SetAside(_)
                | NotebookWrite::Discard(_)
                | NotebookWrite::Forget(_),
            )
            | None => None,
        };
        let listing = self.listing.clone();
        let work = self.write_then(
            // The changes go along with the answer, and so end after the transaction, not here.
            move |connection| Box::pin(async move { Ok((prepared.run(connection).await?, changes)) }),
            move |(committed, changes)| {
                let Committed::Written(generation) = committed else {
                    for change in changes {
                        change.nothing_more();
                    }
                    return;
                };
                match listed {
                    Some(Written::Line(owner, line)) => {
                        listing.put(owner, Line { generation: *generation, ..*line });
                    }
                    Some(Written::Gone(id)) => listing.remove(id),
                    None => {}
                }
                let kept = kept.map(|mut notebook| {
                    notebook.generation = *generation;
                    Arc::<Notebook>::from(notebook)
                });
                for change in changes {
                    change.written(kept.as_ref(), &operations);
                }
            },
        );
        work.await.map(|(committed, _changes)| committed)
    }

    async fn notebook(&self, id: NotebookId) -> Result<Option<Notebook>, StoreError> {
        let ticket = match self.recent.find(id) {
            Found::Here(notebook) => return Ok(Some(Notebook::clone(&notebook))),
            Found::Ask(ticket) => ticket,
        };
        let Some(row) = notebooks::select(&mut *self.reader().await, id).await? else { return Ok(None) };
        let notebook = row.unseal(self.sealer())?;
        self.recent.keep(&ticket, &notebook);
        Ok(Some(notebook))
    }

    async fn notebooks(&self, query: &NotebookQuery) -> Result<NotebookPage, StoreError> {
        for _ in 0..self.list_tries {
            let listed = self.listed(query).await;
            if let Some(items) = self.still_standing(&listed.lines, query).await? {
                return Ok(NotebookPage { items, total: listed.total });
            }
        }
        let (rows, total) = pages::page(&mut *self.reader().await, query).await?;
        let items = rows.into_iter().map(|row| row.unseal(self.sealer())).collect::<Result<_, _>>()?;
        Ok(NotebookPage { items, total: number("total", total)? })
    }

    async fn notebook_ids(&self) -> Result<Vec<(NotebookId, Status)>, StoreError> {
        let rows = notebooks::statuses(&mut *self.reader().await).await?;
        let read = |(id, status): (Vec<u8>, String)| {
            Ok((notebook_id(&id)?, named("status", &Status::ALL, Status::as_str, &status)?))
        };
        rows.into_iter().map(read).collect()
    }

    async fn every_notebook(&self, visit: &mut (dyn FnMut(Notebook) + Send)) -> Result<(), StoreError> {
        let mut last = Vec::new();
        loop {
            let rows = pages::after(&mut *self.reader().await, &last, STRIDE).await?;
            let Some(row) = rows.last() else { return Ok(()) };
            last.clone_from(&row.id);
            for row in rows {
                visit(row.unseal(self.sealer())?);
            }
        }
    }

    async fn every_standing(&self, visit: &mut (dyn FnMut(Standing) + Send)) -> Result<(), StoreError> {
        let moving = standings::every(&mut *self.reader().await, self.sealer(), &mut |resting| {
            visit(Standing::Resting(resting));
        })
        .await?;
        for ids in moving.chunks(STRIDE as usize) {
            for row in pages::with_ids(&mut *self.reader().await, ids).await? {
                visit(Standing::Whole(Box::new(row.unseal(self.sealer())?)));
            }
        }
        Ok(())
    }

    async fn lease_ends(&self) -> Result<Vec<(NotebookId, Timestamp)>, StoreError> {
        let rows = notebooks::lease_ends(&mut *self.reader().await).await?;
        rows.into_iter().map(|(id, end)| Ok((notebook_id(&id)?, Timestamp::from_millis(end)))).collect()
    }

    async fn tag_values(
        &self,
        project_id: &ProjectId,
        workspace_id: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        Ok(self.listing.tag_values(project_id.as_str(), workspace_id))
    }

    async fn held(&self, part: &Part) -> Result<Held, StoreError> {
        pages::held(&mut *self.reader().await, part).await
    }

    async fn held_gpus(&self) -> Result<HeldGpus, StoreError> {
        pages::held_gpus(&mut *self.reader().await, None).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Ok(operations::select(&mut *self.reader().await, Which::One(id)).await?.pop())
    }

    async fn operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError> {
        operations::select(&mut *self.reader().await, Which::Of(id)).await
    }

    async fn operations(&self, query: &OperationQuery) -> Result<Vec<Operation>, StoreError> {
        operations::page(&mut *self.reader().await, query).await
    }

    async fn unfinished_operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError> {
        if let Some(known) = self.recent.unfinished_of(id) {
            return Ok(known);
        }
        operations::select(&mut *self.reader().await, Which::UnfinishedOf(id)).await
    }

    async fn unfinished_operations(&self) -> Result<Vec<Operation>, StoreError> {
        operations::select(&mut *self.reader().await, Which::Unfinished).await
    }

    async fn events(
        &self,
        id: NotebookId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError> {
        events::select(&mut *self.reader().await, id, after, limit).await
    }

    async fn project_events(
        &self,
        project_id: &ProjectId,
        owner: Option<&UserId>,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError> {
        events::select_of_project(&mut *self.reader().await, project_id, owner, after, limit).await
    }

    async fn prune(&self, moment: Timestamp) -> Result<u64, StoreError> {
        history::prune(self, moment).await
    }

    async fn trash(&self, query: &TrashQuery) -> Result<Vec<Trashed>, StoreError> {
        trash::select(&mut *self.reader().await, query, self.sealer()).await
    }

    async fn shift_trash(&self, ms: i64, latest: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| Box::pin(async move { trash::shift(connection, ms, latest.as_millis()).await }))
            .await
    }

    async fn shared_volumes(&self) -> Result<Vec<SharedVolume>, StoreError> {
        shared_volumes::all(&mut *self.reader().await).await
    }

    async fn share_of(
        &self,
        project_id: &ProjectId,
        user_id: &UserId,
        workspace_id: &str,
    ) -> Result<Option<Volume>, StoreError> {
        let (project_id, user_id) = (project_id.as_str(), user_id.as_str());
        shared_volumes::of(&mut *self.reader().await, project_id, user_id, workspace_id).await
    }

    async fn forget_shared_volume(&self, id: VolumeId, event: Option<NotebookEvent>) -> Result<(), StoreError> {
        let mut told = Script::default();
        if let Some(event) = &event {
            events::insert(&mut told, event)?;
        }
        self.write(move |connection| Box::pin(async move { shared_volumes::forget(connection, id, told).await })).await
    }

    async fn room(&self) -> Result<Option<Room>, StoreError> {
        self.room.measure().map(Some)
    }

    async fn remembered(&self, name: &str) -> Result<Option<String>, StoreError> {
        remembered::select(&mut *self.reader().await, name).await
    }

    async fn remember(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.write(move |connection| Box::pin(async move { remembered::upsert(connection, &name, &text).await })).await
    }

    /// Reads, and writes one row to disk: a full or read-only disk is found here and not by the next user. So is damage
    /// that was found after the start.
    async fn check(&self) -> Result<(), StoreError> {
        self.inspection.verdict()?;
        sqlx::query_scalar!("select count(*) from meta").fetch_one(&mut *self.reader().await).await.map_err(failed)?;
        self.write(|connection| {
            Box::pin(async move {
                sqlx::query!(
                    "insert into meta (name, value) values ('check', zeroblob(1))
                        on conflict (name) do update set value = excluded.value"
                )
                .execute(connection)
                .await
                .map_err(failed)?;
                Ok(())
            })
        })
        .await
    }
}

impl SqliteStore {
    async fn listed(&self, query: &NotebookQuery) -> Listed {
        if self.listing.weight(query) <= LONG_WALK {
            return self.listing.page(query);
        }
        let (listing, wanted) = (self.listing.clone(), query.clone());
        let walked = tokio::task::spawn_blocking(move || listing.page(&wanted)).await;
        // Only a runtime that is being shut down does not run it.
        walked.unwrap_or_else(|_| self.listing.page(query))
    }

    /// The notebooks of these lines; `None` when one of them has left its place in the answer to `query` since.
    async fn still_standing(&self, lines: &[Line], query: &NotebookQuery) -> Result<Option<Vec<Notebook>>, StoreError> {
        let mut here: Vec<_> = lines
            .iter()
            .map(|line| match self.recent.find(line.id) {
                Found::Here(notebook) => Some(Notebook::clone(&notebook)),
                Found::Ask(_) => None,
            })
            .collect();
        let missing: Vec<_> = lines.iter().zip(&here).filter(|(_, here)| here.is_none()).map(|(l, _)| l.id).collect();
        let mut read = std::collections::HashMap::new();
        if !missing.is_empty() {
            for row in pages::with_ids(&mut *self.reader().await, &missing).await? {
                let notebook = row.unseal(self.sealer())?;
                read.insert(notebook.id, notebook);
            }
        }
        for (line, here) in lines.iter().zip(&mut here) {
            if here.is_none() {
                *here = read.remove(&line.id);
            }
            let stands = here.as_ref().is_some_and(|notebook| {
                let (owner, now) = Line::of(notebook);
                line.still_stands(&now, query) && owner.is_asked_for_by(query)
            });
            if !stands {
                return Ok(None);
            }
        }
        Ok(Some(here.into_iter().flatten().collect()))
    }
}

/// What lists are told of a write.
enum Written {
    Line(Owner, Box<Line>),
    Gone(NotebookId),
}

fn line_of(write: &NotebookWrite) -> Written {
    match write {
        NotebookWrite::Insert(notebook) | NotebookWrite::Update(notebook) | NotebookWrite::Restore(notebook) => {
            let (owner, line) = Line::of(notebook);
            Written::Line(owner, Box::new(line))
        }
        NotebookWrite::SetAside(notebook) => Written::Gone(notebook.id),
        NotebookWrite::Remove(id, _) | NotebookWrite::Discard(id) | NotebookWrite::Forget(id) => Written::Gone(*id),
    }
}

fn notebook_id(bytes: &[u8]) -> Result<NotebookId, StoreError> {
    uuid("id", bytes).map(NotebookId::from_uuid)
}
