//! The store's contract: what is kept, and what every engine must promise.
//!
//! Three promises carry the rest of the system:
//!
//! 1. **One write.** Every change of a notebook goes through [`NotebookStore::commit`]: the notebook's row, the
//!    operations that act on it and the events that tell of it are written together or not at all.
//! 2. **By generation.** A notebook is overwritten only where its generation is the one that the writer read. Losing is
//!    an ordinary answer ([`Committed::Lost`]), told apart from [`Committed::Missing`].
//! 3. **On disk.** When `commit` answers, the change survives the death of the process and of the machine.
//!
//! Secrets (tokens of notebooks, secrets of access keys) are sealed inside an engine, at its wall: callers hand over and
//! receive plain [`secrecy::SecretString`]s, files and dumps hold only ciphertext.
//!
//! [`contract`] and [`contract_people`] (with key pairs) hold the tests that every engine has to pass.

pub mod audit;
pub mod contract;
pub mod contract_people;
pub mod key_pairs;
pub mod people;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use atelier_core::audit::AuditRecord;
use atelier_core::clock::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::feature::Feature;
use atelier_core::flavor::{Capacity, Held};
use atelier_core::gpu::{Gpus, HeldGpus};
use atelier_core::id::{EventId, ImageId, NotebookId, OperationId, ProjectId, UserId, VolumeId};
use atelier_core::notebook::Notebook;
use atelier_core::operation::{Operation, OperationKind, OperationState};
use atelier_core::pool::Part;
use atelier_core::status::Status;
use atelier_core::volume::Volume;
use secrecy::SecretString;

/// The store could not answer. What was asked may be tried again; nothing is decided from this.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed; the cause is for the log.
    #[error("the store failed: {0}")]
    Engine(String),
    /// There is no room on the disk for what was to be written, and nothing of it was. It works again as soon as there
    /// is room.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The disk refused to read or to write for another reason than a lack of room; nothing was changed.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// A row holds what cannot be: written by a newer version, or damaged.
    #[error("the store holds something unreadable: {0}")]
    Unreadable(String),
}

/// One atomic change.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What happens to the notebook's row; nothing when only operations or events are written.
    pub notebook: Option<NotebookWrite>,
    /// Operations to insert or overwrite, by id.
    pub operations: Vec<Operation>,
    /// Events to append.
    pub events: Vec<NotebookEvent>,
    /// Records to append to the audit.
    pub audit: Vec<AuditRecord>,
    /// What must hold inside the transaction, before the write.
    pub conditions: Vec<Condition>,
}

/// What happens to a notebook's row.
#[derive(Clone, Debug)]
pub enum NotebookWrite {
    /// A new row, kept with the generation that the notebook has.
    Insert(Box<Notebook>),
    /// Overwrites the row whose generation is the notebook's; it is kept with the next one.
    Update(Box<Notebook>),
    /// Removes the row with this generation. Its operations and events stay.
    Remove(NotebookId, u64),
    /// Removes the row with the notebook's generation, and keeps the notebook as it is here in the trash.
    SetAside(Box<Notebook>),
    /// Takes the notebook out of the trash and adds it as a row: [`Committed::Missing`] unless it rests there, or
    /// [`Committed::Lost`] where conditions find that the row is there already.
    Restore(Box<Notebook>),
    /// From now on the notebook in the trash leaves it, and cannot be restored any more.
    Discard(NotebookId),
    /// The notebook that leaves the trash is gone from it.
    Forget(NotebookId),
}

impl NotebookWrite {
    /// The notebook whose row it is.
    pub fn id(&self) -> NotebookId {
        match self {
            Self::Insert(notebook) | Self::Update(notebook) | Self::SetAside(notebook) | Self::Restore(notebook) => {
                notebook.id
            }
            Self::Remove(id, _) | Self::Discard(id) | Self::Forget(id) => *id,
        }
    }
}

/// What must hold inside the transaction.
#[derive(Clone, Debug)]
pub enum Condition {
    /// The owner of the notebook in the write has fewer notebooks than this in its project.
    FewerNotebooksThan(u32),
    /// The owner of the notebook in the write has no other one of its name in its project.
    NameIsFree,
    /// The owner of the notebook in the write has fewer notebooks than this in its pool, in its project.
    FewerInPoolThan(u32),
    /// The flavor of the notebook in the write fits beside what all *other* notebooks of this part hold. Once at most in a
    /// commit: more are an error.
    Fits(Capacity, Part),
    /// The GPUs of the flavor of the notebook in the write are free among these, beside what all *other* notebooks hold.
    HasGpus(Gpus),
    /// The owner of the notebook in the write has no other of its feature in its project.
    OnlyOneOfItsFeature,
    /// Of the notebooks that its owner has in its workspace, those with a shared volume have the one of the notebook in the
    /// write, and it comes to that as is said.
    OneShare(Sharing),
}

/// How a notebook comes to a shared volume. What is left of one in the trash, or is being removed, is not used anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody has or had it.
    Brings,
    /// Others have it.
    Joins,
    /// It is the one that the notebook had before it was in the trash.
    Returns,
}

/// What became of a commit. Only `Written` changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Written, and on disk. Holds the notebook's generation from now on (0 when no notebook was written or it was
    /// removed).
    Written(u64),
    /// The notebook was changed by somebody else since it was read.
    Lost,
    /// The notebook does not exist (any more).
    Missing,
    /// The owner's quota is used up.
    QuotaExhausted,
    /// The owner's quota in the pool is used up.
    PoolQuotaExhausted,
    /// The owner has another notebook of this name.
    NameTaken,
    /// The flavor does not fit.
    NoCapacity,
    /// The owner has one of the feature already.
    AlreadyOne,
    /// The owner's notebooks in the workspace share another volume.
    OtherShare,
}

/// Which notebooks to list, and in which order.
#[derive(Clone, Debug)]
pub struct NotebookQuery {
    /// In this project.
    pub project_id: ProjectId,
    /// Of this user.
    pub user_id: Option<UserId>,
    /// With what this asks for.
    pub filter: NotebookFilter,
    /// Sorted by this; ties by `then_by`, and then by id, all in the same direction.
    pub sort_key: SortKey,
    /// What ties are sorted by, one after the other.
    pub then_by: Vec<SortKey>,
    /// Largest first.
    pub descending: bool,
    /// Records to skip.
    pub offset: u32,
    /// Records to return at most.
    pub limit: u32,
}

impl NotebookQuery {
    /// Every notebook of a project, by creation: what other queries are made from.
    pub const fn all_of(project_id: ProjectId) -> Self {
        Self {
            project_id,
            user_id: None,
            filter: NotebookFilter::NONE,
            sort_key: SortKey::CreateAt,
            then_by: Vec::new(),
            descending: false,
            offset: 0,
            limit: u32::MAX,
        }
    }
}

/// What a list of notebooks asks of each of them. Conditions join with *and*; what is absent asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotebookFilter {
    /// With these texts in these of their texts. No character has a meaning, letter case counts.
    pub contains: Vec<(Searched, String)>,
    /// This one.
    pub id: Option<NotebookId>,
    /// In this status.
    pub status: Option<Status>,
    /// In this workspace.
    pub workspace_id: Option<String>,
    /// Of this feature.
    pub feature: Option<Feature>,
    /// Made from this image.
    pub image_id: Option<ImageId>,
    /// In the pool with this id.
    pub pool_id: Option<String>,
    /// With all of these tags, each a key and its whole value.
    pub tags: Vec<(String, String)>,
}

impl NotebookFilter {
    /// Asks nothing.
    pub const NONE: Self = Self {
        contains: Vec::new(),
        id: None,
        status: None,
        workspace_id: None,
        feature: None,
        image_id: None,
        pool_id: None,
        tags: Vec::new(),
    };
}

/// A text of a notebook that can be searched for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// Its name.
    Name,
    /// Its description.
    Description,
    /// The id of its flavor.
    Flavor,
    /// Where its image lies in the registry.
    SwrPath,
    /// The name of the user it belongs to.
    UserName,
    /// The name of the pool it is in; no text is a part of the name of none.
    PoolName,
}

impl Searched {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Name, Self::Description, Self::Flavor, Self::SwrPath, Self::UserName, Self::PoolName];
}

/// What a list of notebooks can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The time of creation.
    CreateAt,
    /// The time of the last change of status.
    UpdateAt,
    /// The name.
    Name,
    /// The name of the status.
    Status,
    /// The id of the flavor.
    Flavor,
}

impl SortKey {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::CreateAt, Self::UpdateAt, Self::Name, Self::Status, Self::Flavor];
}

/// Which operations to list. Conditions join with *and*.
#[derive(Clone, Debug, Default)]
pub struct OperationQuery {
    /// On this notebook.
    pub notebook_id: Option<NotebookId>,
    /// On the notebooks that this user has in this project.
    pub of: Option<(ProjectId, UserId)>,
    /// In this state.
    pub state: Option<OperationState>,
    /// Of this kind.
    pub kind: Option<OperationKind>,
    /// Older than this one.
    pub before: Option<OperationId>,
    /// Operations to return at most.
    pub limit: u32,
}

/// One page of notebooks.
#[derive(Clone, Debug)]
pub struct NotebookPage {
    /// The page.
    pub items: Vec<Notebook>,
    /// How many there are on all pages.
    pub total: u64,
}

/// A deleted notebook whose volume rests in the trash.
#[derive(Clone, Debug)]
pub struct Trashed {
    /// The notebook, as it was when it was deleted.
    pub notebook: Notebook,
    /// Since when it rests there.
    pub since: Timestamp,
    /// Its volume is being removed.
    pub leaves: bool,
}

/// Which notebooks in the trash to list. Conditions join with *and*.
#[derive(Clone, Debug, Default)]
pub struct TrashQuery {
    /// This one.
    pub id: Option<NotebookId>,
    /// Those that this user had in this project.
    pub of: Option<(ProjectId, UserId)>,
    /// Those that leave it, and those that rest there since this moment or longer.
    pub due: Option<Timestamp>,
    /// Records to return at most.
    pub limit: u32,
}

/// A volume that notebooks share. It is there as long as any of them is, be it in the trash; then it has to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedVolume {
    /// The volume.
    pub id: VolumeId,
    /// How many notebooks have it.
    pub in_use: u64,
    /// How many notebooks in the trash had it.
    pub in_trash: u64,
    /// The notebook that has let go of it last, and its project; `None` where none has, or it was not written down.
    pub last: Option<(NotebookId, ProjectId)>,
}

impl SharedVolume {
    /// Whether nobody will ever need it again.
    pub const fn is_left(&self) -> bool {
        self.in_use == 0 && self.in_trash == 0
    }
}

/// What the store's file lies on, as far as there is room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The folder of the file, for people.
    pub path: String,
    /// Bytes that may still be written there.
    pub free_bytes: u64,
}

/// How a notebook stands when a server starts.
#[derive(Debug)]
pub enum Standing {
    /// Nothing of it is under way and nothing runs: what visitors are told.
    Resting(Resting),
    /// Everything else.
    Whole(Box<Notebook>),
}

/// The secrets of a notebook, as they are kept.
pub trait OpenSecrets: Send + Sync + std::fmt::Debug {
    /// What a visitor must show, and what the notebook server must be shown.
    fn open(&self) -> Result<(SecretString, SecretString), StoreError>;
}

/// A notebook that rests: stable, without compute, and nothing waits to be done with it.
#[derive(Debug)]
pub struct Resting {
    /// The notebook.
    pub id: NotebookId,
    /// The project it is in.
    pub project_id: ProjectId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// Why it failed, when it did.
    pub fail_reason: Option<String>,
    /// Opens its secrets, which hardly anybody asks for.
    pub secrets: Box<dyn OpenSecrets>,
}

/// What is kept about notebooks.
#[async_trait]
pub trait NotebookStore: Send + Sync {
    /// Writes one atomic change; durable when it answers.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// One notebook.
    async fn notebook(&self, id: NotebookId) -> Result<Option<Notebook>, StoreError>;

    /// A page of notebooks, and how many there are in all, from one moment.
    async fn notebooks(&self, query: &NotebookQuery) -> Result<NotebookPage, StoreError>;

    /// Every notebook there is, by id. For the start of a server.
    async fn notebook_ids(&self) -> Result<Vec<(NotebookId, Status)>, StoreError>;

    /// Shows every notebook to `visit`, whole and by id. One pass over what is kept, and none of it is
    /// held for longer than `visit` does. What is committed meanwhile may be shown as it was before or after.
    async fn every_notebook(&self, visit: &mut (dyn FnMut(Notebook) + Send)) -> Result<(), StoreError> {
        for (id, _) in self.notebook_ids().await? {
            if let Some(notebook) = self.notebook(id).await? {
                visit(notebook);
            }
        }
        Ok(())
    }

    /// Shows how every notebook stands to `visit`, in no order. For the start of a server: the same pass, with less of
    /// those that rest, which are nearly all of very many. What is committed meanwhile may be shown as it was before or after.
    async fn every_standing(&self, visit: &mut (dyn FnMut(Standing) + Send)) -> Result<(), StoreError>;

    /// The ends of the leases of all RUNNING notebooks that have one. For the lease clock at the start of a server.
    async fn lease_ends(&self) -> Result<Vec<(NotebookId, Timestamp)>, StoreError>;

    /// The tags on the notebooks of a project: each key with all of its values. With `workspace_id`: only on those in it.
    async fn tag_values(
        &self,
        project_id: &ProjectId,
        workspace_id: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError>;

    /// What the notebooks of a part together hold ([`Status::holds_compute`]).
    async fn held(&self, part: &Part) -> Result<Held, StoreError>;

    /// The GPUs that all notebooks together hold.
    async fn held_gpus(&self) -> Result<HeldGpus, StoreError>;

    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError>;

    /// The operations of one notebook, oldest first.
    async fn operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError>;

    /// Those of them that have not ended. Asked at every step of an operation, and so meant to be cheap.
    async fn unfinished_operations_of(&self, id: NotebookId) -> Result<Vec<Operation>, StoreError>;

    /// The operations that a query asks for, newest first.
    async fn operations(&self, query: &OperationQuery) -> Result<Vec<Operation>, StoreError>;

    /// The operations that have not ended, oldest first.
    async fn unfinished_operations(&self) -> Result<Vec<Operation>, StoreError>;

    /// The events of one notebook, oldest first, after the given one, at most `limit`.
    async fn events(
        &self,
        id: NotebookId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError>;

    /// The events of a project, oldest first, after the given one, at most `limit`. With `owner`: only those of
    /// notebooks that are, or were, this user's.
    async fn project_events(
        &self,
        project_id: &ProjectId,
        owner: Option<&UserId>,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<NotebookEvent>, StoreError>;

    /// Removes what is only history: the events that happened before `moment`, and the operations that ended before it,
    /// of notebooks that are there no longer, not in the trash either. Returns how many. Other writes are not kept waiting: it goes in small
    /// steps, oldest first.
    async fn prune(&self, moment: Timestamp) -> Result<u64, StoreError>;

    /// What the trash holds of this, what rests there longest first.
    async fn trash(&self, query: &TrashQuery) -> Result<Vec<Trashed>, StoreError>;

    /// After the wall clock was set: everything in the trash rests there since `ms` later, and since `latest` at the
    /// latest.
    async fn shift_trash(&self, ms: i64, latest: Timestamp) -> Result<(), StoreError>;

    /// Every volume that notebooks share, by id, also those that are left. Which they are changes with each commit, in its
    /// transaction.
    async fn shared_volumes(&self) -> Result<Vec<SharedVolume>, StoreError>;

    /// The volume that this user's notebooks in this workspace of the project share, if any of them does.
    async fn share_of(
        &self,
        project_id: &ProjectId,
        user_id: &UserId,
        workspace_id: &str,
    ) -> Result<Option<Volume>, StoreError>;

    /// One that is left is known no more afterwards, and the event is written with that. One that is not stays, and
    /// nothing is written.
    async fn forget_shared_volume(&self, id: VolumeId, event: Option<NotebookEvent>) -> Result<(), StoreError>;

    /// How much room there is for further writes; `None` where that cannot be said.
    async fn room(&self) -> Result<Option<Room>, StoreError> {
        Ok(None)
    }

    /// What was last remembered under this name.
    async fn remembered(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Keeps a short text under a name, in place of what was there: what the server itself must know after its next
    /// start, such as the boot of the machine.
    async fn remember(&self, name: &str, text: &str) -> Result<(), StoreError>;

    /// Answers when the store can read and write.
    async fn check(&self) -> Result<(), StoreError>;
}
