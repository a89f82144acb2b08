//! Lists: filters, order, pages, and what a server reads when it starts.

use std::collections::BTreeSet;

use atelier_core::feature::Feature;
use atelier_core::lease::{Grant, Lease, LeaseKind};
use atelier_core::notebook::Notebook;
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::tags::{TagKey, TagValue, Tags};
use secrecy::ExposeSecret as _;

use super::sample::{NOW, Person, assert_same, insert, removal, update};
use crate::{Committed, NotebookFilter, NotebookQuery, NotebookStore, Searched, SortKey, Standing};

fn of(person: &Person) -> NotebookQuery {
    NotebookQuery {
        user_id: Some(person.owner.user_id.clone()),
        sort_key: SortKey::Name,
        limit: 100,
        ..NotebookQuery::all_of(person.project_id.clone())
    }
}

/// With these parts in these texts.
fn with(parts: &[(Searched, &str)]) -> NotebookFilter {
    let contains = parts.iter().map(|(which, part)| (*which, (*part).to_owned())).collect();
    NotebookFilter { contains, ..NotebookFilter::NONE }
}

async fn names(store: &impl NotebookStore, query: &NotebookQuery) -> Vec<String> {
    let page = store.notebooks(query).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64, "all are on one page");
    page.items.into_iter().map(|notebook| notebook.name).collect()
}

/// Each filter alone, all together, and none but the project.
pub async fn a_list_follows_each_filter(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let mut in_workspace = person.notebook_in("c-workspace", Status::Running);
    in_workspace.workspace_id = "other".into();
    let mut free = person.notebook_in("f-free", Status::Stopped);
    free.feature = Feature::Free;
    insert(
        store,
        [
            &person.notebook_in("a-running", Status::Running),
            &person.notebook_in("b-stopped", Status::Stopped),
            &in_workspace,
            &free,
            &neighbour.notebook_in("d-neighbour", Status::Running),
            &person.elsewhere().notebook_in("e-elsewhere", Status::Running),
        ],
    )
    .await;
    let all = of(&person);
    let project = NotebookQuery { user_id: None, ..all.clone() };
    let only = |filter| NotebookQuery { filter, ..all.clone() };
    let running = NotebookFilter { status: Some(Status::Running), ..NotebookFilter::NONE };
    let workspace = only(NotebookFilter { workspace_id: Some("other".into()), ..NotebookFilter::NONE });
    let named = only(with(&[(Searched::Name, "-s")]));
    let together =
        NotebookFilter { workspace_id: Some("0".into()), status: running.status, ..with(&[(Searched::Name, "run")]) };
    let (running, together) = (only(running), only(together));
    let frees = NotebookFilter { feature: Some(Feature::Free), ..NotebookFilter::NONE };
    let frees = NotebookQuery { filter: frees, ..project.clone() };
    let billed = only(NotebookFilter { feature: Some(Feature::Notebook), ..NotebookFilter::NONE });
    let nobody = only(NotebookFilter { status: Some(Status::Frozen), ..NotebookFilter::NONE });
    assert_eq!(names(store, &all).await, ["a-running", "b-stopped", "c-workspace", "f-free"]);
    assert_eq!(names(store, &project).await, ["a-running", "b-stopped", "c-workspace", "d-neighbour", "f-free"]);
    assert_eq!(names(store, &frees).await, ["f-free"]);
    assert_eq!(names(store, &billed).await, ["a-running", "b-stopped", "c-workspace"]);
    assert_eq!(names(store, &running).await, ["a-running", "c-workspace"]);
    assert_eq!(names(store, &workspace).await, ["c-workspace"]);
    assert_eq!(names(store, &named).await, ["b-stopped"]);
    assert_eq!(names(store, &together).await, ["a-running"]);
    assert_eq!(names(store, &nobody).await, [""; 0]);
}

/// No character has a meaning, letter case counts, and code points are not folded.
pub async fn a_name_is_searched_for_literally(store: &impl NotebookStore) {
    let person = Person::new();
    let stored = ["100%", "100x", "a_b", "axb", "back\\slash", "it's", "É", "é", "笔记本"];
    for name in stored {
        insert(store, [&person.notebook(name)]).await;
    }
    for (part, found) in [
        ("%", &["100%"][..]),
        ("_", &["a_b"]),
        ("0%", &["100%"]),
        ("a_b", &["a_b"]),
        ("\\", &["back\\slash"]),
        ("'", &["it's"]),
        ("é", &["é"]),
        ("记", &["笔记本"]),
        ("A", &[]),
        ("", &["100%", "100x", "a_b", "axb", "back\\slash", "it's", "É", "é", "笔记本"]),
    ] {
        let query = NotebookQuery { filter: with(&[(Searched::Name, part)]), ..of(&person) };
        assert_eq!(names(store, &query).await, found, "{part:?}");
    }
}

/// Notebooks whose names, creations, changes, statuses and flavors sort in different ways, each with a tie.
fn tied(person: &Person) -> Vec<Notebook> {
    use Status::{Creating, DeleteFailed, Error, Running, Stopped};
    let rows = [
        ("b", 3, 1, Running, "u"),
        ("Z", 1, 2, Stopped, "s"),
        ("é", 2, 3, Error, "t"),
        ("b", 1, 3, Running, "s"),
        ("笔", 4, 1, DeleteFailed, "s"),
        ("b", 1, 9, Creating, "s"),
    ];
    rows.map(|(name, create, change, status, flavor)| {
        let mut notebook = person.notebook_in(name, status);
        notebook.flavor.id = flavor.into();
        notebook.create_at = NOW.plus_millis(create);
        notebook.lease = Lease::written(notebook.create_at, notebook.create_at, Grant::Never, LeaseKind::Timing);
        notebook.update_at = NOW.plus_millis(100 + change);
        notebook
    })
    .into()
}

/// Each text is searched alone and together with another; ids, images and tags match wholly.
pub async fn a_list_searches_every_text_and_every_tag(store: &impl NotebookStore) {
    let person = Person::new();
    let tagged = |name: &str, tags: &[(&str, &str)]| {
        let tag =
            |(key, value): &(&str, &str)| (TagKey::new("key", key).unwrap(), TagValue::new("value", value).unwrap());
        let mut notebook = person.notebook(name);
        notebook.tags = Tags::new(tags.iter().map(tag)).unwrap();
        notebook
    };
    let mut first = tagged("first", &[("team", "a/b"), ("x.y", ""), ("größe", "2")]);
    (first.description, first.flavor.id) = ("50% of 'it'".into(), "cpu.small".into());
    first.image.swr_path = "registry/one/jupyter:1".into();
    first.pool = Some(InPool { id: "team-a".into(), name: "Team A".into() });
    let mut second = tagged("second", &[("team", "a"), ("größe", "2")]);
    (second.description, second.flavor.id) = ("SECOND of it".into(), "cpu.large".into());
    (second.image.swr_path, second.owner.user_name) = ("registry/two/jupyter:2".into(), "adá".into());
    insert(store, [&first, &second]).await;
    let tags = |tags: &[(&str, &str)]| NotebookFilter {
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..NotebookFilter::NONE
    };
    let both = &["first", "second"][..];
    for (filter, found) in [
        (with(&[(Searched::Description, "of")]), both),
        (with(&[(Searched::Description, "%")]), &["first"]),
        (with(&[(Searched::Description, "second")]), &[]),
        (with(&[(Searched::Flavor, "cpu.")]), both),
        (with(&[(Searched::Flavor, "large")]), &["second"]),
        (with(&[(Searched::SwrPath, "jupyter:1")]), &["first"]),
        (with(&[(Searched::UserName, "dá")]), &["second"]),
        (with(&[(Searched::UserName, "zo"), (Searched::Flavor, "small")]), &["first"]),
        (with(&[(Searched::Name, "first"), (Searched::Flavor, "large")]), &[]),
        (with(&[(Searched::Name, "s"), (Searched::Name, "d")]), &["second"]),
        (tags(&[("team", "a")]), &["second"]),
        (tags(&[("größe", "2")]), both),
        (tags(&[("größe", "2"), ("team", "a/b")]), &["first"]),
        (tags(&[("team", "a"), ("team", "a/b")]), &[]),
        (tags(&[("x.y", "")]), &["first"]),
        (tags(&[("x", "")]), &[]),
        (NotebookFilter { id: Some(second.id), ..NotebookFilter::NONE }, &["second"]),
        (NotebookFilter { id: Some(second.id), ..tags(&[("team", "a/b")]) }, &[]),
        (with(&[(Searched::PoolName, "m A")]), &["first"]),
        (with(&[(Searched::PoolName, "team")]), &[]),
        (with(&[(Searched::PoolName, "")]), &["first"]),
        (NotebookFilter { pool_id: Some("team-a".into()), ..NotebookFilter::NONE }, &["first"]),
        (NotebookFilter { pool_id: Some("team".into()), ..NotebookFilter::NONE }, &[]),
        (NotebookFilter { image_id: Some(first.image.id), ..NotebookFilter::NONE }, &["first"]),
    ] {
        let query = NotebookQuery { filter, ..of(&person) };
        assert_eq!(names(store, &query).await, found, "{:?}", query.filter);
    }
}

/// What the first key leaves tied goes by the second, and so on; all in the direction of the list.
pub async fn ties_go_by_the_further_keys(store: &impl NotebookStore) {
    let person = Person::new();
    let mut stored = tied(&person);
    insert(store, &stored).await;
    stored.sort_by_key(|n| (n.flavor.id.clone(), n.create_at, n.name.clone(), n.status().as_str(), n.id));
    let mut expected: Vec<_> = stored.iter().map(|n| n.id).collect();
    let query = NotebookQuery {
        sort_key: SortKey::Flavor,
        then_by: vec![SortKey::CreateAt, SortKey::Name, SortKey::Status],
        ..of(&person)
    };
    for descending in [false, true] {
        let page = store.notebooks(&NotebookQuery { descending, ..query.clone() }).await.unwrap();
        assert_eq!(page.items.iter().map(|n| n.id).collect::<Vec<_>>(), expected, "descending: {descending}");
        expected.reverse();
    }
    let page = store.notebooks(&NotebookQuery { offset: 2, limit: 2, ..query }).await.unwrap();
    assert_eq!(page.items.iter().map(|n| n.id).collect::<Vec<_>>(), expected[2..4]);
    assert_eq!(page.total, 6);
}

/// Ties go by id, in the direction of the list; names go by code point.
pub async fn lists_are_sorted_by_each_key_in_both_directions(store: &impl NotebookStore) {
    let person = Person::new();
    let mut stored = tied(&person);
    insert(store, &stored).await;
    for sort_key in SortKey::ALL {
        match sort_key {
            SortKey::CreateAt => stored.sort_by_key(|n| (n.create_at, n.id)),
            SortKey::UpdateAt => stored.sort_by_key(|n| (n.update_at, n.id)),
            SortKey::Name => stored.sort_by_key(|n| (n.name.clone(), n.id)),
            SortKey::Status => stored.sort_by_key(|n| (n.status().as_str(), n.id)),
            SortKey::Flavor => stored.sort_by_key(|n| (n.flavor.id.clone(), n.id)),
        }
        for descending in [false, true] {
            let mut expected: Vec<_> = stored.iter().map(|n| n.id).collect();
            if descending {
                expected.reverse();
            }
            for user_id in [None, Some(person.owner.user_id.clone())] {
                let query = NotebookQuery { user_id, sort_key, descending, ..of(&person) };
                let page = store.notebooks(&query).await.unwrap();
                let ids: Vec<_> = page.items.iter().map(|n| n.id).collect();
                assert_eq!(ids, expected, "{sort_key:?}, descending: {descending}");
            }
        }
    }
}

/// Every page size cuts the same list; the total is that of all pages, also on a page past the end.
pub async fn pages_add_up_to_the_whole(store: &impl NotebookStore) {
    let person = Person::new();
    insert(store, &tied(&person)).await;
    insert(store, [&Person::new().notebook("somebody else's")]).await;
    let whole: Vec<_> = store.notebooks(&of(&person)).await.unwrap().items.iter().map(|n| n.id).collect();
    for limit in 1..=7 {
        let mut pieces = Vec::new();
        for offset in (0..=7).step_by(limit as usize) {
            let page = store.notebooks(&NotebookQuery { offset, limit, ..of(&person) }).await.unwrap();
            assert_eq!(page.total, 6);
            assert!(page.items.len() <= limit as usize);
            pieces.extend(page.items.iter().map(|n| n.id));
        }
        assert_eq!(pieces, whole, "pages of {limit}");
    }
    let past = store.notebooks(&NotebookQuery { offset: u32::MAX, ..of(&person) }).await.unwrap();
    assert_eq!((past.items.len(), past.total), (0, 6));
    let none = store.notebooks(&NotebookQuery { limit: 0, ..of(&person) }).await.unwrap();
    assert_eq!((none.items.len(), none.total), (0, 6));
}

/// Of everybody, by id.
pub async fn all_ids_are_listed_with_their_statuses(store: &impl NotebookStore) {
    let mut expected = Vec::new();
    for status in Status::ALL {
        let notebook = Person::new().notebook_in("nb", status);
        insert(store, [&notebook]).await;
        expected.push((notebook.id, status));
    }
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(store.notebook_ids().await.unwrap(), expected);
}

/// A notebook in each status, one of them without an end: only RUNNING counts, with the end of its lease.
pub async fn lease_ends_are_those_of_running_notebooks(store: &impl NotebookStore) {
    let person = Person::new();
    for status in Status::ALL.into_iter().filter(|s| *s != Status::Running) {
        insert(store, [&person.notebook_in("nb", status)]).await;
    }
    let mut endless = person.notebook_in("endless", Status::Running);
    endless.lease = endless.lease.rewritten(NOW, Grant::Never, LeaseKind::Timing);
    let mut timed = person.notebook_in("timed", Status::Running);
    timed.lease = timed.lease.rewritten(NOW.plus_millis(10), Grant::Millis(5), LeaseKind::Timing);
    let mut idle = person.notebook_in("idle", Status::Running);
    idle.lease = idle.lease.rewritten(NOW.plus_millis(20), Grant::Millis(5), LeaseKind::Idle);
    insert(store, [&idle, &endless, &timed]).await;

    let mut ends = store.lease_ends().await.unwrap();
    ends.sort_by_key(|(_, end)| *end);
    assert_eq!(ends, [(timed.id, NOW.plus_millis(15)), (idle.id, NOW.plus_millis(25))]);
}

/// Each of many, its secrets with it, by id; nothing of what was removed.
pub async fn every_notebook_is_shown_once_with_its_secrets(store: &impl NotebookStore) {
    let mut expected: Vec<_> = (0..1100).map(|i| Person::new().notebook(&format!("nb-{i}"))).collect();
    expected.sort_by_key(|notebook| notebook.id);
    insert(store, &expected).await;
    let gone = expected.remove(7);
    store.commit(removal(&gone)).await.unwrap();
    let mut shown = Vec::new();
    store.every_notebook(&mut |notebook| shown.push(notebook)).await.unwrap();
    assert_eq!(shown.len(), expected.len());
    for (one, other) in shown.iter().zip(&expected) {
        assert_same(one, other);
    }
}

/// Each of many once: those that rest with what visitors need, the others whole.
pub async fn every_notebook_stands_somewhere(store: &impl NotebookStore) {
    let mut expected: Vec<_> = (0..1100)
        .map(|i| Person::new().notebook_in(&format!("\"{i}\" \n ü"), Status::ALL[i % Status::ALL.len()]))
        .filter(|notebook| notebook.status() != Status::Deleted)
        .collect();
    expected[6].fail_reason = Some("it \u{1} \\ failed".into());
    for notebook in &mut expected {
        notebook.progress.clear();
    }
    let growing = expected.iter_mut().find(|notebook| notebook.status() == Status::Stopped).unwrap();
    growing.volume.size_mut().unwrap().growing_to_gib = Some(9);
    let growing = growing.id;
    insert(store, &expected).await;
    let mut seen = std::collections::BTreeMap::new();
    store
        .every_standing(&mut |standing| {
            let id = match &standing {
                Standing::Resting(resting) => resting.id,
                Standing::Whole(notebook) => notebook.id,
            };
            assert!(seen.insert(id, standing).is_none());
        })
        .await
        .unwrap();
    assert_eq!(seen.len(), expected.len());
    for notebook in &expected {
        let rests = notebook.status().is_stable() && !notebook.status().holds_compute() && notebook.id != growing;
        match &seen[&notebook.id] {
            Standing::Whole(whole) => {
                assert!(!rests, "{}", notebook.status());
                assert_same(whole, notebook);
            }
            Standing::Resting(resting) => {
                assert!(rests, "{}", notebook.status());
                let of = (&resting.project_id, &resting.user_id, &resting.name, resting.status, &resting.fail_reason);
                let owner = &notebook.owner.user_id;
                assert_eq!(of, (&notebook.project_id, owner, &notebook.name, notebook.status(), &notebook.fail_reason));
                let (token, upstream_secret) = resting.secrets.open().unwrap();
                assert_eq!(token.expose_secret(), notebook.token.expose_secret());
                assert_eq!(upstream_secret.expose_secret(), notebook.upstream_secret.expose_secret());
            }
        }
    }
}

/// A list shows a creation, each kind of change and a removal from the answer of the commit on, in its place in the
/// order and under its filter.
pub async fn a_list_follows_every_change_at_once(store: &impl NotebookStore) {
    let person = Person::new();
    let (mut moving, resting) = (person.notebook_in("m", Status::Stopped), person.notebook_in("r", Status::Stopped));
    insert(store, [&resting, &moving]).await;
    let by_name = of(&person);
    assert_eq!(names(store, &by_name).await, ["m", "r"]);

    moving.name = "z".into();
    moving.update_at = moving.update_at.plus_millis(-1);
    assert_eq!(store.commit(update(&moving)).await.unwrap(), Committed::Written(1));
    moving.generation = 1;
    assert_eq!(names(store, &by_name).await, ["r", "z"]);
    let by_change = NotebookQuery { sort_key: SortKey::UpdateAt, ..by_name.clone() };
    assert_eq!(names(store, &by_change).await, ["z", "r"]);

    let mut running = moving.clone().with_stored_status(Status::Running);
    running.workspace_id = "w".into();
    running.update_at = moving.update_at.plus_millis(9);
    assert_eq!(store.commit(update(&running)).await.unwrap(), Committed::Written(2));
    running.generation = 2;
    assert_eq!(names(store, &by_change).await, ["r", "z"]);
    let stopped = NotebookFilter { status: Some(Status::Stopped), ..NotebookFilter::NONE };
    let stopped = NotebookQuery { filter: stopped, ..by_name.clone() };
    let in_workspace = NotebookFilter { workspace_id: Some("w".into()), ..NotebookFilter::NONE };
    let in_workspace = NotebookQuery { filter: in_workspace, ..by_name.clone() };
    assert_eq!(names(store, &stopped).await, ["r"]);
    assert_eq!(names(store, &in_workspace).await, ["z"]);

    let heir = Person { project_id: person.project_id.clone(), ..Person::new() };
    running.owner = heir.owner.clone();
    assert_eq!(store.commit(update(&running)).await.unwrap(), Committed::Written(3));
    running.generation = 3;
    assert_eq!(names(store, &by_name).await, ["r"]);
    assert_eq!(names(store, &of(&heir)).await, ["z"]);
    assert_eq!(names(store, &NotebookQuery { user_id: None, ..by_name.clone() }).await, ["r", "z"]);

    assert_eq!(store.commit(removal(&running)).await.unwrap(), Committed::Written(0));
    assert_eq!(names(store, &of(&heir)).await, [""; 0]);
    assert_eq!(names(store, &NotebookQuery { user_id: None, ..by_name }).await, ["r"]);
}

/// Each key once with each of its values once, as the notebooks have them now.
pub async fn tags_in_use_are_those_of_the_project_s_notebooks(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let tagged = |person: &Person, name: &str, tags: &[(&str, &str)]| {
        let tag =
            |(key, value): &(&str, &str)| (TagKey::new("key", key).unwrap(), TagValue::new("value", value).unwrap());
        let mut notebook = person.notebook(name);
        notebook.tags = Tags::new(tags.iter().map(tag)).unwrap();
        notebook
    };
    let first = tagged(&person, "first", &[("team", "a"), ("only", "")]);
    let mut second = tagged(&neighbour, "second", &[("team", "b"), ("x", "1")]);
    second.workspace_id = "w".into();
    let elsewhere = tagged(&person.elsewhere(), "elsewhere", &[("hidden", "1")]);
    insert(store, [&first, &second, &elsewhere, &tagged(&person, "third", &[("team", "a")])]).await;
    let used = async |workspace_id: Option<&str>| {
        let found = store.tag_values(&person.project_id, workspace_id).await.unwrap();
        let one = |(key, values): (String, BTreeSet<String>)| {
            format!("{key}={}", values.into_iter().collect::<Vec<_>>().join("|"))
        };
        found.into_iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(used(None).await, ["only=", "team=a|b", "x=1"]);
    assert_eq!(used(Some("0")).await, ["only=", "team=a"]);
    assert_eq!(used(Some("w")).await, ["team=b", "x=1"]);
    let mut changed = first.clone();
    changed.tags = Tags::none();
    store.commit(update(&changed)).await.unwrap();
    store.commit(removal(&second)).await.unwrap();
    assert_eq!(used(None).await, ["team=a"]);
}
