//! What becomes of notebooks whose machine was rebooted. The simulated machine is rebooted while the server is away.

use super::*;

impl World {
    /// The server dies with its machine, and comes back on it after `away` milliseconds.
    async fn reboot(&mut self, away: i64) {
        self.engine.shut_down().await;
        self.runtime.reboot().unwrap();
        self.time.advance(away);
        self.restart().await;
    }
}

#[tokio::test]
async fn a_running_notebook_is_started_again_while_its_lease_runs() {
    let mut world = World::new().await;
    let id = world.running().await;
    let before = world.show(id).await;
    world.reboot(HOUR / 2).await;
    let after = world.reaches(id, Status::Running).await;
    assert_eq!(after.lease, before.lease, "a reboot gives no more time");
    assert_eq!(after.token.expose_secret(), before.token.expose_secret());
    assert_ne!(after.upstream_secret.expose_secret(), before.upstream_secret.expose_secret());
    assert_eq!(world.runtime.observe(id).await.unwrap(), atelier_runtime::Observed::Serving);
    assert_eq!(world.events(id).await, ["create.asked", "create.done", "host.rebooted", "start.asked", "start.done"]);
    world.time.advance(HOUR / 2);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_running_notebook_is_stopped_when_its_lease_ended_meanwhile() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.reboot(HOUR).await;
    assert_eq!(world.show(id).await.status(), Status::Stopped);
    assert_eq!(world.events(id).await, ["create.asked", "create.done", "host.rebooted"]);
    assert_eq!(world.runtime.list().await.unwrap(), [id], "the volume is kept");
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn without_a_reboot_nothing_is_started_again() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.restart().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    assert_eq!(world.events(id).await, ["create.asked", "create.done"]);
}

#[tokio::test]
async fn a_second_start_after_the_reboot_does_not_reboot_again() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.reboot(0).await;
    world.reaches(id, Status::Running).await;
    world.restart().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    assert_eq!(world.events(id).await.iter().filter(|e| *e == "host.rebooted").count(), 1);
}

#[tokio::test]
async fn a_creation_begins_anew_wherever_the_reboot_met_it() {
    for call in [Call::PrepareStorage, Call::PrepareCompute, Call::ConfigureNetwork, Call::Initialize] {
        let mut world = World::new().await;
        world.script.on(call, Turn::Waits);
        let id = world.create().await;
        world.script.reached().await;
        world.reboot(0).await;
        let running = world.reaches(id, Status::Running).await;
        assert!(running.ever_ran, "{call:?}");
        assert_eq!(running.lease.update_at(), running.update_at, "somebody asked for it, so its lease begins now");
        assert_eq!(world.store.operations_of(id).await.unwrap().len(), 1, "{call:?}: it is the same operation");
    }
}

#[tokio::test]
async fn stops_and_deletions_go_on_after_the_reboot() {
    let mut world = World::new().await;
    let (stopped, deleted) = (world.running().await, world.running().await);
    world.script.on(Call::Stop, Turn::Waits);
    world.stop(stopped).await.unwrap();
    world.script.reached().await;
    world.script.on(Call::Stop, Turn::Waits);
    world.delete(deleted).await.unwrap();
    world.script.reached().await;
    world.reboot(0).await;
    world.reaches(stopped, Status::Stopped).await;
    let mut changes = world.engine.route_changes();
    while world.engine.route(deleted).is_some() {
        changes.changed().await.unwrap();
    }
    assert_eq!(world.runtime.list().await.unwrap(), [stopped]);
}

#[tokio::test]
async fn a_runtime_that_does_not_know_its_boot_is_not_taken_for_a_rebooted_one() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.engine.shut_down().await;
    // Where the name of the boot stands, there is something unreadable.
    std::fs::create_dir(world.folder.path().join("sim").join("boot-id")).unwrap();
    world.store.close().await;
    let opened = try_open(world.folder.path(), &world.time, &world.script, &world.entropy).await;
    assert!(matches!(opened.map(drop), Err(crate::OpenError::Runtime(_))));
    std::fs::remove_dir(world.folder.path().join("sim").join("boot-id")).unwrap();
    world.restart().await;
    assert_eq!(world.show(id).await.status(), Status::Running);
    assert_eq!(world.events(id).await, ["create.asked", "create.done"]);
}
