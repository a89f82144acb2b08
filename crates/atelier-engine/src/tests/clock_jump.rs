//! The wall clock is set while notebooks run.

use super::*;

const YEAR: i64 = 365 * 24 * HOUR;

impl World {
    /// Returns when the notebook's lease ends at `end`.
    async fn ends_at(&self, id: NotebookId, end: i64) -> Notebook {
        let mut changes = self.engine.route_changes();
        loop {
            let notebook = self.show(id).await;
            if notebook.lease.expiry().map(Timestamp::as_millis) == Some(end) {
                return notebook;
            }
            changes.changed().await.unwrap();
        }
    }

    /// The engine looks at its clock, as it does at least every ten seconds.
    pub(super) fn looks(&self) {
        self.engine.now();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_stops_nothing() {
    let world = World::new().await;
    let id = world.running().await;
    world.time.advance(HOUR / 4);
    world.time.jump(YEAR);
    world.looks();
    let moved = world.ends_at(id, START + YEAR + HOUR).await;
    assert_eq!(moved.status(), Status::Running);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    let events = world.store.events(id, None, 100).await.unwrap();
    let told = events.iter().find(|e| e.what == "clock.jumped").unwrap();
    assert_eq!(told.at.as_millis(), START + HOUR / 4 + YEAR, "it is told in the new time");
    assert!(told.why.contains(&YEAR.to_string()) && told.why.contains("2700000 ms"), "{}", told.why);

    world.time.advance(HOUR * 3 / 4 - 1);
    world.engine.reconcile().await;
    assert_eq!(world.show(id).await.status(), Status::Running, "not a millisecond early");
    world.time.advance(1);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_lets_nothing_run_on() {
    let world = World::new().await;
    let id = world.running().await;
    world.time.advance(HOUR / 4);
    world.time.jump(-YEAR);
    world.looks();
    let moved = world.ends_at(id, START - YEAR + HOUR).await;
    assert!(moved.create_at.as_millis() <= START - YEAR + HOUR / 4, "it was not made in the future");
    assert!(moved.update_at.as_millis() <= START - YEAR + HOUR / 4);
    assert_eq!(moved.lease.create_at(), moved.create_at);
    assert!(moved.lease.duration_ms() >= HOUR);
    world.time.advance(HOUR * 3 / 4);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_lease_written_after_a_jump_is_not_moved_by_it() {
    let world = World::new().await;
    let (moved, renewed) = (world.running().await, world.running().await);
    world.time.jump(YEAR);
    world.looks();
    world.ends_at(moved, START + YEAR + HOUR).await;
    world.ends_at(renewed, START + YEAR + HOUR).await;
    let caller = World::caller('a');
    world.engine.renew(&caller, "r", renewed, Grant::Millis(2 * HOUR), LeaseKind::Timing).await.unwrap();
    world.ends_at(renewed, START + YEAR + 2 * HOUR).await;
    world.time.advance(HOUR);
    world.reaches(moved, Status::Stopped).await;
    assert_eq!(world.show(renewed).await.status(), Status::Running);
}

#[tokio::test]
async fn a_machine_that_slept_through_the_end_stops_its_notebooks_when_it_wakes() {
    let world = World::new().await;
    let id = world.running().await;
    world.time.advance(YEAR);
    world.reaches(id, Status::Stopped).await;
    assert!(!world.events(id).await.contains(&"clock.jumped".to_owned()));
}

#[tokio::test]
async fn a_jump_while_the_server_is_away_is_seen_by_the_next_one() {
    for jump in [YEAR, -YEAR] {
        let mut world = World::new().await;
        let id = world.running().await;
        world.engine.shut_down().await;
        world.time.advance(HOUR / 2);
        world.time.jump(jump);
        world.restart().await;
        let moved = world.show(id).await;
        assert_eq!(moved.status(), Status::Running, "{jump}");
        assert_eq!(moved.lease.expiry().unwrap().as_millis(), START + jump + HOUR, "{jump}");
        world.time.advance(HOUR / 2);
        world.reaches(id, Status::Stopped).await;
    }
}

#[tokio::test]
async fn across_a_boot_only_the_wall_counts_but_never_beyond_the_grant() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.engine.shut_down().await;
    world.time.reboot();
    world.time.jump(-YEAR);
    world.restart().await;
    let held = world.show(id).await;
    assert_eq!(held.lease.expiry().unwrap().as_millis(), START - YEAR + HOUR);
    world.time.advance(HOUR);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_lease_without_an_end_is_left_alone() {
    let world = World::new().await;
    let (endless, other) = (world.running().await, world.running().await);
    let caller = World::caller('a');
    world.engine.renew(&caller, "r", endless, Grant::Never, LeaseKind::Timing).await.unwrap();
    world.time.jump(YEAR);
    world.looks();
    world.ends_at(other, START + YEAR + HOUR).await;
    assert!(!world.events(endless).await.contains(&"clock.jumped".to_owned()));
}
