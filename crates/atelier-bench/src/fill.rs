//! A data folder with very many notebooks, written by the store itself: as the API would leave it, in a thousandth of
//! the time.
//!
//! One notebook in a hundred runs, as far as the simulated runtime can tell; the others rest in the statuses that
//! notebooks rest in. Each has the operation and the events of its creation. `owners` share them: the administrator is
//! the first of them, the others are ids without a person.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use atelier_core::caller::Origin;
use atelier_core::event::NotebookEvent;
use atelier_core::feature::Feature;
use atelier_core::flavor::Flavor;
use atelier_core::hook::Hooks;
use atelier_core::id::{EventId, NotebookId, OperationId, UserId, VolumeId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, Lease, LeaseKind};
use atelier_core::notebook::{LegacyWords, NewNotebook, Notebook, Owner};
use atelier_core::operation::{Operation, OperationKind, OperationState, StepState};
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_core::volume::Volume;
use atelier_core::{Clock as _, Entropy, SystemClock, Timestamp};
use atelier_store::{Commit, Committed, NotebookStore as _, NotebookWrite};
use atelier_store_sqlite::{Sealer, SqliteStore};
use rand::RngCore as _;
use secrecy::SecretString;
use serde_json::Value;

/// Commits that are under way at a time: they share the waits for the disk.
const AT_A_TIME: usize = 256;

struct Random;

impl Entropy for Random {
    fn fill(&self, out: &mut [u8]) {
        rand::rng().fill_bytes(out);
    }
}

/// Adds notebooks to a data folder that no server uses.
pub(crate) async fn fill(data_dir: &Path, notebooks: usize, owners: usize) -> anyhow::Result<()> {
    let admin: Value = serde_json::from_slice(&std::fs::read(data_dir.join("admin.json"))?)?;
    let sealer = Sealer::load_or_create(data_dir, None, Arc::new(Random))?;
    let store = Arc::new(SqliteStore::open(&data_dir.join("atelier.db"), sealer).await?);
    let owners = (0..owners.max(1)).map(|n| owner(&admin, n)).collect::<anyhow::Result<Vec<_>>>()?;
    let project = text(&admin, "project_id")?;
    let now = SystemClock.now();
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..notebooks {
        let notebook = notebook(number, notebooks, &project, &owners[number % owners.len()], now)?;
        if notebook.status() == Status::Running {
            pretend(data_dir, notebook.id)?;
        }
        let store = store.clone();
        under_way.spawn(async move { store.commit(commit(notebook)).await });
        while under_way.len() >= AT_A_TIME {
            written(under_way.join_next().await)?;
        }
    }
    while !under_way.is_empty() {
        written(under_way.join_next().await)?;
    }
    store.close().await;
    Ok(())
}

fn written(
    ended: Option<Result<Result<Committed, atelier_store::StoreError>, tokio::task::JoinError>>,
) -> anyhow::Result<()> {
    let committed = ended.context("nothing was under way")???;
    ensure!(matches!(committed, Committed::Written(_)), "not written: {committed:?}");
    Ok(())
}

fn text(admin: &Value, key: &str) -> anyhow::Result<String> {
    Ok(admin[key].as_str().with_context(|| format!("admin.json has no `{key}`"))?.to_owned())
}

fn owner(admin: &Value, number: usize) -> anyhow::Result<Owner> {
    let user_id = if number == 0 { text(admin, "user_id")?.parse()? } else { UserId::generate(&Random) };
    let domain_id = text(admin, "domain_id")?.parse()?;
    Ok(Owner { user_id, user_name: format!("user-{number}"), domain_id, domain_name: text(admin, "domain_name")? })
}

fn notebook(number: usize, of: usize, project: &str, owner: &Owner, now: Timestamp) -> anyhow::Result<Notebook> {
    // Made one after the other, a second apart, the last one now.
    let create_at = now.plus_millis(-1000 * i64::try_from(of - number)?);
    let status = match number % 100 {
        0 => Status::Running,
        1..=5 => Status::StartFailed,
        6..=8 => Status::Error,
        9 => Status::CreateFailed,
        _ => Status::Stopped,
    };
    let mut notebook = Notebook::from(NewNotebook {
        id: NotebookId::generate(create_at, &Random),
        project_id: project.parse()?,
        owner: owner.clone(),
        name: format!("{}-{number}", ["train", "eval", "notes", "实验", "lab"][number % 5]),
        description: String::new(),
        feature: Feature::Notebook,
        tags: Tags::none(),
        flavor: Flavor::defaults().remove(3),
        image: Image::built_in(None),
        volume: Volume::new(VolumeId::generate(create_at, &Random), 5),
        workspace_id: "0".into(),
        lease: Lease::written(create_at, now, Grant::Millis(72 * 3_600_000), LeaseKind::Timing),
        pool: None,
        legacy: LegacyWords::default(),
        hooks: Hooks::default(),
        token: SecretString::from(uuid::Uuid::new_v4().to_string()),
        upstream_secret: SecretString::from(uuid::Uuid::new_v4().to_string()),
        progress: Vec::new(),
        create_at,
    })
    .with_stored_status(status);
    // In an order of its own, so that sorting by it is work.
    notebook.update_at = create_at.plus_millis(i64::try_from(number.wrapping_mul(2_654_435_761) % 1_000_000)?);
    notebook.ever_ran = true;
    Ok(notebook)
}

/// The notebook with what its creation has left.
fn commit(notebook: Notebook) -> Commit {
    let at = notebook.create_at;
    let id = OperationId::generate(at, &Random);
    let mut operation = Operation::new(id, notebook.id, OperationKind::Create, Origin::system(), "filled", at);
    operation.state = OperationState::Done;
    operation.ended_at = Some(at);
    for step in &mut operation.steps {
        (step.state, step.attempts, step.began_at, step.ended_at) = (StepState::Done, 1, Some(at), Some(at));
    }
    let event = |what: &str| NotebookEvent {
        id: EventId::generate(at, &Random),
        notebook_id: notebook.id,
        project_id: notebook.project_id.clone(),
        at,
        what: what.into(),
        origin: Origin::system(),
        why: "filled".into(),
    };
    let events = vec![event("create.asked"), event("create.done")];
    let insert = NotebookWrite::Insert(Box::new(notebook));
    Commit { notebook: Some(insert), operations: vec![operation], events, ..Commit::default() }
}

/// What the simulated runtime keeps of an instance that runs.
fn pretend(data_dir: &Path, id: NotebookId) -> anyhow::Result<()> {
    let folder = data_dir.join("simulated").join(id.to_string());
    std::fs::create_dir_all(&folder)?;
    for file in ["volume", "container", "network", "server"] {
        std::fs::write(folder.join(file), "")?;
    }
    Ok(())
}
