//! The questions that are asked after every round, when everything had its time: does store, runtime, engine and model
//! say the same?

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use atelier_core::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::flavor::{Capacity, Held};
use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::lease::Grant;
use atelier_core::notebook::Notebook;
use atelier_core::operation::{OperationState, StepState};
use atelier_core::status::Status;
use secrecy::ExposeSecret;

use crate::model::{Answer, Asked, Told, fold};
use crate::store::Shelf;

/// How late a lease may be noticed: the longest nap of the lease clock, and the stop itself.
const LATE_MS: i64 = 15_000;

/// What a user has put into a volume.
const WORK: &str = "; a user's work";

/// What earlier checks saw.
#[derive(Default)]
pub(crate) struct Memory {
    notebooks: BTreeMap<NotebookId, Known>,
    pub(crate) grants: HashMap<String, Grant>,
    /// Commands whose notebook was never heard of.
    nameless: Vec<Asked>,
    /// Who has put something into a shared volume.
    shared: BTreeMap<VolumeId, Vec<NotebookId>>,
}

#[derive(Default)]
struct Known {
    events: Vec<NotebookEvent>,
    generation: u64,
    works: bool,
    asked: Vec<Asked>,
}

/// Everything there is to look at.
pub(crate) struct Scene<'a> {
    pub(crate) shelf: &'a Shelf,
    pub(crate) runtime: &'a Path,
    pub(crate) capacity: Capacity,
    pub(crate) now: Timestamp,
    /// Nothing in this round kept the engine from taking a step back.
    pub(crate) undo_works: bool,
}

impl Memory {
    /// Commands of the round that is over.
    pub(crate) fn remember(&mut self, asked: Vec<Asked>) {
        for command in asked {
            match command.about() {
                Some(id) => self.notebooks.entry(id).or_default().asked.push(command),
                None => self.nameless.push(command),
            }
        }
    }

    /// The notebooks ever heard of.
    pub(crate) fn known(&self) -> Vec<NotebookId> {
        self.notebooks.keys().copied().collect()
    }

    /// All questions but those that only the engine can answer. The first thing that is wrong is told.
    pub(crate) fn check(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        let rows: BTreeMap<NotebookId, Notebook> =
            scene.shelf.statuses().into_iter().filter_map(|(id, _)| Some((id, scene.shelf.notebook(id)?))).collect();
        for id in rows.keys() {
            self.notebooks.entry(*id).or_default();
        }
        for (id, known) in &mut self.notebooks {
            check_one(scene, *id, known, rows.get(id), &self.grants).map_err(|e| format!("notebook {id}: {e}"))?;
        }
        self.check_nameless()?;
        check_orphans(scene, &rows)?;
        check_trash(scene, &rows, &self.notebooks)?;
        check_shared(scene, &rows, &mut self.shared)?;
        check_capacity(scene, &rows)?;
        self.nameless.clear();
        Ok(())
    }

    /// A creation that was refused made nothing.
    fn check_nameless(&self) -> Result<(), String> {
        let mut all = self.nameless.iter().flat_map(|a| self.notebooks.values().map(move |k| a.contradicts(&k.events)));
        all.find_map(|wrong| wrong).map_or(Ok(()), Err)
    }
}

fn check_one(
    scene: &Scene<'_>,
    id: NotebookId,
    known: &mut Known,
    row: Option<&Notebook>,
    grants: &HashMap<String, Grant>,
) -> Result<(), String> {
    let events = scene.shelf.events(id, None);
    let kept = known.events.iter().zip(&events).take_while(|(old, new)| old == new).count();
    if kept < known.events.len() {
        return Err(format!("an event is lost: {:?}", known.events[kept]));
    }
    let collected = events[known.events.len()..].iter().find(|e| e.what == "left-overs.collected");
    let failed = row.is_some_and(|n| matches!(n.status(), Status::CreateFailed | Status::StartFailed));
    if let Some(event) = collected.filter(|_| failed && scene.undo_works) {
        return Err(format!("something was left although nothing kept it from being taken back: {event:?}"));
    }
    known.events = events;
    if let Some(wrong) = known.asked.iter().find_map(|a| a.contradicts(&known.events)) {
        return Err(wrong);
    }
    let told = fold(&known.events, grants)?;
    match row {
        None if told.status.is_none() => {}
        None => return Err(format!("the row is lost; the events say {:?}", told.status)),
        Some(row) => check_row(scene, known, row, &told)?,
    }
    known.asked.clear();
    check_operations(scene, id)
}

fn check_row(scene: &Scene<'_>, known: &mut Known, row: &Notebook, told: &Told) -> Result<(), String> {
    if told.status != Some(row.status()) {
        return Err(format!("the row is {}, the events say {:?}", row.status(), told.status));
    }
    let is_over = told.lease_end.is_some_and(|end| end <= scene.now) && row.lease.is_over(scene.now);
    if row.lease.grant() != told.grant || (row.lease.expiry() != told.lease_end && !is_over) {
        return Err(format!("the row has {:?}, the events say {told:?}", row.lease));
    }
    if row.fail_reason.is_some() != row.status().is_failed() {
        return Err(format!("{} with the reason {:?}", row.status(), row.fail_reason));
    }
    let answered = known.asked.iter().filter_map(|a| match a.answer {
        Answer::Done(_, generation) => Some(generation),
        _ => None,
    });
    let least = answered.fold(known.generation, u64::max);
    if row.generation < least {
        return Err(format!("generation {} came after {least}", row.generation));
    }
    known.generation = row.generation;
    if row.status() == Status::Running && row.lease.is_over(scene.now.plus_millis(-LATE_MS)) {
        return Err(format!("it runs at {:?}, and its lease is over: {:?}", scene.now, row.lease));
    }
    check_instance(scene.runtime, known, row)
}

/// What the runtime holds of it must be what its status says.
fn check_instance(runtime: &Path, known: &mut Known, row: &Notebook) -> Result<(), String> {
    let folder = runtime.join(row.id.to_string());
    let there: HashSet<&str> =
        ["volume", "container", "network", "server"].into_iter().filter(|what| folder.join(what).exists()).collect();
    let wanted: &[&str] = match row.status() {
        Status::Running => &["volume", "container", "network", "server"],
        Status::Stopped | Status::StartFailed => &["volume"],
        Status::CreateFailed => &[],
        // What could not be stopped or removed may be there in part.
        _ => return Ok(()),
    };
    if there != wanted.iter().copied().collect() {
        return Err(format!("{}, and the runtime holds {there:?} of it", row.status()));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let volume = folder.join("volume");
    let content = std::fs::read_to_string(&volume).map_err(|e| e.to_string())?;
    if known.works && !content.ends_with(WORK) {
        return Err(format!("a user's work is lost; the volume holds `{content}`"));
    }
    if row.status() == Status::Running && !known.works {
        std::fs::write(&volume, content + WORK).map_err(|e| e.to_string())?;
        known.works = true;
    }
    Ok(())
}

/// Every operation has ended, and its steps say the same as it does.
fn check_operations(scene: &Scene<'_>, id: NotebookId) -> Result<(), String> {
    for operation in scene.shelf.operations_of(id) {
        let all = |state| operation.steps.iter().all(|s| s.state == state);
        let sound = match operation.state {
            OperationState::Running | OperationState::Undoing => false,
            OperationState::Done => all(StepState::Done),
            OperationState::Failed => operation.error.is_some() && operation.next_undo().is_none(),
            OperationState::Cancelled => operation.error.is_some(),
        };
        if !sound || operation.ended_at.is_none() {
            return Err(format!("an operation that is not sound: {operation:?}"));
        }
    }
    Ok(())
}

/// Nothing runs that belongs to nobody. A volume that belongs to nobody may be somebody's work, and waits.
fn check_orphans(scene: &Scene<'_>, rows: &BTreeMap<NotebookId, Notebook>) -> Result<(), String> {
    for entry in std::fs::read_dir(scene.runtime).map_err(|e| e.to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(id) = name.parse::<NotebookId>() else { continue };
        let runs = ["container", "network", "server"].into_iter().any(|what| entry.path().join(what).exists());
        if runs && !rows.contains_key(&id) {
            return Err(format!("notebook {id} is not known, and the runtime runs something of it"));
        }
    }
    Ok(())
}

/// What rests in the trash is no notebook, and its volume is there with all that was in it.
fn check_trash(
    scene: &Scene<'_>,
    rows: &BTreeMap<NotebookId, Notebook>,
    known: &BTreeMap<NotebookId, Known>,
) -> Result<(), String> {
    for trashed in scene.shelf.trash() {
        let id = trashed.notebook.id;
        if rows.contains_key(&id) {
            return Err(format!("notebook {id} is there, and in the trash"));
        }
        let volume = std::fs::read_to_string(scene.runtime.join("lost").join(id.to_string()).join("volume"));
        let works = known.get(&id).is_some_and(|known| known.works);
        // What never ran has nothing of its own, and rests for the sake of the volume that it shares.
        let nothing = !works && trashed.notebook.volume.is_shared() && volume.is_err();
        if !trashed.leaves && !nothing && !volume.as_ref().is_ok_and(|content| !works || content.ends_with(WORK)) {
            return Err(format!("notebook {id} rests in the trash, and its volume holds {volume:?}"));
        }
    }
    Ok(())
}

/// A shared volume is there, with all that was in it, as long as a notebook has it, or one in the trash; and no longer.
fn check_shared(
    scene: &Scene<'_>,
    rows: &BTreeMap<NotebookId, Notebook>,
    works: &mut BTreeMap<VolumeId, Vec<NotebookId>>,
) -> Result<(), String> {
    let folder = scene.runtime.join("shares");
    let trash = scene.shelf.trash();
    let resting = trash.iter().filter(|trashed| !trashed.leaves).map(|trashed| &trashed.notebook);
    let used: HashSet<_> =
        rows.values().chain(resting).map(|n| &n.volume).filter(|v| v.is_shared()).map(|v| v.id).collect();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().parse().is_ok_and(|id| used.contains(&id)) {
            return Err(format!("nobody has the shared volume {}", entry.file_name().display()));
        }
    }
    works.retain(|id, _| used.contains(id));
    for (id, notebooks) in &*works {
        if let Some(lost) =
            notebooks.iter().find(|notebook| !folder.join(id.to_string()).join(notebook.to_string()).exists())
        {
            return Err(format!("the work of notebook {lost} in the shared volume {id} is lost"));
        }
    }
    for row in rows.values().filter(|row| row.volume.is_shared() && row.status() == Status::Running) {
        let place = folder.join(row.volume.id.to_string());
        let work = std::fs::read_link(scene.runtime.join(row.id.to_string()).join("work"));
        if !work.as_ref().is_ok_and(|work| *work == place) {
            return Err(format!("notebook {} runs with {work:?} in the place of {}", row.id, place.display()));
        }
        std::fs::write(place.join(row.id.to_string()), "").map_err(|e| e.to_string())?;
        works.entry(row.volume.id).or_default().push(row.id);
    }
    Ok(())
}

/// What is promised is what the notebooks hold, and never more than there is.
fn check_capacity(scene: &Scene<'_>, rows: &BTreeMap<NotebookId, Notebook>) -> Result<(), String> {
    let mut sum = Held::default();
    for row in rows.values().filter(|r| r.status().holds_compute()) {
        sum.cpu_millis += u64::from(row.flavor.cpu_millis);
        sum.memory_bytes += row.flavor.memory_bytes();
    }
    let held = scene.shelf.held();
    if held != sum {
        return Err(format!("the store says that {held:?} is held; the notebooks hold {sum:?}"));
    }
    let Capacity { cpu_millis, memory_bytes, cpu_overcommit, memory_overcommit } = scene.capacity;
    if sum.cpu_millis > cpu_millis * u64::from(cpu_overcommit)
        || sum.memory_bytes > memory_bytes * u64::from(memory_overcommit)
    {
        return Err(format!("{sum:?} is held of {:?}", scene.capacity));
    }
    Ok(())
}

/// A route says what the row says.
pub(crate) fn check_route(route: Option<atelier_engine::Route>, row: Option<&Notebook>) -> Result<(), String> {
    match (route, row) {
        (None, None) => Ok(()),
        (Some(route), Some(row))
            if route.status == row.status()
                && route.name == row.name
                && route.fail_reason == row.fail_reason
                && route.progress == row.progress
                && route.token.expose_secret() == row.token.expose_secret()
                && route.upstream_secret.expose_secret() == row.upstream_secret.expose_secret() =>
        {
            Ok(())
        }
        (route, row) => Err(format!(
            "the route says {:?}, the row {:?}",
            route.map(|r| (r.status, r.fail_reason)),
            row.map(|r| (r.status(), r.fail_reason.as_ref()))
        )),
    }
}
