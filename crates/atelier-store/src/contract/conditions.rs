//! What must hold inside the transaction: quota and capacity.

use atelier_core::feature::Feature;
use atelier_core::flavor::{Capacity, Held};
use atelier_core::gpu::{FlavorGpus, Gpus, HeldGpus};
use atelier_core::pool::Part;
use atelier_core::status::Status;
use futures_util::future::join_all;

use super::sample::{Person, assert_kept, event, insert, insertion, removal, update};
use crate::{Commit, Committed, Condition, NotebookStore};

/// Room for this many of the sample's notebooks: their CPUs and, exactly, their memory.
const fn room_for(count: u64) -> Capacity {
    Capacity { cpu_millis: 500 * count, memory_bytes: (512 << 20) * count, cpu_overcommit: 1, memory_overcommit: 1 }
}

/// What all notebooks hold together.
async fn held_of_all(store: &impl NotebookStore) -> Held {
    store.held(&Part::everything()).await.unwrap()
}

fn counts(outcomes: &[Committed], refusal: Committed) -> (usize, usize) {
    let count = |wanted| outcomes.iter().filter(|committed| **committed == wanted).count();
    (count(Committed::Written(0)), count(refusal))
}

/// Twenty at once, room for five: exactly five are written, each with its event, and fifteen leave nothing.
pub async fn many_creates_at_once_end_exactly_at_the_quota(store: &impl NotebookStore) {
    let person = Person::new();
    let creates = (0..20).map(|i| {
        let notebook = person.notebook(&format!("nb-{i}"));
        let commit = Commit {
            conditions: vec![Condition::FewerNotebooksThan(5)],
            events: vec![event(&notebook, "made")],
            ..insertion(&notebook)
        };
        async move {
            let committed = store.commit(commit).await.unwrap();
            let events = store.events(notebook.id, None, 10).await.unwrap().len();
            assert_eq!(events, usize::from(committed == Committed::Written(0)));
            committed
        }
    });
    let outcomes = join_all(creates).await;
    assert_eq!(counts(&outcomes, Committed::QuotaExhausted), (5, 15));
    assert_eq!(store.notebook_ids().await.unwrap().len(), 5);
}

/// Neither another person in the project nor the person's own notebooks elsewhere count; a removal makes room.
pub async fn the_quota_counts_one_owner_in_one_project(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let first = person.notebook("first");
    insert(store, [&first, &neighbour.notebook("theirs"), &person.elsewhere().notebook("elsewhere")]).await;

    let create = |quota| Commit {
        conditions: vec![Condition::FewerNotebooksThan(quota)],
        ..insertion(&person.notebook("second"))
    };
    assert_eq!(store.commit(create(0)).await.unwrap(), Committed::QuotaExhausted);
    assert_eq!(store.commit(create(1)).await.unwrap(), Committed::QuotaExhausted);
    assert_eq!(store.commit(create(2)).await.unwrap(), Committed::Written(0));
    assert_eq!(store.commit(create(2)).await.unwrap(), Committed::QuotaExhausted);
    assert_eq!(store.commit(removal(&first)).await.unwrap(), Committed::Written(0));
    assert_eq!(store.commit(create(2)).await.unwrap(), Committed::Written(0));
}

/// Twenty at once with one name: one is written. Neither the name's letters in another case, nor the same name of somebody
/// else or in another project stand in the way; a notebook does not stand in its own.
pub async fn a_name_that_shall_be_free_is_taken_once(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let elsewhere = person.elsewhere();
    let create =
        |owner: &Person, name| Commit { conditions: vec![Condition::NameIsFree], ..insertion(&owner.notebook(name)) };
    let outcomes = join_all((0..20).map(|_| store.commit(create(&person, "one"))));
    let outcomes: Vec<_> = outcomes.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts(&outcomes, Committed::NameTaken), (1, 19));
    for (owner, name) in [(&neighbour, "one"), (&elsewhere, "one"), (&person, "One")] {
        assert_eq!(store.commit(create(owner, name)).await.unwrap(), Committed::Written(0), "{name}");
    }
    let mine = person.notebook("mine");
    assert_eq!(store.commit(insertion(&mine)).await.unwrap(), Committed::Written(0));
    let again = Commit { conditions: vec![Condition::NameIsFree], ..update(&mine) };
    assert_eq!(store.commit(again).await.unwrap(), Committed::Written(1));
}

/// Twenty at once, room for three; notebooks that hold nothing take no room.
pub async fn many_creates_at_once_end_exactly_at_the_capacity(store: &impl NotebookStore) {
    insert(store, [&Person::new().notebook_in("stopped", Status::Stopped)]).await;
    let creates = (0..20).map(|i| {
        let notebook = Person::new().notebook(&format!("nb-{i}"));
        let conditions = vec![Condition::FewerNotebooksThan(1), Condition::Fits(room_for(3), Part::everything())];
        let commit = Commit { conditions, ..insertion(&notebook) };
        async move { store.commit(commit).await.unwrap() }
    });
    let outcomes = join_all(creates).await;
    assert_eq!(counts(&outcomes, Committed::NoCapacity), (3, 17));
    assert_eq!(held_of_all(store).await, Held { cpu_millis: 1500, memory_bytes: 3 * (512 << 20) });
}

/// A notebook that already holds its flavor is asked for room beside the others only.
pub async fn a_notebook_does_not_stand_in_its_own_way(store: &impl NotebookStore) {
    let mine = Person::new().notebook_in("mine", Status::Running);
    insert(store, [&mine, &Person::new().notebook_in("theirs", Status::Running)]).await;
    let fits = |count, generation| {
        let mut mine = mine.clone();
        mine.generation = generation;
        Commit { conditions: vec![Condition::Fits(room_for(count), Part::everything())], ..update(&mine) }
    };
    assert_eq!(store.commit(fits(1, 0)).await.unwrap(), Committed::NoCapacity);
    assert_eq!(store.commit(fits(2, 0)).await.unwrap(), Committed::Written(1));
}

/// One notebook in each status; exactly those that hold compute are summed up.
pub async fn held_is_what_holds_compute(store: &impl NotebookStore) {
    assert_eq!(held_of_all(store).await, Held::default());
    let mut expected = Held::default();
    for (status, weight) in Status::ALL.into_iter().zip(1_u32..) {
        let mut notebook = Person::new().notebook_in("nb", status);
        // Every status has a weight of its own, so that no sum comes out right by accident.
        notebook.flavor.cpu_millis = 1 << weight;
        notebook.flavor.memory_mib = 1 << weight;
        insert(store, [&notebook]).await;
        if status.holds_compute() {
            expected.cpu_millis += u64::from(notebook.flavor.cpu_millis);
            expected.memory_bytes += notebook.flavor.memory_bytes();
        }
        assert_eq!(held_of_all(store).await, expected, "{status}");
    }
}

/// A stale writer learns that it is stale, not that there is no room for what it should not write anyway.
pub async fn losing_is_told_before_conditions(store: &impl NotebookStore) {
    let notebook = Person::new().notebook("nb");
    let mut stale = notebook.clone();
    stale.generation = 9;
    let unmet = || vec![Condition::FewerNotebooksThan(0), Condition::Fits(room_for(0), Part::everything())];
    let commit = || Commit { conditions: unmet(), ..update(&stale) };
    assert_eq!(store.commit(commit()).await.unwrap(), Committed::Missing);
    insert(store, [&notebook]).await;
    assert_eq!(store.commit(commit()).await.unwrap(), Committed::Lost);
    let again = Commit { conditions: unmet(), ..insertion(&notebook) };
    assert_eq!(store.commit(again).await.unwrap(), Committed::Lost);
    let first_unmet = Commit { conditions: unmet(), ..update(&notebook) };
    assert_eq!(store.commit(first_unmet).await.unwrap(), Committed::QuotaExhausted);
}

/// Through changes of status, flavor and owner, refused ones too, and to the removal: what is held, and how many an
/// owner has, is what is there.
pub async fn what_is_held_follows_every_change(store: &impl NotebookStore) {
    let (person, heir) = (Person::new(), Person::new());
    let mut notebook = person.notebook_in("nb", Status::Running);
    insert(store, [&notebook]).await;
    let one_more = |person: &Person| Commit {
        conditions: vec![Condition::FewerNotebooksThan(1)],
        ..insertion(&person.notebook_in("second", Status::Stopped))
    };
    for (status, cpu_millis, held) in [
        (Status::Stopping, 500, 500),
        (Status::Stopped, 500, 0),
        (Status::Starting, 700, 700),
        (Status::Running, 300, 300),
    ] {
        notebook = notebook.with_stored_status(status);
        notebook.flavor.cpu_millis = cpu_millis;
        let refused =
            Commit { conditions: vec![Condition::Fits(room_for(0), Part::everything())], ..update(&notebook) };
        assert_eq!(store.commit(refused).await.unwrap(), Committed::NoCapacity);
        store.commit(update(&notebook)).await.unwrap();
        notebook.generation += 1;
        assert_eq!(held_of_all(store).await.cpu_millis, held, "{status}");
    }
    assert_eq!(store.commit(one_more(&person)).await.unwrap(), Committed::QuotaExhausted);
    notebook.owner = heir.owner.clone();
    notebook.project_id = heir.project_id.clone();
    store.commit(update(&notebook)).await.unwrap();
    notebook.generation += 1;
    assert_eq!(store.commit(one_more(&heir)).await.unwrap(), Committed::QuotaExhausted);
    assert_eq!(store.commit(one_more(&person)).await.unwrap(), Committed::Written(0));
    store.commit(removal(&notebook)).await.unwrap();
    assert_eq!(held_of_all(store).await, Held::default());
    assert_eq!(store.commit(one_more(&heir)).await.unwrap(), Committed::Written(0));
}

/// Twenty free instances at once, for one owner: one is written. Other owners, other projects and other features do not
/// count, nor does the notebook itself.
pub async fn only_one_of_a_feature_is_written_for_each_owner(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let free = |person: &Person| {
        let mut notebook = person.notebook("free");
        notebook.feature = Feature::Free;
        notebook
    };
    insert(store, [&person.notebook("billed"), &free(&neighbour), &free(&person.elsewhere())]).await;
    let only = |commit: Commit| Commit { conditions: vec![Condition::OnlyOneOfItsFeature], ..commit };
    let wanted: Vec<_> = (0..20).map(|_| free(&person)).collect();
    let outcomes = join_all(wanted.iter().map(|notebook| store.commit(only(insertion(notebook))))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts(&outcomes, Committed::AlreadyOne), (1, 19));
    let written = &wanted[outcomes.iter().position(|committed| *committed == Committed::Written(0)).unwrap()];
    assert_eq!(store.commit(only(update(written))).await.unwrap(), Committed::Written(1));
}

/// What the notebooks of one part hold is no business of another: at a condition, in the sum, and when one moves from part
/// to part. What is in a pool that is none of those that the public part goes besides holds of the public part.
pub async fn parts_hold_apart(store: &impl NotebookStore) {
    let (a, public) = (Part::Pool("pool-a".into()), Part::Besides(["pool-a".to_owned(), "pool-b".to_owned()].into()));
    let running = |pool: Option<&str>| Person::new().notebook_of("nb", Status::Running, pool);
    let asking = |pool, count, part: &Part| Commit {
        conditions: vec![Condition::Fits(room_for(count), part.clone())],
        ..insertion(&running(pool))
    };
    insert(store, [&running(None), &running(Some("pool-a")), &running(Some("pool-b")), &running(Some("gone"))]).await;
    for (pool, count, part, outcome) in [
        (Some("pool-a"), 1, &a, Committed::NoCapacity),
        (None, 2, &public, Committed::NoCapacity),
        (Some("pool-a"), 2, &a, Committed::Written(0)),
        (None, 3, &public, Committed::Written(0)),
    ] {
        assert_eq!(store.commit(asking(pool, count, part)).await.unwrap(), outcome, "{pool:?}");
    }
    let sums = async || {
        let of = async |part: &Part| store.held(part).await.unwrap().cpu_millis / 500;
        (of(&a).await, of(&Part::Pool("pool-b".into())).await, of(&public).await, of(&Part::everything()).await)
    };
    assert_eq!(sums().await, (2, 1, 3, 6));
    let mut moving = running(Some("pool-a"));
    insert(store, [&moving]).await;
    assert_eq!(sums().await, (3, 1, 3, 7));
    moving.pool = None;
    let beside_itself = Commit { conditions: vec![Condition::Fits(room_for(4), public.clone())], ..update(&moving) };
    assert_eq!(store.commit(beside_itself).await.unwrap(), Committed::Written(1));
    assert_eq!(sums().await, (2, 1, 4, 7));
    moving.generation = 1;
    store.commit(removal(&moving)).await.unwrap();
    assert_eq!(sums().await, (2, 1, 3, 6));
    let into_both = [&a, &public].map(|part| Condition::Fits(room_for(9), part.clone()));
    store.commit(Commit { conditions: into_both.into(), ..insertion(&running(None)) }).await.unwrap_err();
    assert_eq!(sums().await, (2, 1, 3, 6));
}

/// Twenty at once in a pool that has room for two of each owner's: two are written. Those of others, elsewhere, in other
/// pools and in none do not count.
pub async fn many_creates_at_once_end_exactly_at_the_quota_of_their_pool(store: &impl NotebookStore) {
    let person = Person::new();
    let neighbour = Person { project_id: person.project_id.clone(), ..Person::new() };
    let of = |person: &Person, pool| person.notebook_of("nb", Status::Running, pool);
    let others = [(&neighbour, Some("pool-a")), (&person.elsewhere(), Some("pool-a"))].map(|(p, pool)| of(p, pool));
    let mine = [of(&person, Some("pool-b")), of(&person, None)];
    insert(store, others.iter().chain(&mine)).await;
    let wanted: Vec<_> = (0..20).map(|_| of(&person, Some("pool-a"))).collect();
    let few = |commit: Commit| Commit { conditions: vec![Condition::FewerInPoolThan(2)], ..commit };
    let outcomes = join_all(wanted.iter().map(|notebook| store.commit(few(insertion(notebook))))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts(&outcomes, Committed::PoolQuotaExhausted), (2, 18));
}

/// Twenty at once for five GPUs of one kind, by its name and without: two with two each are written, and one with one.
/// What rests holds none, another kind is nobody's business, and a notebook does not stand in its own way.
pub async fn many_starts_at_once_end_exactly_at_the_gpus(store: &impl NotebookStore) {
    let machine = Gpus::of(["A", "B", "A", "A", "A", "A"].map(|kind| (kind.to_owned(), 1)));
    let with_gpus = |status, count, kind: Option<&str>| {
        let mut notebook = Person::new().notebook_in("nb", status);
        notebook.flavor.gpus = FlavorGpus::of(count, kind);
        notebook
    };
    let asking = |commit: Commit| Commit { conditions: vec![Condition::HasGpus(machine.clone())], ..commit };
    let resting = with_gpus(Status::Stopped, 5, None);
    insert(store, [&resting, &with_gpus(Status::Running, 1, Some("B"))]).await;
    assert_kept(store, &resting).await;
    let wanted: Vec<_> = (0..20).map(|n| with_gpus(Status::Starting, 2, (n % 2 == 0).then_some("A"))).collect();
    let outcomes = join_all(wanted.iter().map(|notebook| store.commit(asking(insertion(notebook))))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts(&outcomes, Committed::NoCapacity), (2, 18));
    for (count, kind, outcome) in [
        (1, Some("B"), Committed::NoCapacity),
        (1, Some("gone"), Committed::NoCapacity),
        (1, None, Committed::Written(0)),
        (1, None, Committed::NoCapacity),
    ] {
        let one = with_gpus(Status::Starting, count, kind);
        assert_eq!(store.commit(asking(insertion(&one))).await.unwrap(), outcome, "{kind:?}");
    }
    assert_eq!(store.held_gpus().await.unwrap().count(), 6);
    let written = &wanted[outcomes.iter().position(|outcome| *outcome == Committed::Written(0)).unwrap()];
    assert_eq!(store.commit(asking(update(written))).await.unwrap(), Committed::Written(1));
    let mut stopped = written.clone().with_stored_status(Status::Stopped);
    stopped.generation = 1;
    store.commit(update(&stopped)).await.unwrap();
    let held = store.held_gpus().await.unwrap();
    assert_eq!((held.count(), machine.free(&held, None), machine.free(&held, Some("B"))), (4, 2, 0));
    assert_ne!(held, HeldGpus::default());
}
