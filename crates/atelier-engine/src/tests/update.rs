//! Changes of a notebook: which field in which status, and what comes of them.

use atelier_core::Code;
use atelier_core::feature::Feature;
use atelier_core::hook::{Action, Hook, Hooks, Mode};
use atelier_core::image::{BUILT_IN, Image};
use atelier_core::notebook::Notebook;
use atelier_core::status::Status;
use atelier_store::audit::{AuditQuery, AuditStore as _};

use super::World;
use crate::{Size, UpdateNotebook};

const FREE: &str = "modelarts.vm.cpu.free";

/// Each field with a value that differs, and the statuses in which it may change.
fn changes() -> Vec<(UpdateNotebook, &'static str, &'static [Status])> {
    let none = UpdateNotebook::default;
    let words = &[Status::Running, Status::Stopped, Status::StartFailed];
    let at_rest = &[Status::Stopped, Status::StartFailed];
    vec![
        (UpdateNotebook { name: Some("other".into()), ..none() }, "name", words),
        (UpdateNotebook { description: Some("other".into()), ..none() }, "description", words),
        (UpdateNotebook { size: Some(Size::Flavor(FREE.into())), ..none() }, "flavor", at_rest),
        (UpdateNotebook { image_id: Some(other_image().id), ..none() }, "image_id", at_rest),
        (UpdateNotebook { hooks: Some(some_hooks()), ..none() }, "hooks", at_rest),
    ]
}

fn other_image() -> Image {
    let id = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap();
    Image { id, name: "other".into(), ..Image::built_in(None) }
}

fn some_hooks() -> Hooks {
    let hook = Hook::new("hook", Action::Script("/a".into()), Mode::Async);
    Hooks { pre_start: hook.ok(), post_start: None }
}

fn images() -> [Image; 2] {
    [Image::built_in(None), other_image()]
}

async fn in_status(world: &World, status: Status) -> Notebook {
    let id = world.create().await;
    world.reaches(id, Status::Running).await.with_stored_status(status)
}

#[tokio::test]
async fn each_field_changes_in_its_statuses_and_in_no_other() {
    let world = World::new().await;
    let notebook = in_status(&world, Status::Running).await;
    for status in Status::ALL {
        for (wanted, field, legal) in changes() {
            let mut notebook = notebook.clone().with_stored_status(status);
            let written = world.engine.write_fields(&mut notebook, &wanted, &images());
            if legal.contains(&status) {
                assert_eq!(written.unwrap(), [field], "{status}");
                continue;
            }
            let refusal = written.unwrap_err();
            assert_eq!(refusal.code(), Code::FieldLocked, "{field} in {status}");
            let message = refusal.message();
            assert!(message.contains(status.as_str()) && message.contains(&format!("`{field}`")), "{message}");
        }
    }
}

#[tokio::test]
async fn what_is_so_already_asks_for_nothing_in_every_status() {
    let world = World::new().await;
    let before = in_status(&world, Status::Running).await;
    let wanted = UpdateNotebook {
        name: Some(before.name.clone()),
        description: Some(before.description.clone()),
        size: Some(Size::Flavor(before.flavor.id.clone())),
        image_id: Some(before.image.id),
        capacity_gib: before.volume.capacity_gib(),
        hooks: Some(before.hooks.clone()),
    };
    for status in Status::ALL {
        let mut notebook = before.clone().with_stored_status(status);
        // Not even an image that is not there any more stands in the way.
        let written = world.engine.write_fields(&mut notebook, &wanted, &[]);
        assert_eq!(written.unwrap(), [""; 0], "{status}");
    }
}

#[tokio::test]
async fn a_volume_never_shrinks_and_grows_where_it_may() {
    let world = World::new().await;
    let notebook = in_status(&world, Status::Running).await;
    for status in Status::ALL {
        let to = |gib| {
            let wanted = UpdateNotebook { capacity_gib: Some(gib), ..UpdateNotebook::default() };
            let mut notebook = notebook.clone().with_stored_status(status);
            world.engine.write_fields(&mut notebook, &wanted, &[]).map(|_| notebook.volume.wanted_gib())
        };
        let code = |gib| {
            let refusal = to(gib).unwrap_err();
            assert!(refusal.message().contains("`storage_new_size`"), "{}", refusal.message());
            refusal.code()
        };
        let may = matches!(status, Status::Running | Status::Stopped | Status::StartFailed);
        assert_eq!(code(4), Code::VolumeSizeOutOfRange, "{status}");
        if may {
            assert_eq!(to(6), Ok(Some(6)), "{status}");
        } else {
            assert_eq!(code(6), Code::FieldLocked, "{status}");
        }
    }
}

#[tokio::test]
async fn only_switchable_flavors_and_images_that_are_there_are_taken() {
    let world = World::new().await;
    let caller = World::caller('a');
    let id = world.create().await;
    world.reaches(id, Status::Running).await;
    let switchable = world.engine.switchable_flavors(&caller, id).await.unwrap();
    let ids: Vec<_> = switchable.iter().map(|offered| offered.flavor.id.as_str()).collect();
    assert_eq!(ids, ["modelarts.vm.cpu.2u", FREE], "neither its own nor one that this machine can never hold");

    let stopped = in_status(&world, Status::Stopped).await;
    let flavor = |id: &str| UpdateNotebook { size: Some(Size::Flavor(id.into())), ..UpdateNotebook::default() };
    for wrong in ["no-such-flavor", "modelarts.vm.cpu.8u"] {
        let refusal = world.engine.write_fields(&mut stopped.clone(), &flavor(wrong), &[]).unwrap_err();
        assert_eq!(refusal.code(), Code::FlavorNotSwitchable, "{wrong}");
        assert!(refusal.message().contains(&stopped.id.to_string()) && refusal.message().contains(wrong));
    }
    let mut free = stopped.clone();
    free.feature = Feature::Free;
    let refusal = world.engine.write_fields(&mut free, &flavor("modelarts.vm.cpu.2u"), &[]).unwrap_err();
    assert_eq!(refusal.code(), Code::FlavorNotSwitchable, "the free instance stays free");
    let unknown = UpdateNotebook { image_id: Some(other_image().id), ..UpdateNotebook::default() };
    let refusal = world.engine.update(&caller, "r", id, unknown).await.unwrap_err();
    assert_eq!(refusal.code(), Code::UnknownImage);
    assert_eq!(world.show(id).await.image.id, BUILT_IN);
}

/// The change is there when it is answered, is in the history and the audit, and moves neither the status nor its time.
#[tokio::test]
async fn a_change_is_one_commit_with_its_event_and_its_record() {
    let world = World::new().await;
    let caller = World::caller('a');
    let id = world.running().await;
    let before = world.show(id).await;
    world.time.advance(1000);
    let wanted = UpdateNotebook { name: Some("other".into()), ..UpdateNotebook::default() };
    let answer = world.engine.update(&caller, "r-update", id, wanted.clone()).await.unwrap();
    assert_eq!((answer.name.as_str(), answer.status(), answer.update_at), ("other", Status::Running, before.update_at));
    assert_eq!(world.show(id).await.name, "other");
    assert_eq!(world.events(id).await.last().unwrap(), "notebook.updated");
    let query = AuditQuery { limit: 1, ..AuditQuery::default() };
    let record = world.store.audit(&query).await.unwrap().remove(0).record;
    assert_eq!((record.operation.as_str(), record.request_id.as_str()), ("UpdateNotebook", "r-update"));
    let change = &record.changes[0];
    assert_eq!(
        (change.field.as_str(), change.before.as_deref(), change.after.as_deref()),
        ("name", Some("nb"), Some("other"))
    );

    let events = world.events(id).await.len();
    world.engine.update(&caller, "r", id, wanted).await.unwrap();
    assert_eq!(world.events(id).await.len(), events, "nothing changed, so nothing is told");
    let stranger = world.engine.update(&World::caller('b'), "r", id, UpdateNotebook::default()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
}

/// A script may hold what is nobody's business; that it is another one is told all the same.
#[tokio::test]
async fn hooks_are_changed_as_a_whole_and_their_text_is_in_no_record() {
    let world = World::new().await;
    let (caller, id) = (World::caller('a'), world.running().await);
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    let hook = |text: &str| Hook::new("hook", Action::Command(text.into()), Mode::Block).ok();
    let scripts = some_hooks();
    let first = Hooks { pre_start: hook("echo 1"), post_start: None };
    let second = Hooks { pre_start: hook("echo 2"), ..scripts.clone() };
    let seen = |field: &str, before: Option<&str>, after: Option<&str>| {
        (field.to_owned(), before.map(str::to_owned), after.map(str::to_owned))
    };
    let (command, script) = (Some("BLOCK COMMAND of 6 bytes"), Some("ASYNC SCRIPT /a"));
    for (hooks, expected) in [
        (scripts, vec![seen("hooks.pre_start", None, script)]),
        (first, vec![seen("hooks.pre_start", script, command)]),
        (second, vec![seen("hooks.pre_start", command, command)]),
        (Hooks::default(), vec![seen("hooks.pre_start", command, None)]),
    ] {
        let wanted = UpdateNotebook { hooks: Some(hooks.clone()), ..UpdateNotebook::default() };
        world.engine.update(&caller, "r", id, wanted).await.unwrap();
        assert_eq!(world.show(id).await.hooks, hooks);
        let query = AuditQuery { limit: 1, ..AuditQuery::default() };
        let record = world.store.audit(&query).await.unwrap().remove(0).record;
        let changes: Vec<_> = record.changes.into_iter().map(|c| (c.field, c.before, c.after)).collect();
        assert_eq!(changes, expected);
    }
}

/// The next start has the flavor that was asked for, whatever the one before had.
#[tokio::test]
async fn the_next_start_takes_the_new_flavor() {
    let world = World::new().await;
    let id = world.running().await;
    world.stop(id).await.unwrap();
    world.reaches(id, Status::Stopped).await;
    let wanted = UpdateNotebook { size: Some(Size::Flavor(FREE.into())), ..UpdateNotebook::default() };
    world.engine.update(&World::caller('a'), "r", id, wanted).await.unwrap();
    world.start(id).await.unwrap();
    assert_eq!(world.reaches(id, Status::Running).await.flavor.id, FREE);
    let (held, _) = world.engine.room().await.unwrap();
    assert_eq!((held.cpu_millis, held.memory_bytes), (2000, 4 << 30));
    let container = world.folder.path().join("sim").join(id.to_string()).join("container");
    assert_eq!(std::fs::read_to_string(container).unwrap(), format!("2000 m, {} bytes", 4_u64 << 30));
}
