//! Nothing stays under way: calls that hang, drivers that are lost, and what they leave.

use super::*;
use crate::steps::limit;
use atelier_core::operation::StepName;

fn millis(step: StepName) -> i64 {
    limit(step).as_millis().try_into().unwrap()
}

impl World {
    /// Returns when no call for the notebook hangs any more.
    async fn returned(&self, id: NotebookId) {
        while !self.engine.inner.hands.hanging(id).is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Returns when nothing is suspected to be left of any notebook.
    async fn tidied(&self) {
        while !self.engine.inner.suspects.is_empty() {
            self.engine.collect().await;
            tokio::task::yield_now().await;
        }
    }

    /// Returns when the notebook has this event.
    async fn has_event(&self, id: NotebookId, what: &str) {
        while !self.events(id).await.iter().any(|e| e == what) {
            tokio::task::yield_now().await;
        }
    }
}

const STEPS: [(Call, StepName); 4] = [
    (Call::PrepareStorage, StepName::PrepareStorage),
    (Call::PrepareCompute, StepName::PrepareCompute),
    (Call::ConfigureNetwork, StepName::ConfigureNetwork),
    (Call::Initialize, StepName::InitializeInstance),
];

#[tokio::test]
async fn a_step_that_never_ends_fails_after_three_tries_and_not_a_millisecond_before() {
    for (call, step) in STEPS {
        let world = World::new().await;
        for _ in 0..3 {
            world.script.on(call, Turn::Waits);
        }
        let id = world.create().await;
        for _ in 0..3 {
            world.script.reached().await;
            world.time.advance(millis(step) - 1);
            tokio::task::yield_now().await;
            assert_eq!(world.show(id).await.status(), Status::Creating, "{call:?}");
            world.time.advance(1);
        }
        let wanted = if step == StepName::InitializeInstance { Status::StartFailed } else { Status::CreateFailed };
        let reason = world.reaches(id, wanted).await.fail_reason.unwrap();
        let limit = limit(step).as_secs();
        assert_eq!(reason, format!("{}: not done within {limit} s (tried 3 times)", step.description()));
    }
}

#[tokio::test]
async fn a_call_that_hangs_in_the_kernel_fails_its_operation_at_once_and_is_not_tried_again() {
    for (call, step) in STEPS {
        let world = World::new().await;
        world.script.on(call, Turn::Blocks);
        let id = world.create().await;
        world.script.reached().await;
        world.time.advance(millis(step));
        let wanted = if step == StepName::InitializeInstance { Status::StartFailed } else { Status::CreateFailed };
        let reason = world.reaches(id, wanted).await.fail_reason.unwrap();
        assert!(reason.contains(step.description()) && reason.contains("does not return"), "{reason}");
        let hanging = world.engine.inner.hands.hanging(id);
        assert_eq!(hanging.iter().map(|c| c.what).collect::<Vec<_>>(), [step.description()]);
        assert_eq!(hanging[0].since.as_millis(), START);

        // The kernel answers after all, and the call goes on where it was.
        world.engine.collect().await;
        assert!(!world.engine.inner.suspects.is_empty(), "as long as it hangs, something may come");
        world.script.release();
        world.returned(id).await;
        world.tidied().await;
        let left = if wanted == Status::StartFailed { vec![id] } else { Vec::new() };
        assert_eq!(world.runtime.list().await.unwrap(), left, "{call:?}");
        assert_eq!(world.runtime.observe(id).await.unwrap(), atelier_runtime::Observed::Absent, "{call:?}");
    }
}

#[tokio::test]
async fn other_notebooks_do_not_notice_a_call_that_hangs() {
    let world = World::new().await;
    world.script.on(Call::PrepareCompute, Turn::Blocks);
    let hung = world.create().await;
    world.script.reached().await;
    let other = world.running().await;
    world.stop(other).await.unwrap();
    world.reaches(other, Status::Stopped).await;
    assert_eq!(world.show(hung).await.status(), Status::Creating);
}

#[tokio::test]
async fn a_server_with_a_hanging_call_ends_and_its_successor_goes_on() {
    let mut world = World::new().await;
    world.script.on(Call::PrepareCompute, Turn::Blocks);
    let id = world.create().await;
    world.script.reached().await;
    world.restart().await;
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn a_hanging_undo_does_not_hold_up_the_shutdown() {
    let mut world = World::new().await;
    world.script.fails(Call::PrepareCompute, 1, RuntimeError::Permanent);
    world.script.on(Call::Stop, Turn::Blocks);
    let id = world.create().await;
    world.script.reached().await;
    world.restart().await;
    world.reaches(id, Status::CreateFailed).await;
}

#[tokio::test]
async fn an_undo_that_hangs_is_given_up_once_and_its_left_overs_are_collected() {
    let world = World::new().await;
    world.script.fails(Call::ConfigureNetwork, 1, RuntimeError::Permanent);
    world.script.on(Call::Stop, Turn::Blocks);
    let id = world.create().await;
    world.script.reached().await;
    world.time.advance(millis(StepName::StopInstance));
    let failed = world.reaches(id, Status::CreateFailed).await;
    assert!(failed.fail_reason.unwrap().contains("injected"), "the cause is the step's, not the undo's");
    assert_eq!(world.runtime.list().await.unwrap(), [id], "nothing more was tried");
    world.script.release();
    world.returned(id).await;
    world.tidied().await;
    assert_eq!(world.runtime.list().await.unwrap(), []);
    world.has_event(id, "left-overs.collected").await;
}

#[tokio::test]
async fn a_deletion_that_hangs_fails_and_can_be_tried_again() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::SetAside, Turn::Blocks);
    world.delete(id).await.unwrap();
    world.script.reached().await;
    world.time.advance(millis(StepName::RemoveStorage));
    let failed = world.reaches(id, Status::DeleteFailed).await;
    assert!(failed.fail_reason.unwrap().contains("does not return"));
    world.script.release();
    world.delete(id).await.unwrap();
    world.vanishes(id).await;
}

#[tokio::test]
async fn a_stop_that_hangs_is_an_error_and_its_instance_is_stopped_later() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::Stop, Turn::Blocks);
    world.stop(id).await.unwrap();
    world.script.reached().await;
    world.time.advance(millis(StepName::StopInstance));
    world.reaches(id, Status::Error).await;
    world.script.release();
    world.returned(id).await;
    world.tidied().await;
    assert_eq!(world.runtime.observe(id).await.unwrap(), atelier_runtime::Observed::Absent);
    world.start(id).await.unwrap();
    world.reaches(id, Status::Running).await;
}

#[tokio::test]
async fn a_lost_reply_and_a_panic_are_tried_again() {
    for turn in [|| Turn::LosesItsReply, || Turn::Panics] {
        for (call, _) in STEPS {
            let world = World::new().await;
            world.script.on(call, turn());
            let id = world.create().await;
            world.reaches(id, Status::Running).await;
        }
    }
}

#[tokio::test]
async fn an_image_that_never_comes_is_waited_for_half_an_hour() {
    let world = World::new().await;
    world.script.on(Call::PrepareImage, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    world.time.advance(30 * 60_000 - 1);
    tokio::task::yield_now().await;
    assert_eq!(world.show(id).await.status(), Status::Creating);
    world.time.advance(1);
    world.reaches(id, Status::CreateFailed).await;
}

#[tokio::test]
async fn an_operation_that_nobody_drives_is_driven_again() {
    let world = World::new().await;
    let id = world.running().await;
    // A driver that takes its place and is lost, as by a defect.
    let lost = loop {
        match world.engine.inner.drivers.enter(id, world.engine.now()) {
            Some(place) => break place,
            // The one that made it run has not left yet.
            None => tokio::task::yield_now().await,
        }
    };
    world.stop(id).await.unwrap();
    drop(lost);
    assert_eq!(world.show(id).await.status(), Status::Stopping);
    world.time.advance(crate::watchdog::LOOK_MS);
    world.reaches(id, Status::Stopped).await;
}

#[tokio::test]
async fn a_notebook_under_way_without_an_operation_ends_in_its_failed_status() {
    let mut world = World::new().await;
    let id = world.running().await;
    let damaged = world.show(id).await.with_stored_status(Status::Starting);
    let write = atelier_store::NotebookWrite::Update(Box::new(damaged));
    world.store.commit(atelier_store::Commit { notebook: Some(write), ..Default::default() }).await.unwrap();
    world.restart().await;
    world.engine.look_after_drivers().await;
    let failed = world.reaches(id, Status::StartFailed).await;
    assert!(failed.fail_reason.unwrap().contains("STARTING without an operation"));
    world.has_event(id, "stranded").await;
}
