//! One write: all or nothing, by generation, and read back as it was.

use atelier_core::Timestamp;
use atelier_core::feature::Feature;
use atelier_core::hook::{Action, Hook, Mode};
use atelier_core::lease::{Grant, LeaseKind, Terms};
use atelier_core::notebook::LegacyWords;
use atelier_core::operation::{OperationKind, StepName, StepRecord, StepState};
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::tags::{TagKey, TagValue, Tags};
use atelier_core::volume::{Size, VolumeKind};
use futures_util::future::join_all;
use secrecy::SecretString;

use super::sample::{NOW, Person, assert_kept, assert_same, event, insert, insertion, operation, removal, update};
use crate::{Commit, Committed, NotebookQuery, NotebookStore};

/// Every field survives, at the ends of its range and in every script, and a list shows the same.
pub async fn a_notebook_reads_back_as_it_was_written(store: &impl NotebookStore) {
    let person = Person::new();
    let mut full = person.notebook_in("笔记本-Ünï_🦀", Status::Error);
    full.description = "line\nbreak, 'quote', \"double\", 100 % \u{200d}".into();
    full.fail_reason = Some("机器 gone; drop table notebooks".into());
    full.flavor.cpu_millis = u32::MAX;
    full.flavor.memory_mib = 1 << 40;
    full.flavor.free = true;
    full.image.size_bytes = Some(i64::MAX.unsigned_abs());
    full.volume.kind = VolumeKind::Own(Size { capacity_gib: u32::MAX - 1, growing_to_gib: Some(u32::MAX) });
    full.workspace_id = "workspace".into();
    full.create_at = NOW;
    full.update_at = NOW.plus_millis(5);
    full.lease = full.lease.rewritten(NOW.plus_millis(7), Grant::Millis(9), LeaseKind::Idle);
    full.lease = full.lease.active_at(NOW.plus_millis(8));
    full.feature = Feature::Free;
    full.tags = Tags::new([a_tag("größe", "a/b"), a_tag("k =", "")]).unwrap();
    full.next_terms = Some(Terms { grant: Grant::Never, kind: LeaseKind::Idle });
    let hook = |action, mode| Hook::new("hook", action, mode).unwrap();
    full.hooks.pre_start = Some(hook(Action::Command("echo \"组\"\nexit 3".into()), Mode::Block));
    full.hooks.post_start = Some(hook(Action::Script("/home/ma-user/work/a b.sh".into()), Mode::Async));
    full.pool = Some(InPool { id: "team-a".into(), name: "组 A".into() });
    full.legacy = LegacyWords { profile_id: Some("Multi-Engine 1.0 (python3)-cpu".into()), prompt: false };
    full.ever_ran = true;
    full.progress = vec![a_step(StepState::Done, Some("done")), a_step(StepState::Failed, None)];
    full.generation = 41;
    let mut bare = person.notebook_in("", Status::Init);
    bare.lease = bare.lease.rewritten(NOW, Grant::Never, LeaseKind::Timing);
    bare.next_terms = Some(Terms { grant: Grant::Millis(3), kind: LeaseKind::Timing });
    let mut sharing = person.notebook("sharing");
    sharing.volume.kind = VolumeKind::Shared { capacity_gib: 50 };
    let mut dedicated = person.notebook("dedicated");
    dedicated.volume.kind = VolumeKind::Dedicated("nas.example.org:/export/größe".parse().unwrap());
    insert(store, [&full, &bare, &sharing, &dedicated]).await;
    for status in Status::ALL {
        insert(store, [&person.notebook_in(status.as_str(), status)]).await;
    }

    let page = store.notebooks(&everything_of(&person)).await.unwrap();
    let by_name = [&full, &bare, &sharing, &dedicated];
    for expected in by_name {
        assert_kept(store, expected).await;
        assert_same(page.items.iter().find(|n| n.id == expected.id).unwrap(), expected);
    }
    for listed in page.items.iter().filter(|n| by_name.iter().all(|named| named.id != n.id)) {
        assert_eq!(listed.status().as_str(), listed.name);
    }
}

fn a_tag(key: &str, value: &str) -> (TagKey, TagValue) {
    (TagKey::new("key", key).unwrap(), TagValue::new("value", value).unwrap())
}

fn a_step(state: StepState, note: Option<&str>) -> StepRecord {
    StepRecord {
        name: StepName::ConfigureNetwork,
        state,
        attempts: u32::MAX,
        began_at: Some(NOW),
        ended_at: note.map(|_| Timestamp::from_millis(-1)),
        note: note.map(Into::into),
    }
}

fn everything_of(person: &Person) -> NotebookQuery {
    NotebookQuery::all_of(person.project_id.clone())
}

/// Secrets of any content, and new ones at each write.
pub async fn secrets_read_back_after_every_write(store: &impl NotebookStore) {
    let mut notebook = Person::new().notebook("nb");
    for (token, upstream) in [("first", ""), ("sécond 密", "x"), (&*"long ".repeat(1000), "y")] {
        notebook.token = SecretString::from(token);
        notebook.upstream_secret = SecretString::from(upstream);
        let commit = if token == "first" { insertion(&notebook) } else { update(&notebook) };
        let next = notebook.generation + u64::from(token != "first");
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Written(next));
        notebook.generation = next;
        assert_kept(store, &notebook).await;
    }
}

/// The second insert changes nothing, whatever its generation.
pub async fn an_insert_of_an_existing_id_is_lost(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("first");
    insert(store, [&notebook]).await;
    for generation in [0, 1] {
        let mut second = notebook.clone();
        second.name = "second".into();
        second.generation = generation;
        let commit = Commit { events: vec![event(&second, "made")], ..insertion(&second) };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Lost);
    }
    assert_kept(store, &notebook).await;
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), []);
}

/// An insert keeps the generation, an update raises it by one.
pub async fn an_update_raises_the_generation(store: &impl NotebookStore) {
    let mut notebook = Person::new().notebook("before");
    notebook.generation = 7;
    assert_eq!(store.commit(insertion(&notebook)).await.unwrap(), Committed::Written(7));
    for next in [8, 9] {
        notebook.name = format!("after {next}");
        assert_eq!(store.commit(update(&notebook)).await.unwrap(), Committed::Written(next));
        notebook.generation = next;
        assert_kept(store, &notebook).await;
    }
}

/// Neither the notebook nor the operation nor the event of a stale writer is kept.
pub async fn a_stale_update_is_lost_and_changes_nothing(store: &impl NotebookStore) {
    let mut notebook = Person::new().notebook("nb");
    notebook.generation = 3;
    insert(store, [&notebook]).await;
    for generation in [2, 4] {
        let mut stale = notebook.clone();
        stale.name = "stale".into();
        stale.generation = generation;
        let commit = Commit {
            operations: vec![operation(&stale, OperationKind::Stop)],
            events: vec![event(&stale, "stop.asked")],
            ..update(&stale)
        };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Lost, "generation {generation}");
        assert_eq!(store.commit(removal(&stale)).await.unwrap(), Committed::Lost, "generation {generation}");
    }
    assert_kept(store, &notebook).await;
    assert_eq!(store.operations_of(notebook.id).await.unwrap(), []);
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), []);
}

/// Missing is told apart from lost, before a notebook exists and after it is gone.
pub async fn what_is_not_there_is_missing(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    for round in ["never there", "removed"] {
        assert!(store.notebook(notebook.id).await.unwrap().is_none(), "{round}");
        let commit = Commit { events: vec![event(&notebook, "changed")], ..update(&notebook) };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Missing, "{round}");
        assert_eq!(store.commit(removal(&notebook)).await.unwrap(), Committed::Missing, "{round}");
        assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), [], "{round}");
        insert(store, [&notebook]).await;
        assert_eq!(store.commit(removal(&notebook)).await.unwrap(), Committed::Written(0), "{round}");
    }
    assert!(store.operation(operation(&notebook, OperationKind::Stop).id).await.unwrap().is_none());
}

/// The notebook goes; what was done to it can still be read, with what its removal added.
pub async fn a_removal_goes_by_generation_and_keeps_the_history(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    let (made, gone) = (event(&notebook, "made"), event(&notebook, "gone"));
    let (create, delete) = (operation(&notebook, OperationKind::Create), operation(&notebook, OperationKind::Delete));
    let first = Commit { operations: vec![create.clone()], events: vec![made.clone()], ..insertion(&notebook) };
    assert_eq!(store.commit(first).await.unwrap(), Committed::Written(0));
    let last = Commit { operations: vec![delete.clone()], events: vec![gone.clone()], ..removal(&notebook) };
    assert_eq!(store.commit(last).await.unwrap(), Committed::Written(0));

    assert!(store.notebook(notebook.id).await.unwrap().is_none());
    assert_eq!(store.notebook_ids().await.unwrap(), []);
    assert_eq!(store.operations_of(notebook.id).await.unwrap(), [create, delete]);
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), [made, gone]);
}

/// The last event has an id that is taken; the notebook and the operation written before it are undone.
pub async fn a_commit_that_fails_in_its_last_part_leaves_nothing(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    let first = event(&notebook, "first");
    let taken = Commit { events: vec![first.clone()], ..Commit::default() };
    assert_eq!(store.commit(taken).await.unwrap(), Committed::Written(0));

    let stop = operation(&notebook, OperationKind::Stop);
    let failing = Commit {
        operations: vec![stop.clone()],
        events: vec![event(&notebook, "second"), first.clone()],
        ..insertion(&notebook)
    };
    assert!(store.commit(failing).await.is_err());
    assert!(store.notebook(notebook.id).await.unwrap().is_none());
    assert!(store.operation(stop.id).await.unwrap().is_none());
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), [first]);
    // The store goes on.
    insert(store, [&notebook]).await;
}

/// Operations and events can be written alone.
pub async fn a_commit_without_a_notebook_writes_the_rest(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    insert(store, [&notebook]).await;
    let (stop, asked) = (operation(&notebook, OperationKind::Stop), event(&notebook, "stop.asked"));
    let commit = Commit { operations: vec![stop.clone()], events: vec![asked.clone()], ..Commit::default() };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Written(0));
    assert_eq!(store.commit(Commit::default()).await.unwrap(), Committed::Written(0));
    assert_kept(store, &notebook).await;
    assert_eq!(store.operation(stop.id).await.unwrap(), Some(stop));
    assert_eq!(store.events(notebook.id, None, 10).await.unwrap(), [asked]);
}

/// Twenty read the same generation; one of them writes, and exactly its change is there.
pub async fn of_many_updates_of_one_generation_one_is_written(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    insert(store, [&notebook]).await;
    let attempts = (0..20).map(|i| {
        let mut mine = notebook.clone();
        mine.name = format!("writer {i}");
        let commit = Commit { events: vec![event(&mine, &mine.name)], ..update(&mine) };
        async move { (mine.name, store.commit(commit).await.unwrap()) }
    });
    let outcomes = join_all(attempts).await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, committed)| *committed == Committed::Written(1)).collect();
    let losers = outcomes.iter().filter(|(_, committed)| *committed == Committed::Lost).count();
    assert_eq!((winners.len(), losers), (1, 19));
    assert_eq!(store.notebook(notebook.id).await.unwrap().unwrap().name, winners[0].0);
    let events = store.events(notebook.id, None, 100).await.unwrap();
    assert_eq!(events.iter().map(|e| &e.what).collect::<Vec<_>>(), [&winners[0].0]);
}

/// For the readiness of a server.
pub async fn a_store_that_works_says_so(store: &impl NotebookStore) {
    store.check().await.unwrap();
    store.check().await.unwrap();
}
