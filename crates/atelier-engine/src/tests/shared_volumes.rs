//! Volumes that notebooks share, and folders of the operator's.

use atelier_core::id::VolumeId;
use atelier_core::volume::{Volume, VolumeKind};

use super::*;
use crate::UpdateNotebook;
use crate::operations::Whose;

impl World {
    fn sharing(name: &str) -> CreateNotebook {
        CreateNotebook { volume: NewVolume::Shared { capacity_gib: None }, ..Self::wish(name) }
    }

    async fn made(&self, wish: CreateNotebook) -> Notebook {
        let id = self.engine.create(&Self::caller('a'), "r", wish).await.unwrap().id;
        self.reaches(id, Status::Running).await
    }

    async fn sharers(&self) -> [Notebook; 2] {
        [self.made(Self::sharing("one")).await, self.made(Self::sharing("two")).await]
    }

    /// The notebook is deleted, whatever others there are.
    async fn gone(&self, id: NotebookId) {
        self.delete(id).await.unwrap();
        self.goes(id).await;
    }

    async fn goes(&self, id: NotebookId) {
        let mut changes = self.engine.route_changes();
        while self.engine.route(id).is_some() {
            changes.changed().await.unwrap();
        }
    }

    async fn bring_back(&self, id: NotebookId) -> Result<Notebook, Refusal> {
        self.engine.restore(&Self::caller('a'), Whose::Own, "r", id, None).await
    }

    async fn discarded(&self, id: NotebookId) {
        self.engine.discard_volume(&Self::caller('a'), Whose::Own, "r", id).await.unwrap();
    }

    /// What was removed with this notebook, in words.
    async fn removals(&self, id: NotebookId) -> Vec<String> {
        self.events(id).await.into_iter().filter(|what| what.ends_with(".removed")).collect()
    }

    /// What is in the shared volume of this id.
    fn file_in(&self, share: VolumeId) -> std::path::PathBuf {
        self.folder.path().join("sim/shares").join(share.to_string()).join("file")
    }

    /// The shared volumes that the runtime has; the store must know the same.
    async fn shares(&self) -> Vec<VolumeId> {
        let mut held: Vec<_> = self.runtime.shares().await.unwrap().into_iter().map(|shared| shared.id).collect();
        held.sort_unstable();
        let known: Vec<_> = self.store.shared_volumes().await.unwrap().into_iter().map(|shared| shared.id).collect();
        assert_eq!(held, known);
        held
    }
}

#[tokio::test]
async fn a_shared_volume_goes_with_the_last_notebook_that_could_come_back_to_it() {
    let world = World::new().await;
    let [one, two] = world.sharers().await;
    let share = one.volume.id;
    assert_eq!(one.volume, Volume { id: share, kind: VolumeKind::Shared { capacity_gib: 50 } });
    assert_eq!(two.volume, one.volume);
    std::fs::write(world.file_in(share), "work").unwrap();

    world.gone(one.id).await;
    world.stop(two.id).await.unwrap();
    world.reaches(two.id, Status::Stopped).await;
    world.start(two.id).await.unwrap();
    world.reaches(two.id, Status::Running).await;
    world.discarded(one.id).await;
    assert_eq!(world.shares().await, [share], "the other one has it");
    assert_eq!(world.removals(one.id).await, ["packages.removed"]);

    world.gone(two.id).await;
    world.engine.empty_trash().await;
    assert_eq!(world.shares().await, [share], "the other one can be restored");
    assert_eq!(world.engine.lost_shared_volumes().await.unwrap(), []);
    let [trashed]: [_; 1] = world.engine.trash(&World::caller('a'), Whose::Own).await.unwrap().try_into().unwrap();
    let own = "50 GiB".len() as u64;
    assert_eq!(trashed.bytes, Some(own + 4), "its packages and what they shared");
    assert_eq!(world.engine.set_aside_census(), (2, own + 4));
    world.discarded(two.id).await;
    assert_eq!(world.shares().await, []);
    assert_eq!(world.removals(two.id).await, ["packages.removed", "volume.removed"]);
    let told = world.store_events(two.id).await.pop().unwrap();
    assert!(told.why.contains(&share.to_string()) && told.project_id == two.project_id, "{told:?}");
    assert_eq!(world.removals(one.id).await.len(), 1, "it was not the last one");
}

#[tokio::test]
async fn a_volume_that_several_rest_on_is_counted_once() {
    let world = World::new().await;
    let [one, two] = world.sharers().await;
    std::fs::write(world.file_in(one.volume.id), "work").unwrap();
    for id in [one.id, two.id] {
        world.gone(id).await;
        world.time.advance(1);
    }
    let trash = world.engine.trash(&World::caller('a'), Whose::Own).await.unwrap();
    let own = "50 GiB".len() as u64;
    let bytes: Vec<_> = trash.iter().map(|trashed| (trashed.notebook.id, trashed.bytes)).collect();
    assert_eq!(bytes, [(one.id, Some(own)), (two.id, Some(own + 4))]);
}

#[tokio::test]
async fn a_notebook_of_which_nothing_is_on_the_disk_does_not_leave_to_make_room() {
    let mut world = World::new().await;
    world.made(World::sharing("one")).await;
    world.script.fails(Call::PrepareCompute, 1, RuntimeError::Permanent);
    let two = world.engine.create(&World::caller('a'), "r", World::sharing("two")).await.unwrap();
    world.reaches(two.id, Status::CreateFailed).await;
    world.gone(two.id).await;
    let three = world.made(World::sharing("three")).await;
    world.gone(three.id).await;
    world.reopen(EngineConfig { disk_reserve_bytes: u64::MAX, ..EngineConfig::default() }).await;
    world.engine.empty_trash().await;
    let trash = world.engine.trash(&World::caller('a'), Whose::Own).await.unwrap();
    let left: Vec<_> = trash.iter().map(|trashed| (trashed.notebook.id, trashed.bytes)).collect();
    assert_eq!(left, [(two.id, None)], "the other one has left");
}

#[tokio::test]
async fn what_is_left_is_removed_by_one_at_a_time() {
    let world = World::new().await;
    let notebook = world.made(World::sharing("nb")).await;
    world.gone(notebook.id).await;
    // The rounds are this test's alone.
    world.engine.shut_down().await;
    world.time.advance(24 * HOUR);
    world.script.on(Call::RemoveShare, Turn::Waits);
    world.script.fails(Call::RemoveShare, 1, RuntimeError::Permanent);
    let removes = world.engine.empty_trash();
    let comes_late = async {
        world.script.reached().await;
        let mut late = Box::pin(world.engine.remove_left_shared_volumes());
        assert!(futures_util::poll!(&mut late).is_pending());
        world.script.gate.add_permits(1);
        late.await.unwrap();
    };
    tokio::join!(removes, comes_late);
    assert_eq!(world.shares().await, []);
    assert_eq!(world.script.turns.lock().unwrap()[&Call::RemoveShare].len(), 1, "it was removed twice");
}

#[tokio::test]
async fn a_restored_notebook_finds_what_it_shared() {
    let world = World::new().await;
    let [one, two] = world.sharers().await;
    let share = one.volume.id;
    std::fs::write(world.file_in(share), "work").unwrap();
    for id in [one.id, two.id] {
        world.gone(id).await;
    }
    assert_eq!(world.bring_back(two.id).await.unwrap().volume.id, share);
    world.start(two.id).await.unwrap();
    world.reaches(two.id, Status::Running).await;
    assert_eq!(std::fs::read_to_string(world.file_in(share)).unwrap(), "work");
    assert_eq!(world.made(World::sharing("three")).await.volume.id, share, "it is in use again");
    world.discarded(one.id).await;
    assert_eq!(world.shares().await, [share]);
}

#[tokio::test]
async fn what_rests_in_the_trash_is_not_shared_anew_and_waits_for_its_place() {
    let world = World::new().await;
    let old = world.made(World::sharing("old")).await;
    world.gone(old.id).await;
    let new = world.made(World::sharing("new")).await;
    assert_ne!(new.volume.id, old.volume.id);
    let refused = world.bring_back(old.id).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.message().contains("share another volume"), "{refused}");
    world.gone(new.id).await;
    assert_eq!(world.bring_back(old.id).await.unwrap().volume, old.volume);
    assert_eq!(world.bring_back(new.id).await.unwrap_err().code(), Code::Conflict, "now it is the other way round");
    assert_eq!(world.shares().await.len(), 2);
}

#[tokio::test]
async fn without_its_files_a_notebook_is_not_restored() {
    let world = World::new().await;
    let notebook = world.made(World::sharing("nb")).await;
    world.gone(notebook.id).await;
    world.runtime.remove_share(notebook.volume.id).await.unwrap();
    assert_eq!(world.bring_back(notebook.id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_notebook_that_is_made_while_the_last_one_goes_keeps_the_volume() {
    let mut world = World::new().await;
    world.reopen(EngineConfig { trash_ms: 0, ..EngineConfig::default() }).await;
    let last = world.made(World::sharing("last")).await;
    std::fs::write(world.file_in(last.volume.id), "work").unwrap();
    world.script.on(Call::Remove, Turn::Waits);
    world.delete(last.id).await.unwrap();
    world.script.reached().await;
    let next = world.engine.create(&World::caller('a'), "r", World::sharing("next")).await.unwrap();
    world.script.gate.add_permits(1);
    world.reaches(next.id, Status::Running).await;
    world.goes(last.id).await;
    world.engine.empty_trash().await;
    assert_eq!(next.volume, last.volume);
    assert_eq!(std::fs::read_to_string(world.file_in(last.volume.id)).unwrap(), "work");
    world.gone(next.id).await;
    world.engine.empty_trash().await;
    assert_eq!(world.shares().await, [], "nothing rests where there is no trash");
    assert_eq!((world.removals(next.id).await, world.removals(last.id).await), (vec!["volume.removed".into()], vec![]));
}

#[tokio::test]
async fn a_volume_that_is_left_is_removed_whatever_fails_on_the_way() {
    let mut world = World::new().await;
    let notebook = world.made(World::sharing("nb")).await;
    world.gone(notebook.id).await;
    // The rounds are this test's alone.
    world.engine.shut_down().await;
    world.script.fails(Call::RemoveShare, 2, RuntimeError::Transient);
    world.time.advance(24 * HOUR);
    world.engine.empty_trash().await;
    assert_eq!(world.shares().await, [notebook.volume.id]);
    world.restart().await;
    world.script.on(Call::RemoveShare, Turn::LosesItsReply);
    for _ in 0..2 {
        world.engine.empty_trash().await;
    }
    assert_eq!(world.shares().await, []);
    assert_eq!(world.removals(notebook.id).await, ["packages.removed", "volume.removed"], "each is told once");
}

#[tokio::test]
async fn of_many_that_are_made_at_once_all_share_one_volume() {
    let mut world = World::new().await;
    world.reopen(EngineConfig::default()).await;
    let names: Vec<_> = (0..6).map(|n| format!("nb-{n}")).collect();
    let caller = World::caller('a');
    let asked = names.iter().map(|name| world.engine.create(&caller, "r", World::sharing(name)));
    let made: Vec<_> = futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect();
    assert!(made.iter().all(|notebook| notebook.volume == made[0].volume));
    for notebook in &made {
        world.reaches(notebook.id, Status::Running).await;
    }
    assert_eq!(world.shares().await, [made[0].volume.id]);
    let elsewhere = CreateNotebook { workspace_id: "1".repeat(32), ..World::sharing("elsewhere") };
    let elsewhere = world.engine.create(&caller, "r", elsewhere).await.unwrap();
    let others = world.engine.create(&World::caller('b'), "r", World::sharing("others")).await.unwrap();
    assert!(elsewhere.volume.id != made[0].volume.id && others.volume.id != made[0].volume.id);
}

#[tokio::test]
async fn a_shared_volume_keeps_its_size_and_its_notebooks_are_told_when_it_fills_up() {
    let mut world = World::new().await;
    let notebook = world.made(World::sharing("nb")).await;
    let grow = |gib| {
        let wanted = UpdateNotebook { capacity_gib: Some(gib), ..UpdateNotebook::default() };
        world.engine.write_fields(&mut notebook.clone(), &wanted, &[]).map_err(|refusal| refusal.code())
    };
    assert_eq!((grow(50), grow(51)), (Ok(vec![]), Err(Code::Unsupported)));

    let share = |used| atelier_core::filling::Share { used, total: 100 };
    let nearly = atelier_core::filling::Filling { bytes: share(96), inodes: share(1) };
    world.runtime.pretend_filled(notebook.id, nearly);
    world.engine.reconcile().await;
    let told = world.store_events(notebook.id).await.pop().unwrap();
    assert!(told.what == "volume.nearly_full" && told.why.contains("all of your notebooks"), "{told:?}");

    // Whoever joins has it as it is, whatever is configured by now.
    world.reopen(EngineConfig { shared_gib: 70, ..EngineConfig::default() }).await;
    assert_eq!(world.made(World::sharing("two")).await.volume, notebook.volume);
    let thought = CreateNotebook { volume: NewVolume::Shared { capacity_gib: Some(70) }, ..World::sharing("three") };
    let refused = world.engine.create(&World::caller('a'), "r", thought).await.unwrap_err();
    assert!(refused.code() == Code::VolumeSizeOutOfRange && refused.message().contains("50 GB"), "{refused}");
}

#[tokio::test]
async fn a_shared_volume_that_nobody_knows_is_told_and_can_be_removed() {
    let world = World::new().await;
    let known = world.made(World::sharing("nb")).await;
    let mut spec = atelier_runtime::contract::new_spec();
    spec.volume.kind = VolumeKind::Shared { capacity_gib: 5 };
    world.runtime.prepare_storage(&spec).await.unwrap();
    world.runtime.remove(spec.notebook).await.unwrap();
    let lost = world.engine.lost_shared_volumes().await.unwrap();
    assert_eq!(lost.iter().map(|lost| lost.id).collect::<Vec<_>>(), [spec.volume.id]);
    world.engine.empty_trash().await;
    let discard = async |id: VolumeId, whose| {
        let named = NotebookId::from_uuid(*id.as_uuid());
        let discarded = world.engine.discard_volume(&World::caller('a'), whose, "r", named).await;
        discarded.map_err(|refusal| refusal.code())
    };
    assert_eq!(discard(spec.volume.id, Whose::Own).await, Err(Code::NotFound));
    assert_eq!(discard(known.volume.id, Whose::Everybodys).await, Err(Code::NotFound));
    assert_eq!(discard(spec.volume.id, Whose::Everybodys).await, Ok(()));
    assert_eq!(world.shares().await, [known.volume.id]);
}

#[tokio::test]
async fn a_folder_of_the_operator_s_stays_and_is_not_measured() {
    let world = World::new().await;
    let root = root(world.folder.path());
    let id: VolumeId = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap();
    let at = |uri: &str| {
        let volume = NewVolume::Dedicated { id, uri: uri.parse().unwrap() };
        CreateNotebook { volume, ..World::wish("nb") }
    };
    std::fs::write(root.join("kept"), "kept").unwrap();
    let notebook = world.made(at("nas:/export")).await;
    assert_eq!(notebook.volume.uri().unwrap().as_str(), "nas:/export");
    world.engine.reconcile().await;
    assert_eq!(world.engine.filling(notebook.id), None);
    world.gone(notebook.id).await;
    world.engine.empty_trash().await;
    world.bring_back(notebook.id).await.unwrap();
    world.gone(notebook.id).await;
    world.discarded(notebook.id).await;
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "kept");
    assert_eq!(world.removals(notebook.id).await, ["packages.removed"], "the folder stays");
    assert_eq!(world.shares().await, []);

    std::fs::create_dir(root.join("later")).unwrap();
    let late = world.made(at("nas:/export/later")).await;
    world.stop(late.id).await.unwrap();
    world.reaches(late.id, Status::Stopped).await;
    std::fs::remove_dir(root.join("later")).unwrap();
    world.start(late.id).await.unwrap();
    let failed = world.reaches(late.id, Status::StartFailed).await;
    let why = failed.fail_reason.unwrap();
    assert!(why.contains("there is no folder at `nas:/export/later`"), "{why}");
    assert!(!why.contains(root.to_str().unwrap()), "{why}");
}
