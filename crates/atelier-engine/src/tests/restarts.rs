//! Notebook servers that end by themselves.

use atelier_core::id::NotebookId;
use atelier_core::status::Status;
use atelier_runtime::simulated::Call;
use atelier_runtime::{Observed, Runtime as _, RuntimeError};
use secrecy::ExposeSecret as _;

use super::{HOUR, Turn, World};

const ENDED: &str = "server.ended";
const RESTARTED: &str = "server.restarted";

impl World {
    /// The notebook's server ends, and that is seen.
    async fn server_ends(&self, id: NotebookId) {
        self.runtime.break_server(id).unwrap();
        self.engine.reconcile().await;
    }

    /// Returns when so many events of a kind are there; the last one's reason.
    pub(super) async fn has_events(&self, id: NotebookId, what: &str, times: usize) -> String {
        let mut changes = self.engine.route_changes();
        loop {
            let mut told: Vec<_> = self.store_events(id).await.into_iter().filter(|e| e.what == what).collect();
            if told.len() >= times {
                return told.swap_remove(times - 1).why;
            }
            changes.changed().await.unwrap();
        }
    }

    /// The server ends once more and, after the pause, serves once more.
    async fn ends_and_serves_again(&self, id: NotebookId, time: usize, pause_ms: i64) {
        self.server_ends(id).await;
        let why = self.has_events(id, ENDED, time).await;
        assert!(why.contains(&format!("attempt {time} of 5")), "{why}");
        self.time.advance(pause_ms);
        self.has_events(id, RESTARTED, time).await;
    }

    async fn observed(&self, id: NotebookId) -> Observed {
        self.runtime.observe(id).await.unwrap()
    }
}

#[tokio::test]
async fn a_server_that_ended_serves_again_and_nothing_else_has_changed() {
    let world = World::new().await;
    let id = world.running().await;
    let before = world.show(id).await;
    world.time.advance(1000);
    world.server_ends(id).await;
    let why = world.has_events(id, ENDED, 1).await;
    assert_eq!(why, "the notebook server was made to end; it is started again at once (attempt 1 of 5)");
    let why = world.has_events(id, RESTARTED, 1).await;
    assert_eq!(why, "after 0 ms; the notebook server was started by its command line");
    let after = world.show(id).await;
    assert_eq!((after.status(), after.lease, after.fail_reason), (Status::Running, before.lease, None));
    assert_eq!(after.token.expose_secret(), before.token.expose_secret());
    assert_eq!(after.upstream_secret.expose_secret(), before.upstream_secret.expose_secret());
    assert_eq!(world.observed(id).await, Observed::Serving);
}

#[tokio::test]
async fn a_server_that_ends_again_and_again_is_given_up_and_a_start_cures_it() {
    let world = World::new().await;
    let id = world.running().await;
    for (time, pause) in [0, 1_000, 4_000, 15_000, 60_000].into_iter().enumerate() {
        world.ends_and_serves_again(id, time + 1, pause).await;
    }
    world.server_ends(id).await;
    let broken = world.reaches(id, Status::Error).await;
    let reason = "the notebook server was made to end; 5 attempts within 600 s did not help";
    assert_eq!(broken.fail_reason.as_deref(), Some(reason));
    assert_eq!(world.has_events(id, "fault", 1).await, reason);
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
    world.server_ends(id).await;
    assert!(world.has_events(id, ENDED, 6).await.contains("attempt 1 of 5"), "a new run has all its attempts");
}

#[tokio::test]
async fn attempts_of_long_ago_do_not_count() {
    let world = World::new().await;
    let id = world.running().await;
    for time in 1..=7 {
        world.server_ends(id).await;
        assert!(world.has_events(id, ENDED, time).await.contains("attempt 1 of 5"));
        world.has_events(id, RESTARTED, time).await;
        world.time.advance(600_000);
        world
            .engine
            .renew(&World::caller('a'), "r", id, grant(), atelier_core::lease::LeaseKind::Timing)
            .await
            .unwrap();
    }
}

fn grant() -> atelier_core::lease::Grant {
    atelier_core::lease::Grant::Millis(HOUR)
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_given_up_with_the_reason() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.fails(Call::Initialize, 5, RuntimeError::Transient);
    world.server_ends(id).await;
    for time in 1..=5 {
        world.has_events(id, ENDED, time).await;
        // However long it takes: attempts that did not help are not forgotten.
        world.time.advance(700_000);
    }
    let broken = world.reaches(id, Status::Error).await.fail_reason.unwrap();
    assert!(broken.starts_with("the notebook server could not be started again: injected"), "{broken}");
}

#[tokio::test]
async fn no_attempt_comes_before_its_pause_is_over() {
    let world = World::new().await;
    let id = world.running().await;
    world.ends_and_serves_again(id, 1, 0).await;
    world.server_ends(id).await;
    world.has_events(id, ENDED, 2).await;
    world.time.advance(999);
    world.engine.reconcile().await;
    assert!(matches!(world.observed(id).await, Observed::Idle { .. }));
    world.time.advance(1);
    world.has_events(id, RESTARTED, 2).await;
    assert_eq!(world.events(id).await.iter().filter(|what| *what == ENDED).count(), 2, "it was seen once");
}

#[tokio::test]
async fn a_stop_in_a_pause_comes_first() {
    let world = World::new().await;
    let id = world.running().await;
    world.ends_and_serves_again(id, 1, 0).await;
    world.server_ends(id).await;
    world.has_events(id, ENDED, 2).await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    world.time.advance(10_000);
    world.engine.reconcile().await;
    assert_eq!(world.observed(id).await, Observed::Absent);
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
    assert_eq!(
        world.events(id).await[2..],
        [ENDED, RESTARTED, ENDED, "stop.asked", "stop.done", "start.asked", "start.done"]
    );
}

#[tokio::test]
async fn a_stop_and_a_deletion_break_a_start_off() {
    let world = World::new().await;
    for delete in [false, true] {
        let id = world.running().await;
        world.script.on(Call::Initialize, Turn::Waits);
        world.server_ends(id).await;
        world.script.reached().await;
        if !delete {
            world.stop(id).await.unwrap();
            world.reaches(id, Status::Stopped).await;
            assert_eq!(world.observed(id).await, Observed::Absent);
        }
        world.delete(id).await.unwrap();
        world.vanishes(id).await;
    }
}

#[tokio::test]
async fn a_container_that_ends_meanwhile_is_a_fault() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::Initialize, Turn::Waits);
    world.server_ends(id).await;
    world.script.reached().await;
    world.runtime.stop(id).await.unwrap();
    world.engine.reconcile().await;
    assert_eq!(world.reaches(id, Status::Error).await.fail_reason.as_deref(), Some("the instance is gone"));
}

#[tokio::test]
async fn a_restart_of_ours_in_the_middle_begins_anew() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::Initialize, Turn::Waits);
    world.server_ends(id).await;
    world.script.reached().await;
    world.restart().await;
    world.has_events(id, RESTARTED, 1).await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    assert_eq!(world.observed(id).await, Observed::Serving);
}
