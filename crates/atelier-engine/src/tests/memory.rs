//! Memory of notebooks that runs out.

use atelier_core::id::NotebookId;
use atelier_core::status::Status;
use atelier_runtime::{OutOfMemory, Share, Victim};

use super::World;

fn short(notebook: NotebookId) -> OutOfMemory {
    let victim = Victim::Kernel("0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001".into());
    OutOfMemory {
        notebook,
        victim,
        held: 430 << 20,
        peak: Some(512 << 20),
        limit: Some(512 << 20),
        whose: Share::Notebook,
    }
}

#[tokio::test]
async fn the_history_says_what_was_killed_and_what_it_held() {
    let world = World::new().await;
    let id = world.running().await;
    let before = world.show(id).await;
    world.runtime.run_out_of_memory(short(id));
    assert_eq!(
        world.has_events(id, "memory.exhausted", 1).await,
        "memory ran out: kernel `0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001` was killed, which held 430 MiB; the notebook held 512 \
         MiB at most; its limit is 512 MiB"
    );
    let after = world.show(id).await;
    assert_eq!((after.status(), after.lease), (Status::Running, before.lease));
}

#[tokio::test]
async fn of_a_notebook_that_is_not_there_nothing_is_said() {
    let world = World::new().await;
    let (gone, id) = (world.running().await, world.running().await);
    world.delete(gone).await.unwrap();
    world.has_events(gone, "delete.done", 1).await;
    world.runtime.run_out_of_memory(short(gone));
    world.runtime.run_out_of_memory(short(id));
    world.has_events(id, "memory.exhausted", 1).await;
    assert_eq!(world.events(gone).await.last().unwrap(), "delete.done");
}
