//! The store's promises, with recipes of a shell line. What the built-in recipe makes is tested where notebooks start.

use std::borrow::Cow;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use atelier_runtime::{Reporter, Silent};
use tempfile::TempDir;

use super::*;

/// Remembers what it is told, and wakes whoever waits for it.
#[derive(Default)]
struct Heard {
    said: Mutex<Vec<String>>,
    news: tokio::sync::Notify,
}

impl Reporter for Heard {
    fn report(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
        self.news.notify_one();
    }
}

impl Heard {
    async fn until(&self, text: &str) {
        while !self.said.lock().unwrap().iter().any(|said| said == text) {
            self.news.notified().await;
        }
    }
}

fn recipe(line: &str) -> Recipe {
    Recipe {
        files: vec![("line.sh".into(), Cow::Owned(line.as_bytes().to_vec()))],
        command: ["sh", "{stage}/recipe/line.sh", "{stage}"].map(String::from).to_vec(),
        inputs: Vec::new(),
        entrypoint: vec!["/server".into()],
        image_environment: vec![("LANG".into(), "C.UTF-8".into())],
        environment: Vec::new(),
        host_files: vec![("word".into(), b"from the host".to_vec())],
        programs: Vec::new(),
        needs_root: false,
    }
}

fn store(cache: &TempDir, line: &str) -> ImageStore {
    ImageStore::with_recipe(ImageConfig::new(cache.path().into()), recipe(line))
}

/// The names in the cache, with the key written as `KEY`.
fn names(cache: &TempDir, store: &ImageStore) -> Vec<String> {
    let key = store.place().unwrap().1;
    let entries = fs::read_dir(cache.path().join("images")).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().replace(&key, "KEY")).collect();
    names.sort();
    names
}

/// Makes one layer with one file; counts its runs in the cache folder.
const GOOD: &str = "set -e; echo run >> $1/../../runs; mkdir -p $1/layers/0; cp $1/host/word $1/layers/0/word";

fn runs(cache: &TempDir) -> usize {
    fs::read_to_string(cache.path().join("runs")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn an_image_is_built_once_and_then_is_there() {
    let cache = TempDir::new().unwrap();
    let store = store(&cache, GOOD);
    assert_eq!(store.built_in(), None);
    let image = store.ensure_built_in(&Silent).await.unwrap();
    assert_eq!(store.ensure_built_in(&Silent).await.unwrap(), image);
    assert_eq!(store.rebuild(&Silent).await.unwrap(), image);
    assert_eq!(store.built_in().as_ref(), Some(&image));
    assert_eq!(runs(&cache), 1);
    assert_eq!(names(&cache, &store), ["KEY", "KEY.lock"]);

    assert_eq!(fs::read_to_string(image.layers[0].join("word")).unwrap(), "from the host");
    assert_eq!(image.server_argv_prefix, ["/server"]);
    assert_eq!(image.environment, [("LANG".to_owned(), "C.UTF-8".to_owned())]);
    assert!(image.size_bytes >= 4096);
    let folder = image.layers[0].parent().unwrap().parent().unwrap();
    let mut left: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["image.json", "layers"]);
}

#[tokio::test]
async fn the_hosts_settings_lie_on_top() {
    let cache = TempDir::new().unwrap();
    let mut config = ImageConfig::new(cache.path().into());
    config.settings.index.url = Some("https://index.example/simple".into());
    config.settings.proxy.https = Some("http://proxy.example:3128".into());
    let image = ImageStore::with_recipe(config, recipe(GOOD)).ensure_built_in(&Silent).await.unwrap();
    assert_eq!(image.layers.len(), 2);
    let told = fs::read_to_string(image.layers[0].join("etc/pip.conf")).unwrap();
    assert_eq!(told, "[global]\nindex-url = https://index.example/simple\n");
    assert!(image.layers[1].join("word").is_file());
    assert!(image.environment.contains(&("https_proxy".into(), "http://proxy.example:3128".into())));
}

/// Says a step, then waits until somebody writes to the pipe `go` in the cache folder.
const GATED: &str = "set -e; echo run >> $1/../../runs; echo 'atelier: waiting at the gate'
    read line < $1/../../go; mkdir -p $1/layers/0";

fn make_gate(cache: &TempDir) {
    assert!(Command::new("mkfifo").arg(cache.path().join("go")).status().unwrap().success());
}

async fn open_gate(cache: &TempDir) {
    let gate = cache.path().join("go");
    tokio::task::spawn_blocking(move || fs::write(gate, "go\n").unwrap()).await.unwrap();
}

#[tokio::test]
async fn many_callers_wait_for_one_build_and_hear_of_it() {
    let cache = TempDir::new().unwrap();
    make_gate(&cache);
    // The stores share nothing but the folder, as processes do.
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let heard = Arc::new(Heard::default());
            let (store, ear) = (store(&cache, GATED), heard.clone());
            (heard, tokio::spawn(async move { store.ensure_built_in(&*ear).await }))
        })
        .collect();
    for (heard, _) in &callers {
        heard.until("building the image: waiting at the gate").await;
    }
    open_gate(&cache).await;
    for (_, caller) in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(runs(&cache), 1);
}

#[tokio::test]
async fn a_build_goes_on_without_the_caller_that_started_it() {
    let cache = TempDir::new().unwrap();
    make_gate(&cache);
    let first = Arc::new(Heard::default());
    let (ear, store_of_first) = (first.clone(), store(&cache, GATED));
    let caller = tokio::spawn(async move { store_of_first.ensure_built_in(&*ear).await });
    first.until("building the image: waiting at the gate").await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    open_gate(&cache).await;
    store(&cache, GATED).ensure_built_in(&Silent).await.unwrap();
    assert_eq!(runs(&cache), 1);
}

#[tokio::test]
async fn a_failure_leaves_its_reason_and_nothing_else_until_a_rebuild() {
    let cache = TempDir::new().unwrap();
    let line = "echo run >> $1/../../runs; echo 'atelier: installing packages'
        echo 'E: cannot ask http://me:secret@mirror.example/ now'; echo 'E: all failed'; echo bye; mkdir -p $1/layers/0
        test -e $1/../../mended";
    let store = store(&cache, line);
    let said = store.ensure_built_in(&Silent).await.unwrap_err().to_string();
    assert!(said.contains("installing packages: E: cannot ask http://mirror.example/ now (exit status: 1)"), "{said}");
    assert_eq!(names(&cache, &store), ["KEY.failed", "KEY.lock"]);
    assert_eq!(store.built_in(), None);

    assert_eq!(store.ensure_built_in(&Silent).await.unwrap_err().to_string(), said);
    assert_eq!(runs(&cache), 1);
    assert_eq!(store.rebuild(&Silent).await.unwrap_err().to_string(), said);
    assert_eq!(runs(&cache), 2);

    fs::write(cache.path().join("mended"), "").unwrap();
    assert!(store.ensure_built_in(&Silent).await.is_err());
    store.rebuild(&Silent).await.unwrap();
    assert_eq!(names(&cache, &store), ["KEY", "KEY.lock"]);
    assert_eq!(runs(&cache), 3);
}

#[tokio::test]
async fn a_recipe_without_a_layer_has_failed() {
    let cache = TempDir::new().unwrap();
    let store = store(&cache, "true");
    let said = store.ensure_built_in(&Silent).await.unwrap_err().to_string();
    assert!(said.contains("no layer"), "{said}");
    assert_eq!(names(&cache, &store), ["KEY.failed", "KEY.lock"]);
}

#[tokio::test]
async fn a_host_that_cannot_build_is_no_failed_build() {
    let cache = TempDir::new().unwrap();
    let mut lacking = recipe(GOOD);
    lacking.programs = vec![("no-such-program", "no-such-package")];
    let store = ImageStore::with_recipe(ImageConfig::new(cache.path().into()), lacking);
    let refused = store.ensure_built_in(&Silent).await.unwrap_err();
    assert!(matches!(refused, ImageError::MissingProgram { .. }), "{refused}");
    assert_eq!(names(&cache, &store), ["KEY.lock"]);
}

#[tokio::test]
async fn what_dead_builders_left_is_removed_and_what_living_ones_use_is_not() {
    let cache = TempDir::new().unwrap();
    let store = store(&cache, GOOD);
    let key = store.place().unwrap().1;
    let images = cache.path().join("images");
    let other = |name: &str| Entry::new(cache.path(), name.into());
    let _alive = other("alive").try_lock().unwrap().unwrap();
    for name in [&format!("{key}.building-1"), "dead.building-1", "alive.building-2"] {
        fs::create_dir_all(images.join(name).join("layers/0/etc")).unwrap();
        fs::write(images.join(name).join("layers/0/etc/half"), "").unwrap();
    }
    fs::write(images.join(format!("{key}.progress")), "from the dead").unwrap();
    store.ensure_built_in(&Silent).await.unwrap();
    let left = names(&cache, &store);
    assert_eq!(left, ["KEY", "KEY.lock", "alive.building-2", "alive.lock", "dead.lock"]);
}

#[tokio::test]
async fn the_cache_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let cache = TempDir::new().unwrap();
    let inside = cache.path().join("new");
    let store = ImageStore::with_recipe(ImageConfig::new(inside.clone()), recipe("mkdir -p $1/layers/0"));
    store.ensure_built_in(&Silent).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&inside), mode(&inside.join("images"))), (0o700, 0o700));
}

/// The supervisor in its pid namespace, made without root. Reading to the end of the output proves that every process
/// has ended: each of them holds it open.
fn supervised(line: &str) -> std::process::Child {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recipe/supervise.sh");
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sh", folder, "sh", "-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn when_the_builder_dies_everything_it_started_dies() {
    let mut child = supervised("sleep 1000 & echo started; sleep 1000");
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    drop(child.stdin.take());
    output.read_to_string(&mut line).unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn the_supervisor_passes_the_recipes_answer_on() {
    for code in [0, 7] {
        let mut child = supervised(&format!("exit {code}"));
        // Waiting would close it.
        let _life = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}
