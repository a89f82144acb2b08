//! Pools: shares that are apart, with flavors, quotas and sizes of their own.

use atelier_core::flavor::{CUSTOM, CustomSpec, Flavor, Held};
use atelier_core::pool::Pool;

use super::*;
use crate::UpdateNotebook;

const TEAM: &str = "team-a";
const FREE: &str = "modelarts.vm.cpu.free";
const SMALL: &str = "atelier.cpu.small";

/// Half of the CPUs and a quarter of the memory of the machine.
fn team() -> Pool {
    let flavors = Flavor::defaults().into_iter().filter(|flavor| [FREE, SMALL].contains(&flavor.id.as_str()));
    Pool {
        id: TEAM.into(),
        name: "Team A".into(),
        cpu_millis: 2000,
        memory_mib: 4096,
        flavors: flavors.collect(),
        notebooks_per_user: Some(2),
    }
}

impl World {
    /// The same world, opened anew with these pools.
    async fn with_pools(mut self, pools: Vec<Pool>) -> Self {
        self.reopen(EngineConfig { cpu_overcommit: 1, memory_overcommit: 1, pools, ..EngineConfig::default() }).await;
        self
    }

    pub(super) async fn make(&self, who: char, pool_id: Option<&str>, size: Size) -> Result<NotebookId, Refusal> {
        let wish = CreateNotebook { pool_id: pool_id.map(str::to_owned), size, ..World::wish("nb") };
        Ok(self.engine.create(&World::caller(who), "r", wish).await?.id)
    }

    /// Returns when the notebook is gone; others may be there.
    pub(super) async fn is_gone(&self, id: NotebookId) {
        let mut changes = self.engine.route_changes();
        while self.engine.route(id).is_some() {
            changes.changed().await.unwrap();
        }
    }

    async fn stopped_in_the_pool(&self, size: Size) -> NotebookId {
        let id = self.make('a', Some(TEAM), size).await.unwrap();
        self.reaches(id, Status::Running).await;
        self.stop(id).await.unwrap();
        self.reaches(id, Status::Stopped).await;
        id
    }
}

pub(super) fn flavor(id: &str) -> Size {
    Size::Flavor(id.into())
}

fn custom(cpu_millis: u32, memory_mib: u64) -> Size {
    Size::Custom(CustomSpec { cpu_millis, memory_mib })
}

pub(super) fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.unwrap_err().code()
}

fn changed_to(size: Size) -> UpdateNotebook {
    UpdateNotebook { size: Some(size), ..UpdateNotebook::default() }
}

#[tokio::test]
async fn what_a_pool_holds_is_apart_from_the_rest_of_the_machine() {
    let world = World::new().await.with_pools(vec![team()]).await;
    let two = "modelarts.vm.cpu.2u";
    let public = world.make('a', None, flavor(two)).await.unwrap();
    assert_eq!(world.reaches(public, Status::Running).await.pool, None);
    assert_eq!(code(world.make('a', None, flavor(SMALL)).await), Code::FlavorSoldOut, "2 of 2 public CPUs are held");
    let pooled = world.make('a', Some(TEAM), flavor(FREE)).await.unwrap();
    assert_eq!(world.reaches(pooled, Status::Running).await.pool, Some(team().in_pool()));
    assert_eq!(code(world.make('b', Some(TEAM), flavor(SMALL)).await), Code::FlavorSoldOut, "2 of 2 of the pool");

    let [rest, of_team] = &world.engine.offers().await.unwrap()[..] else { panic!("two shares") };
    assert_eq!((rest.pool.as_ref(), rest.held.cpu_millis, rest.capacity.cpu_millis), (None, 2000, 2000));
    assert_eq!((rest.capacity.memory_bytes, of_team.capacity.memory_bytes), (12 << 30, 4 << 30));
    assert_eq!((of_team.pool.clone(), of_team.held.memory_bytes), (Some(team().in_pool()), 4 << 30));
    let offered: Vec<_> = of_team.flavors.iter().map(|one| (one.flavor.id.as_str(), one.sold_out)).collect();
    assert_eq!(offered, [(FREE, true), (SMALL, true)]);
    let (held, machine) = world.engine.room().await.unwrap();
    assert_eq!((held.cpu_millis, machine), (4000, MACHINE));

    world.delete(pooled).await.unwrap();
    world.is_gone(pooled).await;
    assert_eq!(code(world.make('a', None, flavor(SMALL)).await), Code::FlavorSoldOut, "the pool's room is the pool's");
    let again = world.make('b', Some(TEAM), flavor(SMALL)).await.unwrap();
    world.engine.delete(&World::caller('b'), "r", again).await.unwrap();
}

#[tokio::test]
async fn a_pool_has_its_own_flavors_and_quota() {
    let world = World::new().await.with_pools(vec![team()]).await;
    let unknown = world.make('a', Some("team-b"), flavor(SMALL)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::BadValue);
    assert!(unknown.message().contains("`pool_id`") && unknown.message().contains("team-b"), "{}", unknown.message());
    let elsewhere = world.make('a', Some(TEAM), flavor("modelarts.vm.cpu.2u")).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::UnknownFlavor);
    assert!(elsewhere.message().contains(FREE) && elsewhere.message().contains(TEAM), "{}", elsewhere.message());

    for pool_id in [None, Some(TEAM), Some(TEAM)] {
        world.make('a', pool_id, flavor(SMALL)).await.unwrap();
    }
    let third = world.make('a', Some(TEAM), flavor(SMALL)).await.unwrap_err();
    assert_eq!(third.code(), Code::QuotaExhausted);
    assert!(third.message().contains("2 notebooks per user in pool `team-a`"), "{}", third.message());
    world.make('a', None, flavor(SMALL)).await.unwrap();
    world.make('b', Some(TEAM), flavor(SMALL)).await.unwrap();
}

#[tokio::test]
async fn a_notebook_in_a_pool_may_say_its_size_itself() {
    let world = World::new().await.with_pools(vec![team()]).await;
    for (pool_id, size, named) in [
        (None, custom(400, 513), "`pool_id`"),
        (Some(TEAM), custom(2001, 513), "`custom_spec.cpu` must be at most 2, all CPUs of pool `team-a`"),
        (Some(TEAM), custom(400, 4097), "`custom_spec.memory` must be at most 4096 MiB"),
    ] {
        let refusal = world.make('a', pool_id, size).await.unwrap_err();
        assert_eq!(refusal.code(), Code::BadValue);
        assert!(refusal.message().contains(named), "{}", refusal.message());
    }
    let id = world.make('a', Some(TEAM), custom(1250, 3000)).await.unwrap();
    let made = world.reaches(id, Status::Running).await;
    assert_eq!(
        (made.flavor.id.as_str(), made.flavor.custom_spec().map(Size::Custom)),
        (CUSTOM, Some(custom(1250, 3000)))
    );
    let container = world.folder.path().join("sim").join(id.to_string()).join("container");
    assert_eq!(std::fs::read_to_string(container).unwrap(), format!("1250 m, {} bytes", 3000_u64 << 20));
    assert_eq!(code(world.make('b', Some(TEAM), custom(1250, 600)).await), Code::FlavorSoldOut);
    let small = world.make('b', Some(TEAM), custom(750, 1096)).await.unwrap();
    world.engine.delete(&World::caller('b'), "r", small).await.unwrap();
}

#[tokio::test]
async fn a_change_of_size_stays_in_the_pool() {
    let world = World::new().await.with_pools(vec![team()]).await;
    let caller = World::caller('a');
    let id = world.stopped_in_the_pool(flavor(SMALL)).await;
    let switchable = world.engine.switchable_flavors(&caller, id).await.unwrap();
    assert_eq!(switchable.iter().map(|one| one.flavor.id.as_str()).collect::<Vec<_>>(), [FREE]);
    let update = async |size| world.engine.update(&caller, "r", id, changed_to(size)).await;
    assert_eq!(code(update(flavor("modelarts.vm.cpu.2u")).await), Code::FlavorNotSwitchable);
    assert_eq!(code(update(custom(2001, 600)).await), Code::BadValue);
    assert_eq!(update(custom(1000, 600)).await.unwrap().flavor.id, CUSTOM);
    assert_eq!(update(flavor(CUSTOM)).await.unwrap().flavor.cpu_millis, 1000, "it is so already");
    assert_eq!(update(custom(1500, 600)).await.unwrap().flavor.cpu_millis, 1500);
    let other = world.make('b', Some(TEAM), flavor(SMALL)).await.unwrap();
    world.engine.start(&caller, "r", id, None, None).await.unwrap();
    world.reaches(id, Status::Running).await;
    assert_eq!(
        update(custom(1500, 600)).await.unwrap().status(),
        Status::Running,
        "what is so may be said at any time"
    );
    let locked = update(custom(400, 600)).await.unwrap_err();
    assert_eq!(locked.code(), Code::FieldLocked);
    assert!(locked.message().contains("`custom_spec`"), "{}", locked.message());
    world.engine.delete(&World::caller('b'), "r", other).await.unwrap();

    let public = world.running().await;
    world.stop(public).await.unwrap();
    world.reaches(public, Status::Stopped).await;
    let refused = world.engine.update(&caller, "r", public, changed_to(custom(400, 600))).await;
    assert_eq!(code(refused), Code::FlavorNotSwitchable, "it is in no pool");
}

#[tokio::test]
async fn a_start_is_held_against_the_pool() {
    let world = World::new().await.with_pools(vec![team()]).await;
    let id = world.stopped_in_the_pool(custom(2000, 600)).await;
    let other = world.make('b', Some(TEAM), flavor(SMALL)).await.unwrap();
    assert_eq!(code(world.start(id).await), Code::NoCapacity, "1.5 of 2 CPUs are left");
    world.engine.delete(&World::caller('b'), "r", other).await.unwrap();
    world.is_gone(other).await;
    world.start(id).await.unwrap();
}

#[tokio::test]
async fn a_notebook_of_a_pool_that_is_gone_ends_its_run_and_starts_no_more() {
    let world = World::new().await.with_pools(vec![team()]).await;
    let (resting, running) =
        (world.stopped_in_the_pool(flavor(SMALL)).await, world.make('a', Some(TEAM), flavor(FREE)));
    let running = running.await.unwrap();
    world.reaches(running, Status::Running).await;

    let world = world.with_pools(Vec::new()).await;
    let [public] = &world.engine.offers().await.unwrap()[..] else { panic!("one share") };
    assert_eq!(public.held, Held { cpu_millis: 2000, memory_bytes: 4 << 30 });
    assert_eq!(world.show(resting).await.pool, Some(team().in_pool()), "it still says where it was");
    let refused = world.start(resting).await.unwrap_err();
    assert_eq!(refused.code(), Code::NoCapacity);
    assert!(refused.message().contains(TEAM), "{}", refused.message());
    assert!(world.engine.switchable_flavors(&World::caller('a'), resting).await.unwrap().is_empty());
    let switched = world.engine.update(&World::caller('a'), "r", resting, changed_to(flavor(FREE))).await;
    assert_eq!(code(switched), Code::FlavorNotSwitchable);
    world.stop(running).await.unwrap();
    world.reaches(running, Status::Stopped).await;
    world.delete(running).await.unwrap();

    let world = world.with_pools(vec![team()]).await;
    world.start(resting).await.unwrap();
}

#[tokio::test]
async fn pools_that_are_larger_than_the_machine_keep_the_engine_from_opening() {
    let world = World::new().await;
    world.engine.shut_down().await;
    let twin = Pool { id: "team-b".into(), cpu_millis: 2001, ..team() };
    let config = EngineConfig { pools: vec![team(), twin], ..EngineConfig::default() };
    let (store, runtime) = (world.store.clone(), world.runtime.clone());
    let opened = Engine::open(config, store, runtime, world.time.clone(), world.entropy.clone()).await;
    let Err(error) = opened else { panic!("it opened") };
    assert!(error.to_string().contains("`cpu_millis` 4001") && error.to_string().contains("4000"), "{error}");
}
