//! The tests that every runtime has to pass, whatever it drives.
//!
//! A runtime's own test makes a [`Bed`] (where it can be opened, and opened again as after a restart of the server) and
//! calls [`run_all`]. Each case makes notebooks of its own and removes them.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "these are tests"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::clock::{Entropy, Timestamp};
use atelier_core::filling::Fullness;
use atelier_core::gpu::FlavorGpus;
use atelier_core::hook::{Action, Moment};
use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::image;
use atelier_core::volume::{Volume, VolumeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{AtUri, HookRun, InstanceSpec, Observed, Root, Runtime, RuntimeError, Silent};

/// Where a runtime can be opened.
#[async_trait]
pub trait Bed: Send + Sync {
    /// Opens the runtime on what is there, as a server does at its start.
    async fn open(&self) -> Arc<dyn Runtime>;

    /// The only folder that its runtime gives to notebooks. The tests may do with it what they like.
    fn root(&self) -> Root;

    /// Writes a file into the volume of an instance that runs, and that is not the notebook's own: as its user would.
    async fn write(&self, runtime: &dyn Runtime, notebook: NotebookId, name: &str, text: &str);

    /// Reads one, if it is there.
    async fn read(&self, runtime: &dyn Runtime, notebook: NotebookId, name: &str) -> Option<String>;
}

/// Unlike bytes for unlike ids; nothing secret.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (to, from) in out.iter_mut().zip(n.iter().cycle()) {
            *to = *from;
        }
    }
}

static COUNT: Counting = Counting(AtomicU64::new(1));

/// A small notebook that nothing was made of yet.
pub fn new_spec() -> InstanceSpec {
    // The process id keeps the ids of test programs that run side by side apart.
    let now = Timestamp::from_millis(1_700_000_000_000 + i64::from(std::process::id()));
    InstanceSpec {
        notebook: NotebookId::generate(now, &COUNT),
        volume: Volume::new(VolumeId::generate(now, &COUNT), 5),
        image: image::BUILT_IN,
        cpu_millis: 500,
        memory_bytes: 512 << 20,
        gpus: None,
        hook_first: false,
        upstream_secret: "contract-test-secret".to_owned().into(),
    }
}

/// The same, with so many GPUs.
fn with_gpus(count: u32) -> InstanceSpec {
    InstanceSpec { gpus: FlavorGpus::of(count, None), ..new_spec() }
}

/// How far a notebook is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upto {
    /// Its volume is there.
    Storage,
    /// Its container is there.
    Compute,
    /// Its network is there.
    Network,
    /// Its notebook server answers.
    Serving,
}

const ALL: [Upto; 4] = [Upto::Storage, Upto::Compute, Upto::Network, Upto::Serving];

/// Brings a notebook as far as `upto`.
pub async fn bring(runtime: &dyn Runtime, spec: &InstanceSpec, upto: Upto) {
    runtime.prepare_image(spec.image, &Silent).await.expect("image");
    runtime.prepare_storage(spec).await.expect("storage");
    if upto >= Upto::Compute {
        runtime.prepare_compute(spec).await.expect("compute");
    }
    if upto >= Upto::Network {
        runtime.configure_network(spec).await.expect("network");
    }
    if upto >= Upto::Serving {
        runtime.initialize(spec).await.expect("server");
    }
}

/// Asks the notebook server for its status; the status line of the answer.
pub async fn ask(runtime: &dyn Runtime, spec: &InstanceSpec) -> String {
    use secrecy::ExposeSecret;
    let mut stream = runtime.connect(spec.notebook).await.expect("connect");
    let request = format!(
        "GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: token {}\r\n\r\n",
        spec.upstream_secret.expose_secret()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "the server closed early");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

async fn is_listed(runtime: &dyn Runtime, spec: &InstanceSpec) -> bool {
    runtime.list().await.unwrap().contains(&spec.notebook)
}

/// Runs every case.
pub async fn run_all(bed: &dyn Bed) {
    let runtime = bed.open().await;
    nothing_is_there_at_first(&*runtime).await;
    a_notebook_lives_and_dies(&*runtime).await;
    every_call_may_be_made_twice(&*runtime).await;
    a_stop_is_whole_after_every_step(&*runtime).await;
    a_removal_is_whole_after_every_step(&*runtime).await;
    storage_grows_in_use_and_at_rest(&*runtime).await;
    storage_can_be_discarded(&*runtime).await;
    notebooks_share_a_volume(bed, &*runtime).await;
    a_folder_of_the_operators_is_a_volume(bed, &*runtime).await;
    no_way_leads_out_of_a_root(bed, &*runtime).await;
    a_hook_is_begun_once_in_a_container(&*runtime).await;
    a_volume_that_was_set_aside_comes_back(&*runtime).await;
    what_has_no_volume_is_not_set_aside(&*runtime).await;
    notebooks_do_not_touch_each_other(&*runtime).await;
    a_call_that_is_dropped_leaves_nothing_behind(&*runtime).await;
    gpus_belong_to_one_instance_until_it_stops(&*runtime).await;
    drop(runtime);
    instances_outlive_the_server(bed).await;
}

async fn nothing_is_there_at_first(runtime: &dyn Runtime) {
    let spec = new_spec();
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    assert!(!is_listed(runtime, &spec).await);
    assert!(matches!(runtime.connect(spec.notebook).await, Err(RuntimeError::Absent)));
    assert!(matches!(runtime.usage(spec.notebook).await, Err(RuntimeError::Absent)));
    assert!(matches!(runtime.filling(spec.notebook).await, Err(RuntimeError::Absent)));
    runtime.stop(spec.notebook).await.unwrap();
    runtime.remove(spec.notebook).await.unwrap();
    runtime.discard_storage(spec.notebook).await.unwrap();
    assert!(runtime.capacity().await.unwrap().memory_bytes > 0);
    assert!(runtime.memory_available().await.unwrap() > 0);
    let boot = runtime.boot_id().await.unwrap();
    assert!(!boot.is_empty() && runtime.boot_id().await.unwrap() == boot);
}

async fn a_notebook_lives_and_dies(runtime: &dyn Runtime) {
    let spec = new_spec();
    bring(runtime, &spec, Upto::Serving).await;
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Serving);
    assert_eq!(ask(runtime, &spec).await, "HTTP/1.1 200 OK");
    let used = runtime.usage(spec.notebook).await.unwrap();
    assert!(used.foreground.is_empty(), "{used:?}");
    assert!(runtime.usage(spec.notebook).await.unwrap().cpu >= used.cpu, "processor time goes forward only");

    let filling = runtime.filling(spec.notebook).await.unwrap();
    assert!(filling.bytes.total > 4 << 30 && filling.bytes.total <= 5 << 30, "{filling:?}");
    assert!(filling.inodes.total > 0 && filling.fullness() == Fullness::Roomy, "{filling:?}");

    runtime.stop(spec.notebook).await.unwrap();
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    assert!(matches!(runtime.filling(spec.notebook).await, Err(RuntimeError::Absent)));
    assert!(matches!(runtime.connect(spec.notebook).await, Err(RuntimeError::Absent)));
    assert!(matches!(runtime.usage(spec.notebook).await, Err(RuntimeError::Absent)));
    assert!(is_listed(runtime, &spec).await, "the volume is kept");

    bring(runtime, &spec, Upto::Serving).await;
    assert_eq!(ask(runtime, &spec).await, "HTTP/1.1 200 OK");

    runtime.remove(spec.notebook).await.unwrap();
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    assert!(!is_listed(runtime, &spec).await);
}

async fn every_call_may_be_made_twice(runtime: &dyn Runtime) {
    let spec = new_spec();
    for upto in ALL {
        bring(runtime, &spec, upto).await;
        bring(runtime, &spec, upto).await;
    }
    assert_eq!(ask(runtime, &spec).await, "HTTP/1.1 200 OK");
    runtime.stop(spec.notebook).await.unwrap();
    runtime.stop(spec.notebook).await.unwrap();
    runtime.remove(spec.notebook).await.unwrap();
    runtime.remove(spec.notebook).await.unwrap();
    assert!(!is_listed(runtime, &spec).await);
}

async fn a_stop_is_whole_after_every_step(runtime: &dyn Runtime) {
    let spec = new_spec();
    for upto in ALL {
        bring(runtime, &spec, upto).await;
        runtime.stop(spec.notebook).await.unwrap();
        assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent, "after {upto:?}");
        assert!(is_listed(runtime, &spec).await, "after {upto:?}");
    }
    runtime.remove(spec.notebook).await.unwrap();
}

async fn a_removal_is_whole_after_every_step(runtime: &dyn Runtime) {
    for upto in ALL {
        let spec = new_spec();
        bring(runtime, &spec, upto).await;
        runtime.remove(spec.notebook).await.unwrap();
        assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent, "after {upto:?}");
        assert!(!is_listed(runtime, &spec).await, "after {upto:?}");
    }
}

async fn storage_grows_in_use_and_at_rest(runtime: &dyn Runtime) {
    let spec = new_spec();
    assert!(matches!(runtime.grow_storage(&spec).await, Err(RuntimeError::Absent)));
    assert!(!is_listed(runtime, &spec).await, "growing makes nothing");
    let mut larger = spec.clone();
    for (upto, gib) in [(Upto::Storage, 6), (Upto::Serving, 7)] {
        bring(runtime, &larger, upto).await;
        larger.volume.size_mut().unwrap().capacity_gib = gib;
        runtime.grow_storage(&larger).await.unwrap();
        runtime.grow_storage(&larger).await.unwrap();
    }
    assert_eq!(ask(runtime, &larger).await, "HTTP/1.1 200 OK");
    runtime.stop(larger.notebook).await.unwrap();
    bring(runtime, &larger, Upto::Serving).await;
    runtime.remove(larger.notebook).await.unwrap();
}

async fn a_hook_is_begun_once_in_a_container(runtime: &dyn Runtime) {
    let (spec, moment) = (InstanceSpec { hook_first: true, ..new_spec() }, Moment::PreStart);
    // It fails where it finds what another one has left.
    let action = Action::Command("test ! -e ~/mark && touch ~/mark".into());
    let hook = HookRun { moment, action, limit: Duration::from_secs(30) };
    bring(runtime, &spec, Upto::Storage).await;
    assert!(matches!(runtime.hook_end(spec.notebook, moment).await, Err(RuntimeError::Absent)));
    for _ in ["a container", "a fresh one"] {
        bring(runtime, &spec, Upto::Network).await;
        assert!(matches!(runtime.hook_end(spec.notebook, moment).await, Err(RuntimeError::Absent)));
        runtime.begin_hook(&spec, &hook).await.unwrap();
        runtime.begin_hook(&spec, &hook).await.unwrap();
        for told in [false, true] {
            let end = runtime.hook_end(spec.notebook, moment).await.unwrap();
            assert!(end.fate.is_success() && end.told == told, "{end:?}");
            runtime.hook_told(spec.notebook, moment).await.unwrap();
        }
        bring(runtime, &spec, Upto::Serving).await;
        runtime.begin_hook(&spec, &hook).await.unwrap();
        assert!(runtime.hook_end(spec.notebook, moment).await.unwrap().told, "it is the same one");
        runtime.stop(spec.notebook).await.unwrap();
    }
    runtime.remove(spec.notebook).await.unwrap();
}

async fn storage_can_be_discarded(runtime: &dyn Runtime) {
    let spec = new_spec();
    bring(runtime, &spec, Upto::Storage).await;
    assert!(is_listed(runtime, &spec).await);
    runtime.discard_storage(spec.notebook).await.unwrap();
    assert!(!is_listed(runtime, &spec).await);
}

/// Two notebooks that share a volume, brought up side by side; each sees what the other one writes. What one of them does
/// is nothing to the other, and the volume outlives both.
async fn notebooks_share_a_volume(bed: &dyn Bed, runtime: &dyn Runtime) {
    let (one, mut other) = (sharing(), sharing());
    other.volume.clone_from(&one.volume);
    let share = one.volume.id;
    let is_there = async || runtime.shares().await.unwrap().iter().any(|shared| shared.id == share);
    assert!(!is_there().await);
    tokio::join!(bring(runtime, &one, Upto::Serving), bring(runtime, &other, Upto::Serving));
    bed.write(runtime, one.notebook, "file", "from one").await;
    assert_eq!(bed.read(runtime, other.notebook, "file").await.as_deref(), Some("from one"));
    bed.write(runtime, other.notebook, "file", "from the other").await;
    assert_eq!(bed.read(runtime, one.notebook, "file").await.as_deref(), Some("from the other"));
    assert!(runtime.filling(one.notebook).await.unwrap().bytes.total <= 6 << 30);

    runtime.set_aside(one.notebook).await.unwrap();
    runtime.remove(one.notebook).await.unwrap();
    assert!(matches!(runtime.remove_share(share).await, Err(RuntimeError::Transient(_))), "the other one has it");
    assert_eq!(bed.read(runtime, other.notebook, "file").await.as_deref(), Some("from the other"));
    runtime.stop(other.notebook).await.unwrap();
    bring(runtime, &other, Upto::Serving).await;
    assert_eq!(bed.read(runtime, other.notebook, "file").await.as_deref(), Some("from the other"));

    runtime.remove(other.notebook).await.unwrap();
    assert!(is_there().await, "it is not one notebook's");
    // The machine lets go of it in its own time.
    let mut turns = 0;
    while let Err(e) = runtime.remove_share(share).await {
        turns += 1;
        assert!(matches!(e, RuntimeError::Transient(_)) && turns < 20, "{e}");
    }
    runtime.remove_share(share).await.unwrap();
    assert!(!is_there().await);
}

fn sharing() -> InstanceSpec {
    let mut spec = new_spec();
    spec.volume.kind = VolumeKind::Shared { capacity_gib: 6 };
    spec
}

fn at(root: &Root, below: &str) -> InstanceSpec {
    let mut spec = new_spec();
    spec.volume.kind = VolumeKind::Dedicated(format!("{}/{below}", root.uri).parse().unwrap());
    spec
}

async fn looked_up(runtime: &dyn Runtime, spec: &InstanceSpec) -> AtUri {
    runtime.at_uri(spec.volume.uri().unwrap()).await.unwrap()
}

/// A folder below a root, named itself or by a link that stays below it. What is in it stays.
async fn a_folder_of_the_operators_is_a_volume(bed: &dyn Bed, runtime: &dyn Runtime) {
    let root = bed.root();
    fs::create_dir_all(root.path.join("team/files")).unwrap();
    fs::set_permissions(root.path.join("team/files"), fs::Permissions::from_mode(0o777)).unwrap();
    symlink("team/../team", root.path.join("link")).unwrap();
    let (spec, linked) = (at(&root, "team/files"), at(&root, "link/files/"));
    for (spec, name) in [(&spec, "one"), (&linked, "two")] {
        assert_eq!(looked_up(runtime, spec).await, AtUri::Folder);
        bring(runtime, spec, Upto::Serving).await;
        bed.write(runtime, spec.notebook, name, name).await;
        assert_eq!(fs::read_to_string(root.path.join("team/files").join(name)).unwrap(), name);
        assert_eq!(runtime.shares().await.unwrap(), []);
    }
    assert_eq!(bed.read(runtime, spec.notebook, "two").await.as_deref(), Some("two"));
    runtime.remove(spec.notebook).await.unwrap();
    runtime.set_aside(linked.notebook).await.unwrap();
    runtime.remove(linked.notebook).await.unwrap();
    assert_eq!(fs::read_to_string(root.path.join("team/files/one")).unwrap(), "one");
}

/// Neither what is no folder nor what leads elsewhere is a volume, also when it has become that since the notebook was made.
async fn no_way_leads_out_of_a_root(bed: &dyn Bed, runtime: &dyn Runtime) {
    let root = bed.root();
    fs::write(root.path.join("file"), "").unwrap();
    symlink("/", root.path.join("out")).unwrap();
    symlink("..", root.path.join("up")).unwrap();
    symlink("/proc/self/root", root.path.join("magic")).unwrap();
    for below in ["none", "file", "out", "out/etc", "up", "magic/etc"] {
        let spec = at(&root, below);
        assert_eq!(looked_up(runtime, &spec).await, AtUri::Nothing, "{below}");
        assert!(matches!(runtime.prepare_storage(&spec).await, Err(RuntimeError::Permanent(_))), "{below}");
        runtime.remove(spec.notebook).await.unwrap();
    }
    let mut unlisted = new_spec();
    unlisted.volume.kind = VolumeKind::Dedicated("elsewhere:/export".parse().unwrap());
    assert_eq!(looked_up(runtime, &unlisted).await, AtUri::Unlisted);

    let spec = at(&root, "turned");
    fs::create_dir(root.path.join("turned")).unwrap();
    runtime.prepare_image(spec.image, &Silent).await.unwrap();
    runtime.prepare_storage(&spec).await.unwrap();
    fs::remove_dir(root.path.join("turned")).unwrap();
    symlink("/", root.path.join("turned")).unwrap();
    let refused = runtime.prepare_compute(&spec).await;
    assert!(matches!(&refused, Err(RuntimeError::Permanent(why)) if why.contains("nas:/export/turned")), "{refused:?}");
    runtime.remove(spec.notebook).await.unwrap();
}

async fn a_volume_that_was_set_aside_comes_back(runtime: &dyn Runtime) {
    let spec = new_spec();
    bring(runtime, &spec, Upto::Serving).await;
    let place = runtime.set_aside(spec.notebook).await.unwrap().expect("it had a volume");
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    assert!(!is_listed(runtime, &spec).await);
    let lost = runtime.lost().await.unwrap();
    assert!(lost.iter().any(|l| l.notebook == spec.notebook && l.place == place), "{lost:?}");
    assert_eq!(runtime.set_aside(spec.notebook).await.unwrap(), Some(place), "it is there already");

    bring(runtime, &spec, Upto::Serving).await;
    assert_eq!(ask(runtime, &spec).await, "HTTP/1.1 200 OK");
    assert!(runtime.lost().await.unwrap().iter().all(|l| l.notebook != spec.notebook), "it is the one that was lost");
    runtime.set_aside(spec.notebook).await.unwrap();
    runtime.remove(spec.notebook).await.unwrap();
    assert!(runtime.lost().await.unwrap().iter().all(|l| l.notebook != spec.notebook), "a removal is whole");
}

async fn what_has_no_volume_is_not_set_aside(runtime: &dyn Runtime) {
    let spec = new_spec();
    assert_eq!(runtime.set_aside(spec.notebook).await.unwrap(), None);
    assert!(!is_listed(runtime, &spec).await);
}

async fn notebooks_do_not_touch_each_other(runtime: &dyn Runtime) {
    let (one, other) = (new_spec(), new_spec());
    tokio::join!(bring(runtime, &one, Upto::Serving), bring(runtime, &other, Upto::Serving));
    runtime.remove(one.notebook).await.unwrap();
    assert_eq!(ask(runtime, &other).await, "HTTP/1.1 200 OK");
    runtime.remove(other.notebook).await.unwrap();
}

async fn a_call_that_is_dropped_leaves_nothing_behind(runtime: &dyn Runtime) {
    for upto in [Upto::Compute, Upto::Network, Upto::Serving] {
        for micros in [0, 300, 3_000, 20_000] {
            let spec = new_spec();
            bring(runtime, &spec, Upto::Storage).await;
            let _ = tokio::time::timeout(Duration::from_micros(micros), bring(runtime, &spec, upto)).await;
            runtime.remove(spec.notebook).await.unwrap();
            assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
            assert!(!is_listed(runtime, &spec).await, "dropped {upto:?} after {micros} µs");
        }
    }
}

/// Where there are none, one is too many.
async fn gpus_belong_to_one_instance_until_it_stops(runtime: &dyn Runtime) {
    let there = runtime.gpus().await.kind(None).map_or(0, |kind| kind.count);
    let (all, one, more) = (with_gpus(there), with_gpus(1), with_gpus(there + 1));
    for spec in [&all, &one, &more] {
        bring(runtime, spec, Upto::Storage).await;
    }
    runtime.prepare_compute(&more).await.unwrap_err();
    runtime.stop(more.notebook).await.unwrap();
    for _ in ["a container", "a fresh one"] {
        runtime.prepare_compute(&all).await.unwrap();
        runtime.prepare_compute(&all).await.unwrap();
        runtime.prepare_compute(&one).await.unwrap_err();
        runtime.stop(one.notebook).await.unwrap();
        runtime.stop(all.notebook).await.unwrap();
        if there > 0 {
            runtime.prepare_compute(&one).await.unwrap();
            runtime.stop(one.notebook).await.unwrap();
        }
    }
    for spec in [all, one, more] {
        runtime.remove(spec.notebook).await.unwrap();
    }
}

async fn instances_outlive_the_server(bed: &dyn Bed) {
    let first = bed.open().await;
    let there = first.gpus().await.kind(None).map_or(0, |kind| kind.count);
    let (spec, another) = (with_gpus(there), with_gpus(1));
    bring(&*first, &spec, Upto::Serving).await;
    let boot = first.boot_id().await.unwrap();
    drop(first);

    let second = bed.open().await;
    assert_eq!(second.observe(spec.notebook).await.unwrap(), Observed::Serving);
    second.usage(spec.notebook).await.unwrap();
    assert_eq!(ask(&*second, &spec).await, "HTTP/1.1 200 OK");
    assert!(is_listed(&*second, &spec).await);
    assert_eq!(second.boot_id().await.unwrap(), boot);
    bring(&*second, &another, Upto::Storage).await;
    second.prepare_compute(&another).await.unwrap_err();
    second.remove(another.notebook).await.unwrap();
    second.remove(spec.notebook).await.unwrap();
    assert!(!is_listed(&*second, &spec).await);
}
