//! Deleted notebooks whose volumes rest in the trash.

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::status::{Event, Status};

use super::sample::{NOW, Person, assert_kept, assert_same, event, insert, insertion};
use crate::{Commit, Committed, Condition, NotebookStore, NotebookWrite, TrashQuery, Trashed};

const EVERYTHING: TrashQuery = TrashQuery { id: None, of: None, due: None, limit: u32::MAX };

fn write(write: NotebookWrite) -> Commit {
    Commit { notebook: Some(write), ..Commit::default() }
}

/// A notebook that was set aside `ms` after the moment when everything is made.
pub(super) async fn set_aside(store: &impl NotebookStore, person: &Person, name: &str, ms: i64) -> Notebook {
    let mut notebook = person.notebook_in(name, Status::Deleting);
    insert(store, [&notebook]).await;
    notebook.apply(Event::Gone, NOW.plus_millis(ms)).unwrap();
    let aside = write(NotebookWrite::SetAside(Box::new(notebook.clone())));
    assert_eq!(store.commit(aside).await.unwrap(), Committed::Written(0));
    notebook
}

async fn ids(store: &impl NotebookStore, query: TrashQuery) -> Vec<NotebookId> {
    store.trash(&query).await.unwrap().into_iter().map(|trashed| trashed.notebook.id).collect()
}

/// What was set aside is in the trash as it was, and nowhere else.
pub async fn what_is_set_aside_is_in_the_trash_only(store: &impl NotebookStore) {
    let person = Person::new();
    let mut stale = person.notebook_in("stale", Status::Deleting);
    insert(store, [&stale]).await;
    stale.generation += 1;
    let lost = store.commit(write(NotebookWrite::SetAside(Box::new(stale.clone())))).await.unwrap();
    assert_eq!(lost, Committed::Lost);
    assert!(store.notebook(stale.id).await.unwrap().is_some());
    assert!(store.trash(&EVERYTHING).await.unwrap().is_empty(), "a refused write writes nothing");

    let notebook = set_aside(store, &person, "笔记本", 5).await;
    assert!(store.notebook(notebook.id).await.unwrap().is_none());
    let [trashed]: [Trashed; 1] = store.trash(&EVERYTHING).await.unwrap().try_into().unwrap();
    assert_same(&trashed.notebook, &notebook);
    assert_eq!((trashed.since, trashed.leaves), (NOW.plus_millis(5), false));
}

/// The trash is listed by id, by owner and by age, the oldest first.
pub async fn the_trash_is_listed_by_each_condition(store: &impl NotebookStore) {
    let (person, other) = (Person::new(), Person::new());
    let late = set_aside(store, &person, "late", 9).await.id;
    let early = set_aside(store, &person, "early", 5).await.id;
    let foreign = set_aside(store, &other, "foreign", 7).await.id;
    set_aside(store, &person.elsewhere(), "elsewhere", 8).await;
    let of = Some((person.project_id.clone(), person.owner.user_id.clone()));
    assert_eq!(ids(store, TrashQuery { of: of.clone(), ..EVERYTHING }).await, [early, late]);
    assert_eq!(ids(store, TrashQuery { of, limit: 1, ..EVERYTHING }).await, [early]);
    assert_eq!(ids(store, TrashQuery { id: Some(foreign), ..EVERYTHING }).await, [foreign]);
    assert_eq!(ids(store, TrashQuery { due: Some(NOW.plus_millis(7)), ..EVERYTHING }).await, [early, foreign]);
    store.commit(write(NotebookWrite::Discard(late))).await.unwrap();
    assert_eq!(ids(store, TrashQuery { due: Some(NOW), ..EVERYTHING }).await, [late], "what leaves is due");
}

/// What rests in the trash is restored once, as a row like any other, and on the conditions of one.
pub async fn what_rests_in_the_trash_is_restored_once(store: &impl NotebookStore) {
    let person = Person::new();
    let mut notebook = set_aside(store, &person, "nb", 5).await;
    notebook.apply(Event::Restored, NOW.plus_millis(6)).unwrap();
    let restoring = |notebook: &Notebook| Commit {
        notebook: Some(NotebookWrite::Restore(Box::new(notebook.clone()))),
        events: vec![event(notebook, "restored")],
        conditions: vec![Condition::NameIsFree],
        ..Commit::default()
    };
    let namesake = person.notebook_in("nb", Status::Stopped);
    store.commit(insertion(&namesake)).await.unwrap();
    assert_eq!(store.commit(restoring(&notebook)).await.unwrap(), Committed::NameTaken);
    assert_eq!(ids(store, EVERYTHING).await, [notebook.id]);

    notebook.name = "other".into();
    let restored = store.commit(restoring(&notebook)).await.unwrap();
    assert_eq!(restored, Committed::Written(notebook.generation));
    assert_kept(store, &notebook).await;
    assert!(ids(store, EVERYTHING).await.is_empty());
    notebook.name = "again".into();
    assert_eq!(store.commit(restoring(&notebook)).await.unwrap(), Committed::Lost, "it is there");
    let unconditional = Commit { conditions: Vec::new(), events: Vec::new(), ..restoring(&notebook) };
    assert_eq!(store.commit(unconditional).await.unwrap(), Committed::Missing, "it is not in the trash");
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap().len(), 1);
}

/// What leaves the trash is not restored; it is gone when it is forgotten.
pub async fn what_leaves_the_trash_is_not_restored(store: &impl NotebookStore) {
    let person = Person::new();
    let mut notebook = set_aside(store, &person, "nb", 5).await;
    let id = notebook.id;
    assert_eq!(store.commit(write(NotebookWrite::Forget(id))).await.unwrap(), Committed::Missing);
    assert_eq!(store.commit(write(NotebookWrite::Discard(id))).await.unwrap(), Committed::Written(0));
    assert_eq!(store.commit(write(NotebookWrite::Discard(id))).await.unwrap(), Committed::Missing);
    assert!(store.trash(&EVERYTHING).await.unwrap()[0].leaves);
    notebook.apply(Event::Restored, NOW).unwrap();
    let restored = store.commit(write(NotebookWrite::Restore(Box::new(notebook)))).await.unwrap();
    assert_eq!(restored, Committed::Missing);
    assert_eq!(store.commit(write(NotebookWrite::Forget(id))).await.unwrap(), Committed::Written(0));
    assert!(ids(store, EVERYTHING).await.is_empty());
}

/// The trash follows a wall clock that was set.
pub async fn the_trash_follows_the_clock(store: &impl NotebookStore) {
    let person = Person::new();
    for ms in [5, 90] {
        set_aside(store, &person, "nb", ms).await;
    }
    store.shift_trash(50, NOW.plus_millis(100)).await.unwrap();
    let since: Vec<_> = store.trash(&EVERYTHING).await.unwrap().iter().map(|t| t.since.millis_since(NOW)).collect();
    assert_eq!(since, [55, 100]);
}
