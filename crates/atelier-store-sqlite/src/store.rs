//! The store's contract, put together from the statements.

use async_trait::async_trait;
use atelier_core::clock::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::Held;
use atelier_core::id::{EventId, NotebookId, OperationId, ProjectId, UserId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;
use atelier_core::status::Status;
use atelier_store::{Commit, Committed, NotebookPage, NotebookQuery, NotebookStore, NotebookWrite, StoreError};

use crate::columns::{named, number, uuid};
use crate::commit::Prepared;
use crate::operations::Which;
use crate::recent::Found;
use crate::{SqliteStore, events, failed, notebooks, operations, pages};

#[async_trait]
impl NotebookStore for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let id = commit.notebook.as_ref().map(written_id);
        let prepared = Prepared::new(commit, self.sealer())?;
        let change = id.map(|id| self.recent.change(id));
        let work = self.write(move |connection| {
            // The change goes along with the answer, and so ends after the transaction, not here.
            Box::pin(async move { Ok((prepared.run(connection).await?, change)) })
        });
        work.await.map(|(committed, _change)| committed)
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

    async fn lease_ends(&self) -> Result<Vec<(NotebookId, Timestamp)>, StoreError> {
        let rows = notebooks::lease_ends(&mut *self.reader().await).await?;
        rows.into_iter().map(|(id, end)| Ok((notebook_id(&id)?, Timestamp::from_millis(end)))).collect()
    }

    async fn held(&self) -> Result<Held, StoreError> {
        pages::held(&mut *self.reader().await, None).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Ok(operations::select(&mut *self.reader().await, Which::One(id)).await?.pop())
    }

    async fn operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError> {
        operations::select(&mut *self.reader().await, Which::Of(id)).await
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

    /// Reads, and writes one row to disk: a full or read-only disk is found here and not by the next user.
    async fn check(&self) -> Result<(), StoreError> {
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

fn notebook_id(bytes: &[u8]) -> Result<NotebookId, StoreError> {
    uuid("id", bytes).map(NotebookId::from_uuid)
}

fn written_id(write: &NotebookWrite) -> NotebookId {
    match write {
        NotebookWrite::Insert(notebook) | NotebookWrite::Update(notebook) => notebook.id,
        NotebookWrite::Remove(id, _) => *id,
    }
}
