//! Operations as people see and steer them.

use super::*;
use crate::Whose;
use atelier_core::id::OperationId;
use atelier_store::OperationQuery;

impl World {
    async fn newest(&self, id: NotebookId) -> OperationId {
        self.store.operations_of(id).await.unwrap().last().unwrap().id
    }

    async fn view(&self, id: OperationId) -> crate::OperationView {
        self.engine.operation(&Self::caller('a'), Whose::Own, id).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_cancelled_is_taken_back_and_fails_with_who_did_it() {
    for (call, wanted) in [
        (Call::PrepareStorage, Status::CreateFailed),
        (Call::PrepareCompute, Status::CreateFailed),
        (Call::Initialize, Status::StartFailed),
    ] {
        let world = World::new().await;
        world.script.on(call, Turn::Waits);
        let id = world.create().await;
        world.script.reached().await;
        let operation = world.newest(id).await;
        let caller = World::caller('a');
        let cancelled = world.engine.cancel_operation(&caller, Whose::Own, "r", operation).await.unwrap();
        assert!(matches!(cancelled.operation.state, OperationState::Undoing | OperationState::Failed));
        let failed = world.reaches(id, wanted).await;
        assert_eq!(failed.fail_reason.as_deref(), Some("cancelled by user user-a"), "{call:?}");
        let left = if wanted == Status::StartFailed { vec![id] } else { Vec::new() };
        assert_eq!(world.runtime.list().await.unwrap(), left, "{call:?}");
        assert_eq!(world.events(id).await, ["create.asked", "create.cancel.asked", "create.failed"]);
        let again = world.engine.cancel_operation(&caller, Whose::Own, "r", operation).await.unwrap_err();
        assert_eq!(again.code(), Code::Conflict);
        assert!(again.message().contains("is failed"), "{again}");
    }
}

#[tokio::test]
async fn a_cancelled_deletion_can_be_asked_for_again() {
    let world = World::new().await;
    let id = world.running().await;
    world.script.on(Call::Stop, Turn::Waits);
    world.delete(id).await.unwrap();
    world.script.reached().await;
    let (caller, operation) = (World::caller('a'), world.newest(id).await);
    world.engine.cancel_operation(&caller, Whose::Own, "r", operation).await.unwrap();
    world.reaches(id, Status::DeleteFailed).await;
    let retried = world.engine.retry_operation(&caller, "r", operation).await.unwrap();
    assert_ne!(retried.operation.id, operation);
    world.vanishes(id).await;
}

#[tokio::test]
async fn what_failed_is_asked_for_again_by_the_same_command() {
    let world = World::new().await;
    let caller = World::caller('a');
    world.script.fails(Call::Initialize, 1, RuntimeError::Permanent);
    let id = world.create().await;
    world.reaches(id, Status::StartFailed).await;
    let create = world.newest(id).await;
    let retried = world.engine.retry_operation(&caller, "r", create).await.unwrap();
    assert_eq!(retried.operation.kind, OperationKind::Start);
    world.reaches(id, Status::Running).await;
    let done = world.engine.retry_operation(&caller, "r", retried.operation.id).await.unwrap_err();
    assert!(done.message().contains("only a failed one"), "{done}");

    world.script.fails(Call::PrepareCompute, 1, RuntimeError::Permanent);
    let id = world.create().await;
    world.reaches(id, Status::CreateFailed).await;
    let refused = world.engine.retry_operation(&caller, "r", world.newest(id).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.message().contains("create it anew"), "{refused}");
}

#[tokio::test]
async fn a_view_says_who_drives_it_and_until_when() {
    let world = World::new().await;
    world.script.on(Call::ConfigureNetwork, Turn::Waits);
    let id = world.create().await;
    world.script.reached().await;
    let operation = world.newest(id).await;
    let seen = world.view(operation).await;
    assert_eq!(seen.driven_since.unwrap().as_millis(), START);
    assert_eq!(seen.step_deadline.unwrap().as_millis(), START + 33_000);
    // Three tries of the last step come after it.
    assert_eq!(seen.deadline.unwrap().as_millis(), START + 33_000 + 3 * 121_000);
    assert_eq!((seen.notebook_name.as_deref(), seen.status), (Some("nb"), Some(Status::Creating)));
    world.script.gate.add_permits(1);
    world.reaches(id, Status::Running).await;
    let seen = world.view(operation).await;
    assert_eq!(
        (seen.driven_since, seen.step_deadline, seen.deadline, seen.next.as_str()),
        (None, None, None, "nothing")
    );
}

#[tokio::test]
async fn people_see_their_own_operations_and_administrators_all() {
    let world = World::new().await;
    let id = world.running().await;
    let (operation, other) = (world.newest(id).await, World::caller('b'));
    let every = OperationQuery { limit: 10, ..OperationQuery::default() };
    assert!(world.engine.operations(&other, Whose::Own, every.clone()).await.unwrap().is_empty());
    let hidden = world.engine.operation(&other, Whose::Own, operation).await.unwrap_err();
    assert_eq!(hidden.code(), Code::NotFound);
    assert!(world.engine.cancel_operation(&other, Whose::Own, "r", operation).await.is_err());
    assert!(world.engine.retry_operation(&other, "r", operation).await.is_err());
    let all = world.engine.operations(&other, Whose::Everybodys, every).await.unwrap();
    assert_eq!(all.iter().map(|v| v.operation.id).collect::<Vec<_>>(), [operation]);
    assert!(world.engine.operation(&other, Whose::Everybodys, operation).await.is_ok());
}
