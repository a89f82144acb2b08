//! Volumes that grow: in every status, through every fault.

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_runtime::RuntimeError;
use atelier_runtime::simulated::Call;

use super::{Turn, World};
use crate::UpdateNotebook;

async fn grow(world: &World, id: NotebookId, gib: u32) -> Result<Notebook, Refusal> {
    let wanted = UpdateNotebook { capacity_gib: Some(gib), ..UpdateNotebook::default() };
    world.engine.update(&World::caller('a'), "a request", id, wanted).await
}

/// What the notebook shows once nothing grows any more.
async fn settled(world: &World, id: NotebookId) -> Notebook {
    let mut changes = world.engine.route_changes();
    loop {
        let shown = world.show(id).await;
        if shown.volume.growing_to_gib().is_none() {
            return shown;
        }
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_running_notebook_s_volume_grows_while_it_runs() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::GrowStorage, Turn::Waits);
    let asked = grow(&world, id, 20).await.unwrap();
    assert_eq!(
        (asked.status(), asked.volume.capacity_gib(), asked.volume.growing_to_gib()),
        (Status::Running, Some(5), Some(20))
    );
    world.script.reached().await;
    assert_eq!(grow(&world, id, 20).await.unwrap().volume.growing_to_gib(), Some(20), "the same wish asks for nothing");
    assert_eq!(grow(&world, id, 21).await.unwrap_err().code(), Code::Conflict, "one growth at a time");
    world.script.gate.add_permits(1);
    assert_eq!(settled(&world, id).await.volume.capacity_gib(), Some(20));
    assert_eq!(world.events(id).await.last().unwrap(), "volume.grown");
    assert_eq!(grow(&world, id, 19).await.unwrap_err().code(), Code::VolumeSizeOutOfRange);
}

#[tokio::test]
async fn at_rest_the_new_size_is_there_at_once() {
    let world = World::new().await;
    let id = world.running().await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    let grown = grow(&world, id, 9).await.unwrap();
    assert_eq!((grown.volume.capacity_gib(), grown.volume.growing_to_gib()), (Some(9), None));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_grow_keeps_its_size_and_says_why() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.fails(Call::GrowStorage, 3, RuntimeError::Transient);
    grow(&world, id, 20).await.unwrap();
    assert_eq!(settled(&world, id).await.volume.capacity_gib(), Some(5));
    let events = world.store_events(id).await;
    let told = events.last().unwrap();
    assert_eq!(told.what, "volume.growth_failed");
    assert!(told.why.contains("keeps its 5 GiB") && told.why.contains("injected"), "{}", told.why);
    grow(&world, id, 20).await.unwrap();
    assert_eq!(settled(&world, id).await.volume.capacity_gib(), Some(20), "it can be asked for again");
}

#[tokio::test]
async fn a_growth_outlives_the_server() {
    let mut world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::GrowStorage, Turn::Waits);
    grow(&world, id, 20).await.unwrap();
    world.script.reached().await;
    world.restart().await;
    assert_eq!(settled(&world, id).await.volume.capacity_gib(), Some(20));
}

#[tokio::test]
async fn a_stop_in_the_middle_leaves_the_rest_to_the_next_start() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::GrowStorage, Turn::Waits);
    grow(&world, id, 20).await.unwrap();
    world.script.reached().await;
    let stopping = world.stop(id).await.unwrap();
    assert_eq!((stopping.volume.capacity_gib(), stopping.volume.growing_to_gib()), (Some(20), None));
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Stopped).await;
    world.start(id).await.unwrap();
    assert_eq!(world.reaches(id, Status::Running).await.volume.capacity_gib(), Some(20));
}

#[tokio::test]
async fn nothing_comes_back_when_a_deletion_was_quicker() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::GrowStorage, Turn::Waits);
    grow(&world, id, 20).await.unwrap();
    world.script.reached().await;
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
    world.script.gate.add_permits(1);
    tokio::task::yield_now().await;
    world.vanishes(id).await;
}
