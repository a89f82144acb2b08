//! What the runtime has and the store does not know.

use super::*;
use crate::orphans::GRACE_MS;
use atelier_runtime::Observed;
use atelier_runtime::contract::{Upto, bring, new_spec};

impl World {
    /// An instance that no notebook belongs to. The round that the server itself makes at its start is over by then.
    async fn orphan(&self, upto: Upto) -> NotebookId {
        // Lets that one begin; the next one waits for its end.
        tokio::task::yield_now().await;
        self.engine.collect().await;
        let spec = new_spec();
        bring(&*self.runtime, &spec, upto).await;
        spec.notebook
    }
}

#[tokio::test]
async fn an_orphan_is_stopped_at_once_and_its_volume_set_aside_after_a_time() {
    let world = World::new().await;
    let mine = world.running().await;
    let orphan = world.orphan(Upto::Serving).await;
    world.engine.collect().await;
    assert_eq!(world.runtime.observe(orphan).await.unwrap(), Observed::Absent);
    assert_eq!(world.events(orphan).await, ["orphan.stopped"]);
    assert_eq!(world.engine.orphans().iter().map(|o| (o.notebook, o.stopped)).collect::<Vec<_>>(), [(orphan, true)]);

    world.time.advance(GRACE_MS - 1);
    world.engine.collect().await;
    assert!(world.runtime.list().await.unwrap().contains(&orphan), "its volume stays where it is");
    world.time.advance(1);
    world.engine.collect().await;
    world.engine.collect().await;
    assert_eq!(world.runtime.list().await.unwrap(), [mine]);
    assert_eq!(world.engine.lost().await.unwrap()[0].notebook, orphan);
    assert_eq!(world.engine.orphans(), []);
    assert_eq!(world.events(orphan).await, ["orphan.stopped", "orphan.kept"]);
    assert_eq!(world.show(mine).await.status(), Status::Running);
}

#[tokio::test]
async fn an_orphan_of_a_former_notebook_is_told_in_its_history() {
    let world = World::new().await;
    let id = world.running().await;
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    bring(&*world.runtime, &atelier_runtime::InstanceSpec { notebook: id, ..new_spec() }, Upto::Compute).await;
    world.engine.collect().await;
    let last = world.store.events(id, None, 100).await.unwrap().pop().unwrap();
    assert_eq!((last.what.as_str(), last.project_id), ("orphan.stopped", World::caller('a').project_id));
}

#[tokio::test]
async fn what_cannot_be_asked_decides_nothing() {
    let world = World::new().await;
    let orphan = world.orphan(Upto::Serving).await;
    world.script.fails(Call::List, 1, RuntimeError::Transient);
    world.engine.collect().await;
    assert_eq!(world.runtime.observe(orphan).await.unwrap(), Observed::Serving, "the runtime cannot list");
    world.script.fails(Call::Observe, 1, RuntimeError::Transient);
    world.engine.collect().await;
    assert_eq!(world.runtime.observe(orphan).await.unwrap(), Observed::Serving, "it cannot be looked at");
    assert!(world.engine.orphans()[0].trouble.as_deref().unwrap().contains("injected"));
    world.engine.collect().await;
    assert_eq!(world.runtime.observe(orphan).await.unwrap(), Observed::Absent);
    assert_eq!(world.engine.orphans()[0].trouble, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_makes_no_orphans() {
    let world = World::new().await;
    let id = world.running().await;
    // Only the store can say that a notebook is unknown; the routes alone are not believed.
    world.engine.inner.routes.remove(id);
    std::fs::rename(world.folder.path().join("db"), world.folder.path().join("gone")).unwrap();
    world.engine.collect().await;
    assert_eq!(world.runtime.observe(id).await.unwrap(), Observed::Serving);
    assert_eq!(world.engine.orphans(), []);
}

#[tokio::test]
async fn a_call_that_ends_after_its_notebook_was_deleted_leaves_nothing() {
    let world = World::new().await;
    world.script.on(Call::PrepareStorage, Turn::Blocks);
    let id = world.create().await;
    world.script.reached().await;
    world.delete(id).await.unwrap();
    let mut changes = world.engine.route_changes();
    while world.engine.route(id).is_some() {
        changes.changed().await.unwrap();
    }
    world.script.release();
    while !world.engine.inner.hands.hanging(id).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.runtime.list().await.unwrap(), [id], "the call went on where it was");
    world.engine.collect().await;
    world.time.advance(GRACE_MS);
    world.engine.collect().await;
    assert_eq!(world.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_server_that_starts_stops_orphans_by_itself() {
    let mut world = World::new().await;
    let orphan = world.orphan(Upto::Serving).await;
    world.restart().await;
    while world.runtime.observe(orphan).await.unwrap() != Observed::Absent {
        tokio::task::yield_now().await;
    }
}
