//! A disk with less room than is kept back: nothing new, everything else.

use super::*;

impl World {
    /// The same world, opened anew with a reserve of so many bytes.
    async fn keeping_back(mut self, disk_reserve_bytes: u64) -> Self {
        self.reopen(EngineConfig { disk_reserve_bytes, ..EngineConfig::default() }).await;
        self
    }
}

#[tokio::test]
async fn creations_and_starts_wait_for_room_and_nothing_else_does() {
    let world = World::new().await;
    let (stopped, running) = (world.running().await, world.running().await);
    let caller = World::caller('a');
    world.engine.stop(&caller, "r", stopped).await.unwrap();
    world.reaches(stopped, Status::Stopped).await;
    assert_eq!(world.engine.shortage().await, None);

    // No disk has this much left.
    let world = world.keeping_back(u64::MAX).await;
    assert!(world.engine.shortage().await.unwrap().contains("`server.disk_reserve_mib`"));
    let create = world.engine.create(&caller, "r", World::wish("new")).await.unwrap_err();
    let start = world.engine.start(&caller, "r", stopped, None, None).await.unwrap_err();
    assert_eq!((create.code(), start.code()), (Code::StorageSoldOut, Code::NoCapacity));
    assert!(create.message().contains("nearly full") && start.message().contains("nearly full"));
    // A wrong start is told what is wrong with it first.
    let again = world.engine.start(&caller, "r", running, None, None).await.unwrap_err();
    assert_eq!(again.code(), Code::Conflict);

    world.engine.renew(&caller, "r", running, Grant::Millis(2 * HOUR), LeaseKind::Timing).await.unwrap();
    world.engine.stop(&caller, "r", running).await.unwrap();
    world.reaches(running, Status::Stopped).await;
    world.delete(running).await.unwrap();
    let mut changes = world.engine.route_changes();
    while world.engine.route(running).is_some() {
        changes.changed().await.unwrap();
    }

    let world = world.keeping_back(0).await;
    world.engine.start(&caller, "r", stopped, None, None).await.unwrap();
    world.reaches(stopped, Status::Running).await;
}
