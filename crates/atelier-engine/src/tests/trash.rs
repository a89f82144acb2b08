//! Deleted notebooks, and how they are had back.

use atelier_core::status::Event;
use atelier_store::{Commit, NotebookWrite, TrashQuery};

use super::*;
use crate::operations::Whose;

const DAY: i64 = 24 * HOUR;

impl World {
    /// A notebook that ran, and was deleted.
    async fn deleted(&self) -> NotebookId {
        let id = self.running().await;
        self.delete(id).await.unwrap();
        self.vanishes(id).await;
        id
    }

    async fn in_trash(&self) -> Vec<NotebookId> {
        let trash = self.engine.trash(&Self::caller('a'), Whose::Own).await.unwrap();
        trash.into_iter().map(|trashed| trashed.notebook.id).collect()
    }

    async fn restore(&self, id: NotebookId, name: Option<&str>) -> Result<Notebook, Refusal> {
        let name = name.map(str::to_owned);
        self.engine.restore(&Self::caller('a'), Whose::Own, "r5", id, name).await
    }

    /// What a user wrote into the volume of a notebook that runs.
    fn work(&self, id: NotebookId) -> std::path::PathBuf {
        self.folder.path().join("sim").join(id.to_string()).join("volume")
    }
}

#[tokio::test]
async fn a_deleted_notebook_is_restored_with_its_work() {
    let world = World::new().await;
    let id = world.running().await;
    let before = world.show(id).await;
    std::fs::write(world.work(id), "work").unwrap();
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    let [trashed]: [_; 1] = world.engine.trash(&World::caller('a'), Whose::Own).await.unwrap().try_into().unwrap();
    assert_eq!((trashed.notebook.id, trashed.bytes, trashed.leaves), (id, Some(4), false));
    assert_eq!(trashed.until.millis_since(trashed.since), DAY);
    assert_eq!(world.engine.lost().await.unwrap(), [], "it is known");

    world.time.advance(DAY - 1);
    world.engine.empty_trash().await;
    let restored = world.restore(id, None).await.unwrap();
    assert_eq!((restored.id, restored.status(), &*restored.name), (id, Status::Stopped, "nb"));
    assert_eq!((&restored.volume, &restored.flavor), (&before.volume, &before.flavor));
    assert_ne!(restored.token.expose_secret(), before.token.expose_secret());
    assert_eq!(world.in_trash().await, []);
    assert_eq!(world.engine.lost().await.unwrap(), [], "it is known, wherever its volume lies");
    world.time.advance(DAY);
    world.engine.collect().await;
    world.engine.empty_trash().await;

    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
    assert_eq!(std::fs::read_to_string(world.work(id)).unwrap(), "work");
    let told = ["create.asked", "create.done", "delete.asked", "delete.done", "volume.restored", "start.asked"];
    assert_eq!(world.events(id).await[..6], told);
}

#[tokio::test]
async fn a_restored_notebook_that_was_never_started_goes_back_into_the_trash() {
    let world = World::new().await;
    let id = world.deleted().await;
    world.restore(id, Some("other")).await.unwrap();
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    assert_eq!(world.in_trash().await, [id]);
    assert_eq!(world.restore(id, None).await.unwrap().name, "other");
}

#[tokio::test]
async fn after_its_time_a_volume_is_removed() {
    let mut world = World::new().await;
    let id = world.deleted().await;
    world.time.advance(DAY - 1);
    world.restart().await;
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, [id]);
    world.time.advance(1);
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, []);
    assert_eq!(world.runtime.lost().await.unwrap(), []);
    assert_eq!(world.restore(id, None).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.events(id).await.last().unwrap(), "volume.removed");
}

#[tokio::test]
async fn what_begins_to_leave_leaves_whatever_fails_on_the_way() {
    let mut world = World::new().await;
    let id = world.deleted().await;
    // The next round is this one, and none of the engine's own.
    world.engine.shut_down().await;
    world.time.advance(DAY);
    world.script.fails(Call::Remove, 1, RuntimeError::Transient);
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, [id]);
    assert_eq!(world.restore(id, None).await.unwrap_err().code(), Code::Conflict);
    world.restart().await;
    world.script.on(Call::Remove, Turn::LosesItsReply);
    world.engine.empty_trash().await;
    assert_eq!(world.runtime.lost().await.unwrap(), []);
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, []);
    let removed = world.events(id).await.iter().filter(|what| *what == "volume.removed").count();
    assert_eq!(removed, 1, "it is told once");
}

#[tokio::test]
async fn a_deletion_whose_reply_was_lost_finds_its_volume_in_the_trash() {
    let world = World::new().await;
    let id = world.running().await;
    for _ in 0..2 {
        world.script.on(Call::SetAside, Turn::LosesItsReply);
    }
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    assert_eq!(world.in_trash().await, [id]);
    assert_eq!(*world.script.lost_replies.lock().unwrap(), [], "a call that finds it set aside loses its reply, too");
    world.restore(id, None).await.unwrap();
}

#[tokio::test]
async fn what_never_ran_and_what_may_not_rest_is_removed_at_once() {
    let mut world = World::new().await;
    world.script.fails(Call::Initialize, 1, RuntimeError::Permanent);
    let id = world.create().await;
    world.reaches(id, Status::StartFailed).await;
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    assert_eq!(world.in_trash().await, []);

    world.reopen(EngineConfig { trash_ms: 0, ..EngineConfig::default() }).await;
    world.deleted().await;
    assert_eq!(world.in_trash().await, []);
    assert_eq!(world.runtime.lost().await.unwrap(), []);
}

#[tokio::test]
async fn a_restored_notebook_keeps_to_names_and_quotas() {
    let world = World::new().await;
    let id = world.deleted().await;
    world.running().await;
    let taken = world.restore(id, None).await.unwrap_err();
    assert_eq!((taken.code(), world.in_trash().await), (Code::NameTaken, vec![id]));
    assert_eq!(world.restore(id, Some("a b")).await.unwrap_err().code(), Code::ForbiddenCharacter);
    for _ in 0..2 {
        world.running().await;
    }
    assert_eq!(world.restore(id, Some("other")).await.unwrap_err().code(), Code::QuotaExhausted);
}

#[tokio::test]
async fn the_trash_is_its_owners_and_the_administrators() {
    let world = World::new().await;
    let id = world.deleted().await;
    let other = World::caller('b');
    assert!(world.engine.trash(&other, Whose::Own).await.unwrap().is_empty());
    let refused = world.engine.restore(&other, Whose::Own, "r", id, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = world.engine.discard_volume(&other, Whose::Own, "r", id).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(world.engine.trash(&other, Whose::Everybodys).await.unwrap().len(), 1);
    let restored = world.engine.restore(&other, Whose::Everybodys, "r", id, None).await.unwrap();
    assert_eq!(restored.owner.user_id, World::caller('a').user_id, "it is whose it was");
    assert_eq!(world.show(id).await.status(), Status::Stopped);
}

#[tokio::test]
async fn volumes_are_removed_when_somebody_says_so() {
    let world = World::new().await;
    let (id, kept) = (world.deleted().await, world.running().await);
    world.engine.discard_volume(&World::caller('a'), Whose::Own, "r", id).await.unwrap();
    assert_eq!((world.in_trash().await, world.runtime.lost().await.unwrap()), (vec![], vec![]));
    let again = world.engine.discard_volume(&World::caller('a'), Whose::Everybodys, "r", id).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);

    let spec = atelier_runtime::contract::new_spec();
    world.runtime.prepare_storage(&spec).await.unwrap();
    world.runtime.set_aside(spec.notebook).await.unwrap();
    let own = world.engine.discard_volume(&World::caller('a'), Whose::Own, "r", spec.notebook).await.unwrap_err();
    assert_eq!(own.code(), Code::NotFound);
    world.engine.discard_volume(&World::caller('a'), Whose::Everybodys, "r", spec.notebook).await.unwrap();
    assert_eq!(world.engine.lost().await.unwrap(), []);
    assert_eq!(world.show(kept).await.status(), Status::Running);
}

#[tokio::test]
async fn the_volume_of_a_restored_notebook_is_nobodys_at_no_moment() {
    let world = World::new().await;
    let id = world.deleted().await;
    // Written, and not followed yet: so it stands while the reply of the store is lost.
    let resting = TrashQuery { id: Some(id), limit: 1, ..TrashQuery::default() };
    let mut notebook = world.store.trash(&resting).await.unwrap().pop().unwrap().notebook;
    notebook.apply(Event::Restored, world.engine.now()).unwrap();
    let restored = Commit { notebook: Some(NotebookWrite::Restore(Box::new(notebook))), ..Commit::default() };
    world.store.commit(restored).await.unwrap();
    assert_eq!(world.engine.route(id).map(|route| route.status), None);

    assert_eq!(world.engine.lost().await.unwrap(), []);
    let refused = world.engine.discard_volume(&World::caller('a'), Whose::Everybodys, "r", id).await;
    assert_eq!(refused.map_err(|refusal| refusal.code()), Err(Code::NotFound));
    assert_eq!(world.runtime.lost().await.unwrap().len(), 1, "its volume is where it was");
}

#[tokio::test]
async fn each_round_counts_what_is_set_aside() {
    let world = World::new().await;
    let id = world.running().await;
    std::fs::write(world.work(id), "work").unwrap();
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    world.engine.empty_trash().await;
    assert_eq!(world.engine.set_aside_census(), (1, 4));
    world.engine.discard_volume(&World::caller('a'), Whose::Own, "r", id).await.unwrap();
    world.engine.empty_trash().await;
    assert_eq!(world.engine.set_aside_census(), (0, 0));
}

#[tokio::test]
async fn the_removal_of_a_lost_volume_is_told_once_when_it_is_done() {
    let world = World::new().await;
    let spec = atelier_runtime::contract::new_spec();
    world.runtime.prepare_storage(&spec).await.unwrap();
    world.runtime.set_aside(spec.notebook).await.unwrap();
    let caller = World::caller('a');
    let discard = || world.engine.discard_volume(&caller, Whose::Everybodys, "r", spec.notebook);
    world.script.fails(Call::Remove, 1, RuntimeError::Transient);
    assert_eq!(discard().await.unwrap_err().code(), Code::Internal);
    assert_eq!((world.events(spec.notebook).await, world.audit().await.len()), (vec![], 0));
    let answers = futures_util::future::join_all((0..8).map(|_| discard())).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!((world.events(spec.notebook).await, world.audit().await.len()), (vec!["orphan.removed".into()], 1));
}

#[tokio::test]
async fn on_a_full_disk_the_trash_makes_room() {
    let mut world = World::new().await;
    let ids = [world.deleted().await, world.running().await];
    world.reopen(EngineConfig { disk_reserve_bytes: u64::MAX, ..EngineConfig::default() }).await;
    world.delete(ids[1]).await.unwrap();
    world.vanishes(ids[1]).await;
    // Waits for who empties it.
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, []);
    for id in ids {
        let last = world.store_events(id).await.pop().unwrap();
        assert!(last.what == "volume.removed" && last.why.contains("nearly full"), "{last:?}");
    }
}

#[tokio::test]
async fn a_volume_that_cannot_be_removed_keeps_no_other_from_making_room() {
    let mut world = World::new().await;
    let stuck = world.deleted().await;
    world.time.advance(1);
    world.deleted().await;
    world.reopen(EngineConfig { disk_reserve_bytes: u64::MAX, ..EngineConfig::default() }).await;
    // One round, and none of the engine's own before it.
    world.engine.shut_down().await;
    world.script.fails(Call::Remove, 1, RuntimeError::Permanent);
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, [stuck]);
}

#[tokio::test]
async fn a_clock_that_is_set_takes_nothing_out_of_the_trash_early() {
    let world = World::new().await;
    let id = world.deleted().await;
    for jump in [100 * DAY, -100 * DAY] {
        world.time.jump(jump);
        world.looks();
        world.engine.follow_jump().await;
        world.time.advance(DAY / 2 - 1);
        world.engine.empty_trash().await;
        assert_eq!(world.in_trash().await, [id], "after {jump}");
    }
    world.time.advance(DAY);
    world.engine.empty_trash().await;
    assert_eq!(world.in_trash().await, []);
}
