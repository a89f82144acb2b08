//! Where the tests run notebooks: a data folder of their own on this machine, and what it looked like before.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "shared by several test programs")]

pub mod kernel;
pub mod processes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atelier_core::id::{ImageId, NotebookId};
use atelier_core::image::BUILT_IN;
use atelier_runtime::contract::Bed;
use atelier_runtime::{Exec, ExecSpec, Program, Reporter, Root, Runtime, RuntimeError};
use atelier_runtime_local::image::{ImageConfig, ImageStore};
use atelier_runtime_local::{ImageSource, Launcher, LocalConfig, LocalRuntime, ReadyImage};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

/// This machine, with a data folder for one test.
pub struct Machine {
    pub data: TempDir,
    /// The folder that notebooks can have at `nas:/export`.
    pub root: TempDir,
    pub config: LocalConfig,
    before: BTreeSet<String>,
}

impl Machine {
    /// A data folder where containers can be made. Tests that call this are left out, and counted so, where the build
    /// did not run as root.
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "needs root");
        let data = TempDir::new().unwrap();
        let root = TempDir::new().unwrap();
        let mut config = LocalConfig::new(data.path().to_owned());
        config.roots = vec![Root { uri: "nas:/export".parse().unwrap(), path: root.path().to_owned() }];
        // The argument means nothing to the launcher; the tests find it by that.
        config.launcher =
            Launcher { program: env!("CARGO_BIN_EXE_atelier-launch").into(), args: vec![mark(data.path())] };
        // Each would import a notebook server of its own.
        config.zygote = false;
        let before = everything(data.path());
        Self { data, root, config, before }
    }

    /// The same, where servers are forked once the zygote is warm.
    pub fn with_zygote() -> Self {
        let mut machine = Self::new();
        machine.config.zygote = true;
        machine
    }

    pub fn runtime(&self) -> Arc<LocalRuntime> {
        open(self.config.clone())
    }

    /// The same, where each further image is the built-in one with `layer` on top.
    pub fn runtime_with(&self, layer: PathBuf) -> Arc<LocalRuntime> {
        let images = Layered { built_in: built_in(), layer };
        LocalRuntime::open(self.config.clone(), Arc::new(images)).unwrap()
    }

    /// Fails when anything is there that was not there before.
    pub fn is_clean(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left: Vec<_> = everything(self.data.path()).difference(&self.before).cloned().collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "left behind: {left:#?}");
            // The kernel takes network namespaces down in its own time and tells nobody.
            std::thread::yield_now();
        }
    }
}

impl Drop for Machine {
    /// Whatever the test did: nothing of it stays.
    fn drop(&mut self) {
        let run = self.config.run_dir.join(mark(self.data.path()));
        let names = fs::read_dir(self.data.path().join("notebooks")).into_iter().flatten();
        let ids: Vec<_> = names.flatten().filter_map(|n| n.file_name().to_str()?.parse().ok()).collect();
        let config = self.config.clone();
        let cleaned = std::thread::spawn(move || {
            let executor = tokio::runtime::Runtime::new().unwrap();
            executor.block_on(async move {
                let runtime = open(config);
                for id in ids {
                    runtime.remove(id).await.unwrap();
                }
            });
        });
        let _ = cleaned.join();
        let _ = fs::remove_dir_all(run);
    }
}

fn open(config: LocalConfig) -> Arc<LocalRuntime> {
    LocalRuntime::open(config, Arc::new(built_in())).unwrap()
}

/// The built-in image: built now if nobody did before on this machine.
fn built_in() -> ImageStore {
    ImageStore::open(ImageConfig::detect())
}

struct Layered {
    built_in: ImageStore,
    layer: PathBuf,
}

#[async_trait]
impl ImageSource for Layered {
    async fn ensure(&self, image: ImageId, reporter: &dyn Reporter) -> Result<ReadyImage, RuntimeError> {
        let mut ready = self.built_in.ensure(BUILT_IN, reporter).await?;
        if image != BUILT_IN {
            ready.layers.insert(0, self.layer.clone());
            ready.zygotes = None;
        }
        Ok(ready)
    }

    async fn size(&self, _image: ImageId) -> Option<u64> {
        ImageSource::size(&self.built_in, BUILT_IN).await
    }
}

/// The launcher that works for this data folder, if there is one.
pub fn launcher(data: &Path) -> Option<rustix::process::Pid> {
    let mark = mark(data);
    fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        let pid = process.file_name().to_str()?.parse().ok().and_then(rustix::process::Pid::from_raw)?;
        (arguments.contains("atelier-launch") && arguments.contains(&mark)).then_some(pid)
    })
}

#[async_trait]
impl Bed for Machine {
    async fn open(&self) -> Arc<dyn Runtime> {
        let runtime = self.runtime();
        if self.config.zygote {
            runtime.begin().await;
            runtime.zygote().await.unwrap();
        }
        runtime
    }

    fn root(&self) -> Root {
        self.config.roots[0].clone()
    }

    async fn write(&self, runtime: &dyn Runtime, notebook: NotebookId, name: &str, text: &str) {
        let (ended, said) = run(runtime, notebook, r#"printf %s "$1" > "$0""#, &[name, text]).await;
        assert_eq!(ended, 0, "{said}");
    }

    async fn read(&self, runtime: &dyn Runtime, notebook: NotebookId, name: &str) -> Option<String> {
        let (ended, said) = run(runtime, notebook, r#"cat "$0""#, &[name]).await;
        (ended == 0).then_some(said)
    }
}

/// Runs a shell script in the volume of an instance, as its user; how it ended, and what it wrote.
pub async fn run(runtime: &dyn Runtime, notebook: NotebookId, script: &str, arguments: &[&str]) -> (i32, String) {
    let words = ["sh", "-c", script].iter().chain(arguments).map(|&word| word.to_owned()).collect();
    let spec = ExecSpec { program: Program::Command(words), env: Vec::new(), folder: None, terminal: None };
    let Exec { input, mut output, end, .. } = runtime.exec(notebook, spec).await.unwrap();
    drop(input);
    let mut said = String::new();
    output.read_to_string(&mut said).await.unwrap();
    (end.await.unwrap(), said)
}

/// The name under which this data folder's things appear everywhere: see the crate's places.
pub fn mark(data: &Path) -> String {
    use sha2::{Digest, Sha256};
    use std::os::unix::ffi::OsStrExt;
    let data = data.canonicalize().unwrap();
    let digest = Sha256::digest(data.as_os_str().as_bytes());
    digest[..4].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Everything of this data folder that the machine shows: processes, mounts, loop devices, cgroups, interfaces, slots,
/// sockets and folders.
fn everything(data: &Path) -> BTreeSet<String> {
    let mark = mark(data);
    let data_text = data.to_str().unwrap();
    let names = |folder: &str| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect()
    };
    let mut all = BTreeSet::new();
    let mut note = |kind: &str, what: String| {
        all.insert(format!("{kind} {what}"));
    };
    for process in names("/proc").iter().filter(|p| p.join("cgroup").exists()) {
        let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        if cgroup.contains(&mark) {
            note("process", process.display().to_string());
        }
    }
    for line in fs::read_to_string("/proc/self/mounts").unwrap().lines() {
        if line.contains(&mark) || line.contains(data_text) {
            note("mount", line.to_owned());
        }
    }
    for file in names(data_text).iter().filter(|path| path.is_file()) {
        note("file", file.display().to_string());
    }
    for device in names("/sys/block") {
        let backing = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        if backing.contains(data_text) {
            note("loop", backing);
        }
    }
    for hierarchy in names("/sys/fs/cgroup") {
        for group in names(hierarchy.join("atelier").to_str().unwrap()) {
            if group.to_str().unwrap().contains(&mark) {
                note("cgroup", group.display().to_string());
            }
        }
    }
    for slot in names("/run/atelier/slots") {
        if fs::read_to_string(&slot).unwrap_or_default().contains(data_text) {
            let number = slot.file_name().unwrap().to_str().unwrap().to_owned();
            note("slot", slot.display().to_string());
            if Path::new("/sys/class/net").join(format!("atl{number}")).exists() {
                note("interface", number);
            }
        }
    }
    for socket in fs::read_to_string("/proc/net/unix").unwrap().lines() {
        if socket.contains(&mark) {
            note("socket", socket.rsplit(' ').next().unwrap().to_owned());
        }
    }
    for folder in names(&format!("/run/atelier/{mark}")).iter().chain(&names(data.join("notebooks").to_str().unwrap()))
    {
        if folder.is_dir() {
            note("folder", folder.display().to_string());
        }
    }
    all
}
