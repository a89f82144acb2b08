//! Volumes that notebooks share.

use atelier_core::id::VolumeId;
use atelier_core::notebook::Notebook;
use atelier_core::status::{Event, Status};
use atelier_core::volume::{Volume, VolumeKind};

use super::sample::{Distinct, NOW, Person, event, insert, insertion, removal};
use crate::{Commit, Committed, Condition, NotebookStore, NotebookWrite, Sharing};

fn fresh() -> VolumeId {
    VolumeId::generate(NOW, &Distinct)
}

/// A notebook that has a shared volume, and is being deleted.
fn sharing(person: &Person, name: &str, id: VolumeId) -> Notebook {
    let mut notebook = person.notebook_in(name, Status::Deleting);
    notebook.volume = Volume { id, kind: VolumeKind::Shared { capacity_gib: 50 } };
    notebook
}

/// What the store says of it: by how many notebooks it is used, and by how many in the trash it was.
async fn known(store: &impl NotebookStore, id: VolumeId) -> Option<(u64, u64)> {
    let all = store.shared_volumes().await.unwrap();
    all.iter().find(|shared| shared.id == id).map(|shared| (shared.in_use, shared.in_trash))
}

/// What the notebook's owner has in its workspace.
async fn share_of(store: &impl NotebookStore, notebook: &Notebook) -> Option<Volume> {
    let Notebook { project_id, owner, workspace_id, .. } = notebook;
    store.share_of(project_id, &owner.user_id, workspace_id).await.unwrap()
}

async fn write(store: &impl NotebookStore, write: NotebookWrite) -> Committed {
    store.commit(Commit { notebook: Some(write), ..Commit::default() }).await.unwrap()
}

async fn set_aside(store: &impl NotebookStore, notebook: &mut Notebook) {
    notebook.apply(Event::Gone, NOW).unwrap();
    write(store, NotebookWrite::SetAside(Box::new(notebook.clone()))).await;
}

fn on_one_share(commit: Commit, sharing: Sharing) -> Commit {
    Commit { conditions: vec![Condition::OneShare(sharing)], ..commit }
}

/// Each notebook counts where it is: among the others, in the trash, or nowhere. Only one that nobody needs is forgotten.
pub async fn a_shared_volume_is_there_as_long_as_a_notebook_is(store: &impl NotebookStore) {
    let (person, id) = (Person::new(), fresh());
    let own = person.notebook("own");
    insert(store, [&own]).await;
    assert_eq!(share_of(store, &own).await, None, "that is nobody else's");
    let mut first = sharing(&person, "first", id);
    let mut second = sharing(&person, "second", id);
    insert(store, [&first, &second]).await;
    assert_eq!((known(store, id).await, store.shared_volumes().await.unwrap().len()), (Some((2, 0)), 1));
    set_aside(store, &mut first).await;
    assert_eq!(known(store, id).await, Some((1, 1)));
    set_aside(store, &mut second).await;
    assert_eq!(known(store, id).await, Some((0, 2)));
    assert_eq!(share_of(store, &own).await, None, "what rests in the trash is not shared");

    write(store, NotebookWrite::Discard(first.id)).await;
    assert_eq!(known(store, id).await, Some((0, 2)), "what leaves is there until it has left");
    write(store, NotebookWrite::Forget(first.id)).await;
    assert_eq!(known(store, id).await, Some((0, 1)));
    second.apply(Event::Restored, NOW).unwrap();
    write(store, NotebookWrite::Restore(Box::new(second.clone()))).await;
    assert_eq!(known(store, id).await, Some((1, 0)));
    let removed = || Some(event(&second, "volume.removed"));
    let told = async || store.events(second.id, None, 10).await.unwrap().len();
    store.forget_shared_volume(id, removed()).await.unwrap();
    assert_eq!((known(store, id).await, told().await), (Some((1, 0)), 0), "somebody has it");

    assert_eq!(store.commit(removal(&second)).await.unwrap(), Committed::Written(0));
    let [left]: [_; 1] = store.shared_volumes().await.unwrap().try_into().unwrap();
    assert!(left.id == id && left.is_left());
    assert_eq!(left.last, Some((second.id, second.project_id.clone())));
    for _ in 0..2 {
        store.forget_shared_volume(id, removed()).await.unwrap();
        assert_eq!((known(store, id).await, told().await), (None, 1), "it is told once");
    }
}

/// An owner has one in a workspace, however many ask at once, and however it comes to be there.
pub async fn notebooks_of_one_workspace_share_one_volume(store: &impl NotebookStore) {
    let person = Person::new();
    let all: Vec<_> = (0..8).map(|n| sharing(&person, &format!("nb-{n}"), fresh())).collect();
    let asked = all.iter().map(|notebook| store.commit(on_one_share(insertion(notebook), Sharing::Brings)));
    let answers = futures_util::future::join_all(asked).await;
    let written: Vec<_> = answers.iter().filter(|answer| matches!(answer, Ok(Committed::Written(_)))).collect();
    assert_eq!(written.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Committed::Written(_) | Committed::OtherShare))));
    let [share]: [_; 1] = store.shared_volumes().await.unwrap().try_into().unwrap();

    let mut elsewhere = sharing(&person, "in another workspace", fresh());
    elsewhere.workspace_id = "another".into();
    let foreign = sharing(&person.elsewhere(), "in another project", fresh());
    let others = sharing(&Person::new(), "of somebody else", fresh());
    let joining = sharing(&person, "joining", share.id);
    let brought = [&elsewhere, &foreign, &others].map(|notebook| (notebook, Sharing::Brings));
    for (notebook, sharing) in brought.into_iter().chain([(&joining, Sharing::Joins)]) {
        let answer = store.commit(on_one_share(insertion(notebook), sharing)).await.unwrap();
        assert_eq!(answer, Committed::Written(0), "{}", notebook.name);
    }
    assert_eq!(known(store, share.id).await, Some((2, 0)));
    for notebook in [&elsewhere, &foreign, &others, &joining] {
        assert_eq!(share_of(store, notebook).await.as_ref(), Some(&notebook.volume), "{}", notebook.name);
    }
    let mut late = sharing(&person, "late", fresh());
    let late_one = store.commit(on_one_share(insertion(&late), Sharing::Brings)).await.unwrap();
    assert_eq!(late_one, Committed::OtherShare);

    insert(store, [&late]).await;
    set_aside(store, &mut late).await;
    late.apply(Event::Restored, NOW).unwrap();
    let restored = Commit { notebook: Some(NotebookWrite::Restore(Box::new(late.clone()))), ..Commit::default() };
    assert_eq!(store.commit(on_one_share(restored, Sharing::Returns)).await.unwrap(), Committed::OtherShare);
    assert_eq!(known(store, late.volume.id).await, Some((0, 1)), "it rests in the trash as before");
}

/// What rests in the trash is restored with the notebook that had it, and is nobody else's; so is what is being removed.
pub async fn a_volume_that_nobody_has_any_more_is_not_used_anew(store: &impl NotebookStore) {
    let (person, id) = (Person::new(), fresh());
    let mut first = sharing(&person, "first", id);
    insert(store, [&first]).await;
    set_aside(store, &mut first).await;
    let second = sharing(&person, "second", id);
    let is_refused = async |sharing, why| {
        let answer = store.commit(on_one_share(insertion(&second), sharing)).await.unwrap();
        assert_eq!(answer, Committed::OtherShare, "{sharing:?}: {why}");
    };
    for sharing in [Sharing::Joins, Sharing::Brings] {
        is_refused(sharing, "it rests in the trash").await;
    }
    write(store, NotebookWrite::Discard(first.id)).await;
    write(store, NotebookWrite::Forget(first.id)).await;
    for sharing in [Sharing::Joins, Sharing::Brings] {
        is_refused(sharing, "it is being removed").await;
    }
    let [left]: [_; 1] = store.shared_volumes().await.unwrap().try_into().unwrap();
    assert_eq!(left.last.unwrap().0, first.id, "it was in the trash last");
    store.forget_shared_volume(id, None).await.unwrap();
    is_refused(Sharing::Joins, "it is gone").await;

    let mut third = sharing(&person, "third", fresh());
    insert(store, [&third]).await;
    set_aside(store, &mut third).await;
    third.apply(Event::Restored, NOW).unwrap();
    let restored = Commit { notebook: Some(NotebookWrite::Restore(Box::new(third))), ..Commit::default() };
    let answer = store.commit(on_one_share(restored, Sharing::Returns)).await.unwrap();
    assert!(matches!(answer, Committed::Written(_)), "{answer:?}");
}
