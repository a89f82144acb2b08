//! Things to be stored.

use std::sync::atomic::{AtomicU64, Ordering};

use atelier_core::caller::{Actor, Origin};
use atelier_core::clock::{Entropy, Timestamp};
use atelier_core::event::NotebookEvent;
use atelier_core::feature::Feature;
use atelier_core::flavor::Flavor;
use atelier_core::hook::Hooks;
use atelier_core::id::{DomainId, EventId, ImageId, NotebookId, OperationId, ProjectId, UserId, VolumeId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, Lease, LeaseKind};
use atelier_core::notebook::{LegacyWords, NewNotebook, Notebook, Owner};
use atelier_core::operation::{Operation, OperationKind};
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_core::volume::Volume;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Commit, Committed, NotebookStore, NotebookWrite};

/// The moment when everything here is made.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Bytes that never repeat within a process, and need not be unguessable.
pub(super) struct Distinct;

impl Entropy for Distinct {
    fn fill(&self, out: &mut [u8]) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        for chunk in out.chunks_mut(8) {
            let mut mixed = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let bytes = (mixed ^ (mixed >> 27)).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Somebody in some project.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) project_id: ProjectId,
    pub(super) owner: Owner,
}

impl Person {
    pub(super) fn new() -> Self {
        let owner = Owner {
            user_id: UserId::generate(&Distinct),
            user_name: "zoë".into(),
            domain_id: DomainId::generate(&Distinct),
            domain_name: "account".into(),
        };
        Self { project_id: ProjectId::generate(&Distinct), owner }
    }

    /// The same person in another project.
    pub(super) fn elsewhere(&self) -> Self {
        Self { project_id: ProjectId::generate(&Distinct), owner: self.owner.clone() }
    }

    /// A notebook of 500 thousandths of a CPU and 512 MiB, in the status INIT, with a lease of one hour.
    pub(super) fn notebook(&self, name: &str) -> Notebook {
        Notebook::from(NewNotebook {
            id: NotebookId::generate(NOW, &Distinct),
            project_id: self.project_id.clone(),
            owner: self.owner.clone(),
            name: name.into(),
            description: String::new(),
            feature: Feature::Notebook,
            tags: Tags::none(),
            flavor: small(),
            image: image(),
            volume: Volume::new(VolumeId::generate(NOW, &Distinct), 5),
            workspace_id: "0".into(),
            lease: Lease::written(NOW, NOW, Grant::Millis(3_600_000), LeaseKind::Timing),
            pool: None,
            legacy: LegacyWords::default(),
            hooks: Hooks::default(),
            token: SecretString::from("token"),
            upstream_secret: SecretString::from("upstream"),
            progress: Vec::new(),
            create_at: NOW,
        })
    }

    /// The same, in a status.
    pub(super) fn notebook_in(&self, name: &str, status: Status) -> Notebook {
        self.notebook(name).with_stored_status(status)
    }

    /// The same, in a pool or in none.
    pub(super) fn notebook_of(&self, name: &str, status: Status, pool_id: Option<&str>) -> Notebook {
        let mut notebook = self.notebook_in(name, status);
        notebook.pool = pool_id.map(in_pool);
        notebook
    }
}

/// The pool that is called by this id.
pub(super) fn in_pool(id: &str) -> InPool {
    InPool { id: id.into(), name: format!("the pool {id}") }
}

fn small() -> Flavor {
    let description = "half a vCPU".into();
    Flavor { id: "small".into(), description, cpu_millis: 500, memory_mib: 512, free: false, gpus: None }
}

fn image() -> Image {
    Image {
        id: ImageId::generate(NOW, &Distinct),
        name: "jupyter".into(),
        tag: "1".into(),
        namespace: "atelier".into(),
        description: "an image".into(),
        swr_path: "local/atelier/jupyter:1".into(),
        size_bytes: None,
    }
}

/// An operation on a notebook, by the system.
pub(super) fn operation(notebook: &Notebook, kind: OperationKind) -> Operation {
    let id = OperationId::generate(NOW, &Distinct);
    Operation::new(id, notebook.id, kind, Origin::system(), "because", NOW)
}

/// An event of a notebook, caused by its owner.
pub(super) fn event(notebook: &Notebook, what: &str) -> NotebookEvent {
    let actor = Actor::User(notebook.owner.user_id.clone(), notebook.owner.user_name.clone());
    NotebookEvent {
        id: EventId::generate(NOW, &Distinct),
        notebook_id: notebook.id,
        project_id: notebook.project_id.clone(),
        at: NOW,
        what: what.into(),
        origin: Origin { actor, request_id: Some("request-1".into()) },
        why: "somebody asked".into(),
    }
}

/// A commit that inserts a notebook, and nothing else.
pub(super) fn insertion(notebook: &Notebook) -> Commit {
    Commit { notebook: Some(NotebookWrite::Insert(Box::new(notebook.clone()))), ..Commit::default() }
}

/// A commit that updates a notebook, and nothing else.
pub(super) fn update(notebook: &Notebook) -> Commit {
    Commit { notebook: Some(NotebookWrite::Update(Box::new(notebook.clone()))), ..Commit::default() }
}

/// A commit that removes a notebook, and nothing else.
pub(super) fn removal(notebook: &Notebook) -> Commit {
    Commit { notebook: Some(NotebookWrite::Remove(notebook.id, notebook.generation)), ..Commit::default() }
}

/// Inserts notebooks.
pub(super) async fn insert<'n>(store: &impl NotebookStore, notebooks: impl IntoIterator<Item = &'n Notebook>) {
    for notebook in notebooks {
        let committed = store.commit(insertion(notebook)).await.unwrap();
        assert_eq!(committed, Committed::Written(notebook.generation));
    }
}

/// What is kept is this notebook, with every field and both secrets.
pub(super) async fn assert_kept(store: &impl NotebookStore, expected: &Notebook) {
    let kept = store.notebook(expected.id).await.unwrap().unwrap();
    assert_same(&kept, expected);
}

/// Both are the same notebook, with every field and both secrets.
pub(super) fn assert_same(one: &Notebook, other: &Notebook) {
    // A notebook cannot be compared, because its secrets cannot; everything else shows in its debug form.
    assert_eq!(format!("{one:#?}"), format!("{other:#?}"));
    assert_eq!(one.token.expose_secret(), other.token.expose_secret());
    assert_eq!(one.upstream_secret.expose_secret(), other.upstream_secret.expose_secret());
}
