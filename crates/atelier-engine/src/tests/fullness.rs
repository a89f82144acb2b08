//! Volumes that fill up.

use atelier_core::caller::Origin;
use atelier_core::filling::{Filling, Share};
use atelier_store::Commit;

use super::*;
use crate::fullness::EVENTS;

impl World {
    /// Lets the volume be so full, in hundredths, and looks.
    async fn filled(&self, id: NotebookId, bytes: u64, inodes: u64) {
        let share = |used| Share { used, total: 100 };
        self.runtime.pretend_filled(id, Filling { bytes: share(bytes), inodes: share(inodes) });
        self.engine.reconcile().await;
    }

    async fn warnings(&self, id: NotebookId) -> Vec<String> {
        let mut told = self.events(id).await;
        told.retain(|what| what.starts_with("volume."));
        told
    }
}

#[tokio::test]
async fn each_mark_is_told_once_until_it_was_fallen_below() {
    let mut world = World::new().await;
    let id = world.running().await;
    let mut told = Vec::new();
    for (bytes, inodes, news) in [
        (79, 0, None),
        (80, 0, Some("volume.filling")),
        (94, 90, None),
        (0, 95, Some("volume.nearly_full")),
        (100, 100, None),
        (94, 0, None),
        (95, 0, Some("volume.nearly_full")),
        (79, 79, None),
        (96, 0, Some("volume.nearly_full")),
    ] {
        world.filled(id, bytes, inodes).await;
        world.filled(id, bytes, inodes).await;
        told.extend(news);
        assert_eq!(world.warnings(id).await, told, "{bytes} {inodes}");
    }
    let last = world.store_events(id).await.pop().unwrap();
    assert!(last.why.starts_with("96 % of its bytes"), "{}", last.why);

    world.restart().await;
    world.filled(id, 97, 0).await;
    assert_eq!(world.warnings(id).await, told, "a restart tells nothing twice");
    world.filled(id, 10, 0).await;
    world.filled(id, 81, 0).await;
    assert_eq!(world.warnings(id).await.last().unwrap(), "volume.filling");
}

#[tokio::test]
async fn what_was_told_is_found_behind_a_long_history() {
    let mut world = World::new().await;
    let id = world.running().await;
    let notebook = world.show(id).await;
    let events = (0..EVENTS).map(|_| world.engine.event(&notebook, &Origin::system(), "old", String::new()));
    world.store.commit(Commit { events: events.collect(), ..Commit::default() }).await.unwrap();
    world.filled(id, 81, 0).await;
    world.restart().await;
    world.filled(id, 82, 0).await;
    let history = world.store.events(id, None, u32::MAX).await.unwrap();
    assert_eq!(history.iter().filter(|event| event.what == "volume.filling").count(), 1);
}

#[tokio::test]
async fn what_is_known_of_a_volume_ends_with_its_use() {
    let world = World::new().await;
    let id = world.running().await;
    world.filled(id, 99, 0).await;
    assert_eq!(world.engine.filling(id).unwrap().bytes.percent(), 99);
    assert_eq!(world.engine.fullness_census().values().sum::<u64>(), 1);
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    assert_eq!(world.engine.filling(id), None);
    assert!(world.engine.fullness_census().is_empty());
}
