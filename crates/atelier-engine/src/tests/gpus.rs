//! GPUs: given whole, to one notebook at a time, and never promised twice.

use atelier_core::flavor::Flavor;
use atelier_core::gpu::FlavorGpus;

use super::pools::{code, flavor};
use super::*;

const ONE: &str = "one";
const TWO: &str = "two-a";
const OTHER: &str = "one-b";

/// A small flavor without GPUs, and with one of any kind, two of A, one of B.
fn flavors() -> Vec<Flavor> {
    let small = Flavor::defaults().remove(3);
    let with = |id: &str, count: u32, kind: Option<&str>| Flavor {
        id: id.into(),
        gpus: FlavorGpus::of(count, kind),
        ..small.clone()
    };
    vec![small.clone(), with(ONE, 1, None), with(TWO, 2, Some("A")), with(OTHER, 1, Some("B"))]
}

impl World {
    async fn with_gpus(kinds: &[&str]) -> Self {
        let mut world = Self::new().await;
        world.reopen_with_gpus(kinds).await;
        world
    }

    async fn reopen_with_gpus(&mut self, kinds: &[&str]) {
        self.runtime.pretend_gpus(kinds);
        self.reopen(EngineConfig { flavors: flavors(), ..EngineConfig::default() }).await;
    }

    async fn make_as(&self, id: &str) -> Result<NotebookId, Refusal> {
        self.make('a', None, flavor(id)).await
    }

    async fn running_as(&self, id: &str) -> NotebookId {
        let id = self.make_as(id).await.unwrap();
        self.reaches(id, Status::Running).await;
        id
    }

    async fn rests(&self, id: NotebookId) {
        self.stop(id).await.unwrap();
        self.reaches(id, Status::Stopped).await;
    }

    /// The flavors on offer, each with whether it is sold out and how many GPUs there are of its kind.
    async fn offered(&self) -> Vec<(String, bool, Option<u32>)> {
        let offered = self.engine.flavors().await.unwrap().into_iter();
        offered.map(|one| (one.flavor.id, one.sold_out, one.gpu_kind.map(|kind| kind.count))).collect()
    }

    async fn sold_out(&self) -> Vec<String> {
        self.offered().await.into_iter().filter(|(_, sold_out, _)| *sold_out).map(|(id, ..)| id).collect()
    }
}

#[tokio::test]
async fn what_a_notebook_has_nobody_else_gets_until_it_has_stopped() {
    let world = World::with_gpus(&["A", "B", "A"]).await;
    assert_eq!(world.sold_out().await, [""; 0]);
    let first = world.running_as(ONE).await;
    assert_eq!(world.runtime.gpus_of(first), [0], "of the kind that there is most of");
    assert_eq!(world.sold_out().await, [TWO]);
    assert_eq!(code(world.make_as(TWO).await), Code::FlavorSoldOut);
    let (second, other) = (world.running_as(ONE).await, world.running_as(OTHER).await);
    assert_eq!((world.runtime.gpus_of(second), world.runtime.gpus_of(other)), (vec![2], vec![1]));
    assert_eq!(world.sold_out().await, [ONE, TWO, OTHER]);

    world.rests(first).await;
    assert_eq!(world.sold_out().await, [TWO, OTHER]);
    world.rests(second).await;
    let both = world.running_as(TWO).await;
    assert_eq!(world.runtime.gpus_of(both), [0, 2]);
    assert_eq!(code(world.start(first).await), Code::NoCapacity);
    world.delete(both).await.unwrap();
    world.is_gone(both).await;
    world.start(first).await.unwrap();
    world.reaches(first, Status::Running).await;
}

#[tokio::test]
async fn flavors_with_gpus_are_listed_where_there_are_gpus() {
    let world = World::with_gpus(&[]).await;
    let small = "atelier.cpu.small".to_owned();
    assert_eq!(world.offered().await, [(small.clone(), false, None)]);
    assert_eq!(code(world.make_as(ONE).await), Code::FlavorSoldOut);
    // The driver was installed meanwhile.
    world.runtime.pretend_gpus(&["B"]);
    let listed =
        [(small, false, None), (ONE.into(), false, Some(1)), (TWO.into(), true, None), (OTHER.into(), false, Some(1))];
    assert_eq!(world.offered().await, listed);
    let id = world.running_as(ONE).await;
    world.rests(id).await;
    let switchable = world.engine.switchable_flavors(&World::caller('a'), id).await.unwrap();
    assert_eq!(switchable.len(), 3, "all but its own");
    world.runtime.pretend_gpus(&[]);
    assert_eq!(code(world.start(id).await), Code::FlavorSoldOut);
    assert_eq!(world.engine.switchable_flavors(&World::caller('a'), id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restart_of_the_server_gives_no_gpu_twice() {
    let mut world = World::with_gpus(&["A", "A"]).await;
    let first = world.running_as(ONE).await;
    world.restart().await;
    world.reopen_with_gpus(&["A", "A"]).await;
    assert_eq!(world.runtime.gpus_of(first), [0]);
    let second = world.running_as(ONE).await;
    assert_eq!(world.runtime.gpus_of(second), [1]);
    assert_eq!(code(world.make_as(ONE).await), Code::FlavorSoldOut);
}

#[tokio::test]
async fn a_notebook_counts_for_the_kind_that_it_was_let_in_for() {
    let world = World::with_gpus(&["B", "A", "B"]).await;
    let first = world.running_as(ONE).await;
    assert_eq!(world.runtime.gpus_of(first), [0], "one of B");
    // One of B was lost, and two of A were found: from now on A is what there is most of.
    world.runtime.pretend_gpus(&["B", "A", "A", "A"]);
    assert_eq!(world.sold_out().await, [OTHER]);
    assert_eq!(code(world.make_as(OTHER).await), Code::FlavorSoldOut);
    let (second, both) = (world.running_as(ONE).await, world.running_as(TWO).await);
    assert_eq!((world.runtime.gpus_of(second), world.runtime.gpus_of(both)), (vec![1], vec![2, 3]));
    // The flavor leaves the kind open, so the next start is of the kind that is meant then.
    world.rests(both).await;
    world.rests(first).await;
    world.start(first).await.unwrap();
    world.reaches(first, Status::Running).await;
    assert_eq!(world.runtime.gpus_of(first), [2]);
    assert_eq!(world.sold_out().await, [TWO]);
}

#[tokio::test]
async fn what_its_flavor_names_by_now_counts_at_a_start() {
    let mut world = World::with_gpus(&["A"]).await;
    let id = world.running_as(ONE).await;
    world.rests(id).await;
    // The operator has put in others and named them; then others again, and the flavor is gone.
    let mut named = flavors();
    named[1].gpus = FlavorGpus::of(1, Some("B"));
    for (kind, flavors) in [("B", named), ("C", flavors()[..1].to_vec())] {
        world.runtime.pretend_gpus(&[kind]);
        world.reopen(EngineConfig { flavors, ..EngineConfig::default() }).await;
        world.start(id).await.unwrap();
        world.reaches(id, Status::Running).await;
        assert_eq!(world.show(id).await.flavor.gpus, FlavorGpus::of(1, Some(kind)));
        world.rests(id).await;
    }
}
