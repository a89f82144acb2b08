//! Hooks: in which order they run, what a start makes of their ends, and what a crash makes of them.

use std::time::Duration;

use atelier_core::Code;
use atelier_core::hook::{Action, Hook, Hooks, Mode, Moment};
use atelier_core::id::NotebookId;
use atelier_core::operation::StepName;
use atelier_core::status::Status;
use atelier_runtime::simulated::Call;
use atelier_runtime::{Fate, HookEnd, HookRun, Observed, Runtime as _, RuntimeError};
use atelier_store::NotebookStore as _;
use futures_util::FutureExt as _;

use super::{MACHINE, Turn, World};
use crate::{CreateNotebook, UpdateNotebook};

const DONE: &str = "hook.done";
const FAILED: &str = "hook.failed";
/// How long the end of a hook is waited for: its limit of ten minutes, and a moment.
const PATIENCE_MS: i64 = 615_000;

fn hook(mode: Mode) -> Option<Hook> {
    Hook::new("hook", Action::Command("echo".into()), mode).ok()
}

fn both(mode: Mode) -> Hooks {
    Hooks { pre_start: hook(mode), post_start: hook(mode) }
}

fn end(fate: Fate, said: &str) -> HookEnd {
    HookEnd { fate, millis: 12, said: said.into(), told: false }
}

impl World {
    async fn create_with(&self, hooks: Hooks) -> NotebookId {
        let wish = CreateNotebook { hooks, ..Self::wish("nb") };
        self.engine.create(&Self::caller('a'), "r1", wish).await.unwrap().id
    }

    async fn set_hooks(&self, id: NotebookId, hooks: Hooks) -> Result<(), Code> {
        let wanted = UpdateNotebook { hooks: Some(hooks), ..UpdateNotebook::default() };
        let updated = self.engine.update(&Self::caller('a'), "r5", id, wanted).await;
        updated.map(drop).map_err(|refusal| refusal.code())
    }

    fn moments_begun(&self) -> Vec<Moment> {
        self.runtime.hooks_begun().into_iter().map(|hook| hook.moment).collect()
    }

    /// Returns when a start waits for a hook.
    async fn waits_for(&self, id: NotebookId, moment: Moment) {
        let note = format!("running the hook `{}`", moment.as_str());
        while self.engine.note(id).as_ref() != Some(&note) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn hooks_that_block_run_around_the_server_s_start_at_each_start() {
    let world = World::new().await;
    world.script.on(Call::Initialize, Turn::Waits);
    let id = world.create_with(both(Mode::Block)).await;
    world.script.reached().await;
    let run =
        HookRun { moment: Moment::PreStart, action: Action::Command("echo".into()), limit: Duration::from_mins(10) };
    assert_eq!(world.runtime.hooks_begun(), [run], "the server is started after the one, before the other");
    assert_eq!(world.events(id).await, ["create.asked", DONE]);
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
    assert_eq!(world.moments_begun(), Moment::ALL);
    assert_eq!(world.events(id).await, ["create.asked", DONE, DONE, "create.done"]);
    assert_eq!(world.has_events(id, DONE, 2).await, "the hook `post_start` ended with status 0 after 0 ms");

    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
    assert_eq!(world.moments_begun(), [Moment::ALL, Moment::ALL].concat());
}

#[tokio::test]
async fn a_hook_that_blocks_and_fails_makes_the_start_fail_and_an_update_cures_it() {
    for moment in Moment::ALL {
        let world = World::new().await;
        world.runtime.pretend_hook(moment, Some(end(Fate::Status(3), "doing\nno such file\n")));
        let id = world.create_with(both(Mode::Block)).await;
        let failed = world.reaches(id, Status::StartFailed).await;
        let name = moment.as_str();
        let why = format!("the hook `{name}` ended with status 3 after 12 ms: doing / no such file");
        assert_eq!(failed.fail_reason.unwrap(), format!("initialize the instance: {why}"));
        assert_eq!(world.has_events(id, FAILED, 1).await, why);
        assert_eq!(world.events(id).await.last().unwrap(), "create.failed");
        assert_eq!(world.runtime.observe(id).await.unwrap(), Observed::Absent);
        assert_eq!(world.runtime.list().await.unwrap(), [id], "the volume is kept");

        world.start(id).await.unwrap();
        world.reaches(id, Status::StartFailed).await;
        world.set_hooks(id, Hooks::default()).await.unwrap();
        let begun = world.moments_begun().len();
        world.start(id).await.unwrap();
        world.reaches(id, Status::Running).await;
        assert_eq!(world.moments_begun().len(), begun, "there is none any more");
        assert_eq!(world.set_hooks(id, both(Mode::Async)).await, Err(Code::FieldLocked));
        world.set_hooks(id, Hooks::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_does_not_wait_for_other_hooks_and_their_ends_are_told() {
    let world = World::new().await;
    for moment in Moment::ALL {
        world.runtime.pretend_hook(moment, None);
    }
    let id = world.create_with(both(Mode::Async)).await;
    world.reaches(id, Status::Running).await;
    assert_eq!(world.events(id).await, ["create.asked", "create.done"]);
    world.runtime.pretend_hook(Moment::PreStart, Some(end(Fate::Signal(9), "")));
    let told = world.has_events(id, FAILED, 1).await;
    assert_eq!(told, "the hook `pre_start` was killed by signal 9 after 12 ms");
    world.runtime.pretend_hook(Moment::PostStart, Some(end(Fate::Status(0), "fine")));
    world.has_events(id, DONE, 1).await;
    assert_eq!(world.show(id).await.status(), Status::Running);
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_waited_for_a_moment_longer_than_it_may_run_and_not_for_ever() {
    let world = World::new().await;
    world.runtime.pretend_hook(Moment::PreStart, None);
    let id = world.create_with(both(Mode::Block)).await;
    world.waits_for(id, Moment::PreStart).await;
    let shown = world.show(id).await.progress;
    let note = shown.iter().find_map(|step| step.note.as_deref());
    assert_eq!(note, Some("running the hook `pre_start`"), "people see what it waits for");
    let operation = world.store.unfinished_operations_of(id).await.unwrap().remove(0);
    let view = world.engine.operation(&World::caller('a'), crate::Whose::Own, operation.id).await.unwrap();
    let ends = view.step_deadline.unwrap().millis_since(view.operation.began_at);
    let longest = i64::try_from(crate::steps::longest(StepName::InitializeInstance).as_millis()).unwrap();
    assert_eq!(ends, longest + 2 * PATIENCE_MS, "nobody is told an earlier end");

    world.time.advance(PATIENCE_MS - 1);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.show(id).await.status(), Status::Creating);
    world.time.advance(1);
    let reason = world.reaches(id, Status::StartFailed).await.fail_reason.unwrap();
    assert!(reason.ends_with("the hook `pre_start` ran over its time and was killed after 600000 ms"), "{reason}");
}

#[tokio::test]
async fn a_deletion_wins_at_once_over_a_hook_that_is_waited_for() {
    for moment in Moment::ALL {
        let world = World::new().await;
        world.runtime.pretend_hook(moment, None);
        let id = world.create_with(both(Mode::Block)).await;
        world.waits_for(id, moment).await;
        world.delete(id).await.unwrap();
        world.vanishes(id).await;
    }
}

#[tokio::test]
async fn a_server_that_died_meanwhile_waits_for_the_hook_that_it_had_begun() {
    for moment in Moment::ALL {
        let mut world = World::new().await;
        world.runtime.pretend_hook(moment, None);
        let id = world.create_with(both(Mode::Block)).await;
        world.waits_for(id, moment).await;
        world.restart().await;
        world.reaches(id, Status::Running).await;
        let rest: Vec<_> = Moment::ALL.into_iter().filter(|later| *later > moment).collect();
        assert_eq!(world.moments_begun(), rest, "in the same container none is begun twice");
        let done = world.events(id).await.into_iter().filter(|what| what == DONE).count();
        assert_eq!(done, 2, "each end is told once");
    }
}

#[tokio::test]
async fn what_ended_while_no_server_ran_is_told_by_the_next_one_and_once() {
    let mut world = World::new().await;
    world.runtime.pretend_hook(Moment::PostStart, None);
    let id = world.create_with(both(Mode::Async)).await;
    world.reaches(id, Status::Running).await;
    world.has_events(id, DONE, 1).await;
    world.restart().await;
    let told = world.has_events(id, DONE, 2).await;
    assert!(told.contains("post_start"), "{told}");
    while !world.runtime.hook_end(id, Moment::PostStart).await.unwrap().told {
        tokio::task::yield_now().await;
    }
    world.restart().await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    assert_eq!(world.events(id).await.into_iter().filter(|what| what == DONE).count(), 2);
    assert_eq!(world.moments_begun(), [], "a notebook that is found running has had its hooks");
}

#[tokio::test]
async fn a_server_that_is_started_again_in_its_container_runs_no_hook() {
    let world = World::new().await;
    let id = world.create_with(both(Mode::Block)).await;
    world.reaches(id, Status::Running).await;
    world.runtime.break_server(id).unwrap();
    world.engine.reconcile().await;
    world.has_events(id, "server.restarted", 1).await;
    assert_eq!(world.moments_begun(), Moment::ALL);
}

#[tokio::test]
async fn a_reboot_runs_the_hooks_of_the_fresh_container() {
    let mut world = World::new().await;
    let id = world.create_with(both(Mode::Block)).await;
    world.reaches(id, Status::Running).await;
    world.runtime.reboot().unwrap();
    world.restart().await;
    world.has_events(id, "start.done", 1).await;
    assert_eq!(world.moments_begun(), Moment::ALL);
}

/// Notebooks are started again a few at a time, and a hook may take minutes.
#[tokio::test]
async fn after_a_reboot_a_hook_holds_up_no_other_notebook() {
    let mut world = World::new().await;
    let id = world.create_with(both(Mode::Block)).await;
    world.reaches(id, Status::Running).await;
    world.runtime.reboot().unwrap();
    world.script.on(Call::BeginHook, Turn::Waits);
    world.restart().await;
    world.script.reached().await;
    let mut turns = Vec::new();
    for _ in 0..MACHINE.cpu_millis / 500 {
        turns.push(world.engine.inner.revivals.turn().now_or_never().expect("a turn is held"));
    }
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn beginning_a_hook_is_tried_again_and_does_not_begin_two() {
    let world = World::new().await;
    world.script.fails(Call::BeginHook, 1, RuntimeError::Transient);
    world.script.on(Call::BeginHook, Turn::LosesItsReply);
    let id = world.create_with(Hooks { pre_start: hook(Mode::Block), post_start: None }).await;
    world.reaches(id, Status::Running).await;
    assert_eq!(world.moments_begun(), [Moment::PreStart]);

    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    world.script.fails(Call::BeginHook, 1, RuntimeError::Permanent);
    world.start(id).await.unwrap();
    let reason = world.reaches(id, Status::StartFailed).await.fail_reason;
    assert_eq!(reason.as_deref(), Some("initialize the instance: injected"));
}
