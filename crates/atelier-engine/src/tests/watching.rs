//! What the engine tells of itself: to whoever measures, and to the audit.

use std::sync::{Arc, Mutex};

use atelier_core::audit::FieldChange;
use atelier_core::observe::{Observer, OperationSeen, StartPath, StepSeen, Watcher};
use atelier_core::status::Status;
use atelier_runtime::RuntimeError;
use atelier_runtime::simulated::Call;
use atelier_store::audit::{AuditEntry, AuditQuery, AuditStore as _};

use super::{HOUR, World};
use crate::EngineConfig;

/// What was told, in words.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn add(&self, words: String) {
        self.0.lock().unwrap().push(words);
    }
}

impl Observer for Heard {
    fn step(&self, seen: &StepSeen<'_>) {
        self.add(format!("{} {} {}", seen.kind, seen.step, seen.result.as_str()));
    }

    fn operation(&self, seen: &OperationSeen<'_>) {
        self.add(format!("{} {} in {}", seen.kind, seen.state.as_str(), seen.millis));
    }

    fn started(&self, path: StartPath, millis: i64) {
        self.add(format!("started from its {} in {millis}", path.as_str()));
    }

    fn lease_ended(&self, late_millis: i64) {
        self.add(format!("lease ended {late_millis} ms late"));
    }
}

impl World {
    /// A world whose engine tells somebody.
    async fn watched() -> (Self, Arc<Heard>) {
        let mut world = Self::new().await;
        let heard = Arc::new(Heard::default());
        world.reopen(EngineConfig { watcher: Watcher::new(heard.clone()), ..EngineConfig::default() }).await;
        (world, heard)
    }

    /// Everything that was told, once the engine has come to rest.
    async fn told(&self, heard: &Heard) -> Vec<String> {
        self.engine.shut_down().await;
        std::mem::take(&mut *heard.0.lock().unwrap())
    }

    pub(super) async fn audit(&self) -> Vec<AuditEntry> {
        let mut entries = self.store.audit(&AuditQuery { limit: 100, ..AuditQuery::default() }).await.unwrap();
        entries.reverse();
        entries
    }
}

#[tokio::test]
async fn every_step_and_every_end_is_told_once() {
    let (world, heard) = World::watched().await;
    let id = world.running().await;
    world.time.advance(HOUR + 7);
    world.reaches(id, Status::Stopped).await;
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    assert_eq!(
        world.told(&heard).await,
        [
            "create prepare-storage done",
            "create prepare-compute done",
            "create configure-network done",
            "create initialize-instance done",
            "create done in 0",
            "started from its command-line in 0",
            "lease ended 7 ms late",
            "stop stop-instance done",
            "stop done in 0",
            "delete stop-instance done",
            "delete remove-storage done",
            "delete done in 0",
        ]
    );
}

#[tokio::test]
async fn a_failure_is_told_with_what_was_taken_back() {
    let (world, heard) = World::watched().await;
    world.script.fails(Call::ConfigureNetwork, 1, RuntimeError::Permanent);
    let id = world.create().await;
    world.reaches(id, Status::CreateFailed).await;
    assert_eq!(
        world.told(&heard).await,
        [
            "create prepare-storage done",
            "create prepare-compute done",
            "create configure-network failed",
            "create configure-network undone",
            "create prepare-compute undone",
            "create prepare-storage undone",
            "create failed in 0",
        ]
    );
}

#[tokio::test]
async fn every_call_that_changes_something_has_one_record_written_with_it() {
    let world = World::new().await;
    let id = world.running().await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    world.stop(id).await.unwrap_err();
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    let entries = world.audit().await;
    let operations: Vec<_> = entries.iter().map(|entry| entry.record.operation.as_str()).collect();
    assert_eq!(operations, ["CreateNotebook", "StopNotebook", "StartNotebook", "DeleteNotebook"]);
    assert!(entries.iter().all(|entry| entry.record.notebook_id == Some(id)));
    assert_eq!(entries[0].record.user_name.as_deref(), Some("user-a"));
    assert_eq!(entries[0].record.request_id, "r1");
    assert!(entries[0].record.changes.iter().all(|change| change.before.is_none()));
    let change = |field: &str, before: Option<&str>, after: &str| FieldChange {
        field: field.into(),
        before: before.map(str::to_owned),
        after: Some(after.into()),
    };
    assert_eq!(entries[1].record.changes, [change("status", Some("RUNNING"), "STOPPING")]);
    let started = &entries[2].record.changes;
    assert_eq!(*started, [change("status", Some("STOPPED"), "STARTING"), change("token", None, "replaced")]);
}
