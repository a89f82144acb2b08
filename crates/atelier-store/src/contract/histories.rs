//! Operations and events: what is being done to a notebook, and what was.

use std::cmp::Reverse;

use atelier_core::caller::{Actor, Origin};
use atelier_core::event::NotebookEvent;
use atelier_core::operation::{Operation, OperationKind, OperationState, StepName, StepState};

use super::sample::{NOW, Person, event, insert, insertion, operation, removal};
use super::trash::set_aside;
use crate::{Commit, Committed, NotebookStore, NotebookWrite, OperationQuery};

async fn write(store: &impl NotebookStore, operations: &[&Operation]) {
    let operations = operations.iter().copied().cloned().collect();
    let committed = store.commit(Commit { operations, ..Commit::default() }).await.unwrap();
    assert_eq!(committed, Committed::Written(0));
}

/// Every kind, state and step, with the latest writing standing, also when it has fewer steps.
pub async fn an_operation_reads_back_and_is_overwritten_in_place(store: &impl NotebookStore) {
    let person = Person::new();
    let notebook = person.notebook("nb");
    for kind in OperationKind::ALL {
        let mut operation = operation(&notebook, kind);
        write(store, &[&operation]).await;
        assert_eq!(store.operation(operation.id).await.unwrap().as_ref(), Some(&operation), "{kind}");

        let user = Actor::User(person.owner.user_id.clone(), "zoë".into());
        for actor in [user, Actor::Lease, Actor::System] {
            operation.origin = Origin { actor, request_id: Some("request".into()) };
            write(store, &[&operation]).await;
            assert_eq!(store.operation(operation.id).await.unwrap().as_ref(), Some(&operation));
        }
        for (state, step) in OperationState::ALL.into_iter().zip(StepState::ALL) {
            operation.state = state;
            operation.ended_at = state.is_ended().then_some(NOW.plus_millis(9));
            operation.error = Some(format!("{state:?} 错误"));
            operation.steps[0].state = step;
            operation.steps[0].attempts += 1;
            operation.steps[0].began_at = Some(NOW.plus_millis(1));
            operation.steps[0].ended_at = Some(NOW.plus_millis(2));
            operation.steps[0].note = Some("building the image: 40 %".into());
            write(store, &[&operation]).await;
            assert_eq!(store.operation(operation.id).await.unwrap().as_ref(), Some(&operation));
        }
        operation.steps.truncate(1);
        operation.steps[0].name = StepName::RemoveStorage;
        operation.steps[0].note = None;
        write(store, &[&operation]).await;
        assert_eq!(store.operation(operation.id).await.unwrap().as_ref(), Some(&operation));
        operation.steps.clear();
        write(store, &[&operation]).await;
        assert_eq!(store.operation(operation.id).await.unwrap(), Some(operation));
    }
}

/// One operation in each state, of different notebooks; and none after all have ended.
pub async fn unfinished_operations_are_those_that_have_not_ended(store: &impl NotebookStore) {
    let mut all = Vec::new();
    for state in OperationState::ALL.into_iter().chain(OperationState::ALL) {
        let mut operation = operation(&Person::new().notebook("nb"), OperationKind::Create);
        operation.state = state;
        write(store, &[&operation]).await;
        all.push(operation);
    }
    let unfinished: Vec<_> = all.iter().filter(|o| !o.state.is_ended()).cloned().collect();
    assert_eq!(unfinished.len(), 4);
    assert_eq!(store.unfinished_operations().await.unwrap(), unfinished);

    for operation in &mut all {
        operation.state = OperationState::Done;
        write(store, &[operation]).await;
    }
    assert_eq!(store.unfinished_operations().await.unwrap(), []);
}

/// In the order of their first writing, whatever their ids; a later writing does not move one.
pub async fn operations_of_a_notebook_come_oldest_first(store: &impl NotebookStore) {
    let (mine, theirs) = (Person::new().notebook("mine"), Person::new().notebook("theirs"));
    let mut operations: Vec<_> = (0..6).map(|_| operation(&mine, OperationKind::Stop)).collect();
    // All within one millisecond: the ids, written against their order, must not decide.
    operations.sort_by_key(|operation| Reverse(operation.id));
    write(store, &[&operations[0], &operation(&theirs, OperationKind::Stop), &operations[1]]).await;
    for operation in &operations[2..] {
        write(store, &[operation]).await;
    }
    assert_eq!(store.unfinished_operations_of(mine.id).await.unwrap(), operations);
    operations[0].state = OperationState::Done;
    operations[4].state = OperationState::Undoing;
    write(store, &[&operations[4], &operations[0]]).await;
    assert_eq!(store.operations_of(mine.id).await.unwrap(), operations);
    assert_eq!(store.unfinished_operations_of(mine.id).await.unwrap(), operations[1..]);
    assert_eq!(store.operations_of(theirs.id).await.unwrap().len(), 1);
}

/// In the order of their commits, among those of other notebooks, from any place on, at most so many.
pub async fn events_come_oldest_first_and_after_the_given_one(store: &impl NotebookStore) {
    let (mine, theirs) = (Person::new().notebook("mine"), Person::new().notebook("theirs"));
    let mut events: Vec<_> = (0..6).map(|i| event(&mine, &format!("event-{i}"))).collect();
    events.sort_by_key(|event| Reverse(event.id));
    events[1].origin = Origin { actor: Actor::Lease, request_id: None };
    events[2].origin = Origin::system();
    events[3].why = "空闲 for 1 h; CPU 0.1 %".into();
    for pair in events.chunks(2) {
        let mut appended = pair.to_vec();
        appended.insert(1, event(&theirs, "between"));
        store.commit(Commit { events: appended, ..Commit::default() }).await.unwrap();
    }
    assert_eq!(store.events(mine.id, None, 100).await.unwrap(), events);
    assert_eq!(store.events(mine.id, None, 2).await.unwrap(), events[..2]);
    assert_eq!(store.events(mine.id, None, 0).await.unwrap(), []);
    for (place, event) in events.iter().enumerate() {
        assert_eq!(store.events(mine.id, Some(event.id), 100).await.unwrap(), events[place + 1..]);
        let end = events.len().min(place + 2);
        assert_eq!(store.events(mine.id, Some(event.id), 1).await.unwrap(), events[place + 1..end]);
    }
    assert_eq!(store.events(theirs.id, None, 100).await.unwrap().len(), 3);
}

/// Of one project, everybody's or one owner's; also of notebooks that are gone.
pub async fn events_of_a_project_go_by_owner_and_outlive_notebooks(store: &impl NotebookStore) {
    let (ada, bob) = (Person::new(), Person::new());
    let (first, second, theirs) = (ada.notebook("first"), ada.notebook("second"), bob.notebook("theirs"));
    let mut written = Vec::new();
    for notebook in [&first, &theirs, &second] {
        let asked = event(notebook, "create.asked");
        written.push(asked.clone());
        store.commit(Commit { events: vec![asked], ..insertion(notebook) }).await.unwrap();
    }
    let gone = event(&first, "delete.done");
    written.push(gone.clone());
    store.commit(Commit { events: vec![gone], ..removal(&first) }).await.unwrap();

    let of = async |person: &Person, owner: bool, after, limit| {
        let owner = owner.then_some(&person.owner.user_id);
        store.project_events(&person.project_id, owner, after, limit).await.unwrap()
    };
    let mine = [written[0].clone(), written[2].clone(), written[3].clone()];
    assert_eq!(of(&ada, true, None, 100).await, mine);
    assert_eq!(of(&ada, true, Some(mine[0].id), 1).await, mine[1..2]);
    let all: Vec<_> = written.iter().filter(|event| event.project_id == ada.project_id).cloned().collect();
    assert_eq!(of(&ada, false, None, 100).await, all);
    assert_eq!(of(&ada, false, all.last().map(|event| event.id), 100).await, []);
}

/// Events that happened and operations that ended before the moment, of notebooks that are gone: they and nothing else
/// are removed, in however many steps it takes, and a second time there is nothing left to do. What rests in the trash
/// is not gone before it has left.
pub async fn only_old_history_of_what_is_gone_is_pruned(store: &impl NotebookStore) {
    let (there, gone) = (Person::new().notebook("there"), Person::new().notebook("gone"));
    insert(store, [&there]).await;
    let resting = set_aside(store, &Person::new(), "resting", 0).await;
    let (began, ended) = (NOW.plus_millis(-3), NOW.plus_millis(-1));
    for notebook in [&there, &gone, &resting] {
        let operation = |kind, state: OperationState, ended_at| {
            let ended_at = state.is_ended().then_some(ended_at);
            Operation { state, began_at: began, ended_at, ..operation(notebook, kind) }
        };
        let operations = vec![
            operation(OperationKind::Stop, OperationState::Done, ended),
            operation(OperationKind::Delete, OperationState::Failed, NOW),
            operation(OperationKind::Create, OperationState::Running, ended),
        ];
        let events = (0..1500).map(|_| NotebookEvent { at: ended, ..event(notebook, "old") }).collect();
        store.commit(Commit { operations, events, ..Commit::default() }).await.unwrap();
    }
    let late = [&there, &gone, &resting].map(|notebook| event(notebook, "late")).into();
    store.commit(Commit { events: late, ..Commit::default() }).await.unwrap();
    assert_eq!(store.prune(NOW.plus_millis(-1)).await.unwrap(), 0);
    assert_eq!(store.prune(NOW).await.unwrap(), 1501);
    assert_eq!(store.prune(NOW).await.unwrap(), 0);
    assert_eq!(store.events(gone.id, None, 9999).await.unwrap().len(), 1);
    for notebook in [&there, &resting] {
        assert_eq!(store.events(notebook.id, None, 9999).await.unwrap().len(), 1501);
        assert_eq!(store.operations_of(notebook.id).await.unwrap().len(), 3);
    }
    let kinds = |operations: Vec<Operation>| operations.iter().map(|o| o.kind).collect::<Vec<_>>();
    let left = kinds(store.operations_of(gone.id).await.unwrap());
    assert_eq!(left, [OperationKind::Delete, OperationKind::Create]);
    for leaving in [NotebookWrite::Discard(resting.id), NotebookWrite::Forget(resting.id)] {
        store.commit(Commit { notebook: Some(leaving), ..Commit::default() }).await.unwrap();
    }
    assert_eq!(store.prune(NOW).await.unwrap(), 1501);
}

/// Each name has its own text, the last one; a name that nothing was kept under has none.
pub async fn what_is_remembered_is_what_was_last_kept_under_the_name(store: &impl NotebookStore) {
    assert_eq!(store.remembered("boot").await.unwrap(), None);
    store.remember("boot", "first").await.unwrap();
    store.remember("clock", "{\"ü\": 1}").await.unwrap();
    store.remember("boot", "").await.unwrap();
    assert_eq!(store.remembered("boot").await.unwrap().as_deref(), Some(""));
    assert_eq!(store.remembered("clock").await.unwrap().as_deref(), Some("{\"ü\": 1}"));
    assert_eq!(store.remembered("check").await.unwrap(), None, "the store's own notes are not in the way");
    store.check().await.unwrap();
    assert_eq!(store.remembered("check").await.unwrap(), None);
}

/// Each condition alone, all together, and page by page; one person's are those of the notebooks that they have.
pub async fn operations_are_listed_newest_first_by_each_filter(store: &impl NotebookStore) {
    let (ada, bob) = (Person::new(), Person::new());
    let (mine, theirs) = (ada.notebook("mine"), bob.notebook("theirs"));
    let gone = ada.notebook("gone");
    insert(store, [&mine, &theirs]).await;
    let mut all = Vec::new();
    for notebook in [&mine, &theirs, &gone] {
        for kind in OperationKind::ALL {
            let mut operation = operation(notebook, kind);
            operation.state = if kind == OperationKind::Stop { OperationState::Failed } else { OperationState::Done };
            write(store, &[&operation]).await;
            all.push(operation);
        }
    }
    all.reverse();
    let every = OperationQuery { limit: 100, ..OperationQuery::default() };
    let listed = async |query: OperationQuery| store.operations(&query).await.unwrap();
    let those = |wanted: &dyn Fn(&Operation) -> bool| all.iter().filter(|o| wanted(o)).cloned().collect::<Vec<_>>();
    assert_eq!(listed(every.clone()).await, all);
    let of = Some((ada.project_id.clone(), ada.owner.user_id.clone()));
    let found = listed(OperationQuery { of: of.clone(), ..every.clone() }).await;
    assert_eq!(found, those(&|o| o.notebook_id == mine.id));
    let found = listed(OperationQuery { notebook_id: Some(gone.id), ..every.clone() }).await;
    assert_eq!(found, those(&|o| o.notebook_id == gone.id));
    let found = listed(OperationQuery { state: Some(OperationState::Failed), ..every.clone() }).await;
    assert_eq!(found, those(&|o| o.kind == OperationKind::Stop));
    let found = listed(OperationQuery { kind: Some(OperationKind::Delete), of, ..every.clone() }).await;
    assert_eq!(found, those(&|o| o.notebook_id == mine.id && o.kind == OperationKind::Delete));
    let found = listed(OperationQuery { before: Some(all[3].id), limit: 2, ..every }).await;
    assert_eq!(found, all[4..6]);
}
