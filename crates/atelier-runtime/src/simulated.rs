//! The simulated runtime: it keeps the promises of the trait and runs nothing.
//!
//! It exists for tests of load and faults, where thousands of notebooks must come and go in seconds and where calls
//! must fail on command. What it "runs" is a folder of small files, one folder per notebook, so that a server that was
//! killed finds its instances again, and leftovers can be counted by listing a folder. Its notebook server answers
//! every HTTP request with a line that says it is simulated, and says that it has no kernels and no terminals; it sends
//! every message of a WebSocket back ([`mod@answer`]); nothing that a user computes ever happens.
//!
//! The files are written by plain blocking calls: they take microseconds, and nobody's work depends on this runtime.

pub mod answer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use atelier_core::filling::{Filling, Share};
use atelier_core::flavor::Capacity;
use atelier_core::gpu::{FlavorGpus, Gpus};
use atelier_core::hook::Moment;
use atelier_core::id::{ImageId, NotebookId, VolumeId};
use atelier_core::volume::{ShareUri, VolumeKind};
use tokio::sync::Notify;

use crate::{
    AtUri, Connection, Exec, ExecSpec, Fate, HookEnd, HookRun, InstanceSpec, Lost, Observed, OutOfMemory, Process,
    Reporter, Root, Runtime, RuntimeError, RuntimeKind, SharedStorage, Usage, Way,
};

/// The calls that faults can be injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Runtime::prepare_image`]
    PrepareImage,
    /// [`Runtime::prepare_storage`]
    PrepareStorage,
    /// [`Runtime::grow_storage`]
    GrowStorage,
    /// [`Runtime::discard_storage`]
    DiscardStorage,
    /// [`Runtime::prepare_compute`]
    PrepareCompute,
    /// [`Runtime::configure_network`]
    ConfigureNetwork,
    /// [`Runtime::begin_hook`]
    BeginHook,
    /// [`Runtime::initialize`]
    Initialize,
    /// [`Runtime::stop`]
    Stop,
    /// [`Runtime::remove`]
    Remove,
    /// [`Runtime::observe`]
    Observe,
    /// [`Runtime::usage`]
    Usage,
    /// [`Runtime::list`]
    List,
    /// [`Runtime::set_aside`]
    SetAside,
    /// [`Runtime::remove_share`]
    RemoveShare,
}

/// Decides before each call whether it fails, and may let it wait.
#[async_trait]
pub trait Faults: Send + Sync {
    /// An error makes the call fail before it had any effect. Whatever this does, the call does: it may wait, and it
    /// may hold up the thread that it is on, as a kernel does that does not answer.
    async fn before(&self, call: Call, id: Option<NotebookId>) -> Result<(), RuntimeError>;

    /// An error makes the call fail although it had its effect: the reply was lost.
    async fn after(&self, _call: Call, _id: Option<NotebookId>) -> Result<(), RuntimeError> {
        Ok(())
    }
}

/// No faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

#[async_trait]
impl Faults for NoFaults {
    async fn before(&self, _call: Call, _id: Option<NotebookId>) -> Result<(), RuntimeError> {
        Ok(())
    }
}

/// The simulated runtime.
pub struct SimulatedRuntime {
    folder: PathBuf,
    capacity: Capacity,
    /// The kinds of its pretended GPUs, each by its number. Held while one is given.
    gpus: Mutex<Vec<String>>,
    faults: Arc<dyn Faults>,
    roots: Vec<Root>,
    broken: Mutex<HashSet<NotebookId>>,
    usage: Mutex<HashMap<NotebookId, Usage>>,
    fillings: Mutex<HashMap<NotebookId, Filling>>,
    hooks: Mutex<Hooks>,
    hook_changed: Notify,
    changed: Notify,
    short: Mutex<VecDeque<OutOfMemory>>,
    shorter: Notify,
}

/// What is pretended of hooks.
#[derive(Default)]
struct Hooks {
    /// The ends of those that are begun from now on; `None` for those that do not end. Without a word they do well.
    ends: HashMap<Moment, Option<HookEnd>>,
    /// Every hook that was really begun.
    begun: Vec<HookRun>,
}

/// How a hook ends of which nobody has said anything.
const WELL: HookEnd = HookEnd { fate: Fate::Status(0), millis: 0, said: String::new(), told: false };

/// What volumes are like that nobody has said anything of.
const EMPTY: Filling = Filling { bytes: Share { used: 0, total: 5 << 30 }, inodes: Share { used: 0, total: 1 << 20 } };

/// What is kept of a notebook, in the order in which it comes to be.
const VOLUME: &str = "volume";
const CONTAINER: &str = "container";
const NETWORK: &str = "network";
const SERVER: &str = "server";
/// The numbers of its GPUs, one in a line.
const GPUS: &str = "gpus";
/// Leads to the folder that an instance has for its volume, where that is not its own.
const WORK: &str = "work";
/// Where volumes are that were set aside.
const LOST: &str = "lost";
/// Where shared volumes are, each a folder.
const SHARES: &str = "shares";
/// The name of the pretended boot, beside the notebooks.
const BOOT: &str = "boot-id";

impl SimulatedRuntime {
    /// A runtime that keeps its pretended instances in `folder`, on a pretended machine of this size.
    pub fn open(folder: &Path, capacity: Capacity, faults: Arc<dyn Faults>) -> Result<Self, RuntimeError> {
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        Ok(Self {
            folder: folder.into(),
            capacity,
            gpus: Mutex::default(),
            faults,
            roots: Vec::new(),
            broken: Mutex::default(),
            usage: Mutex::default(),
            fillings: Mutex::default(),
            hooks: Mutex::default(),
            hook_changed: Notify::new(),
            changed: Notify::new(),
            short: Mutex::default(),
            shorter: Notify::new(),
        })
    }

    /// Pretends that the machine has GPUs of these kinds, from now on.
    pub fn pretend_gpus(&self, kinds: &[&str]) {
        *locked(&self.gpus) = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    }

    /// The numbers of the GPUs that the instance of `id` has.
    pub fn gpus_of(&self, id: NotebookId) -> Vec<usize> {
        let text = std::fs::read_to_string(self.path(id, GPUS)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Gives the instance its GPUs, unless it has them.
    fn give_gpus(&self, id: NotebookId, wanted: &FlavorGpus) -> Result<(), RuntimeError> {
        let kinds = locked(&self.gpus);
        if !self.gpus_of(id).is_empty() {
            return Ok(());
        }
        let meant = counted(&kinds).kind(wanted.kind.as_deref()).map(|kind| kind.name.clone());
        let taken: HashSet<_> = self.known()?.into_iter().flat_map(|other| self.gpus_of(other)).collect();
        let free = (0..kinds.len()).filter(|n| !taken.contains(n) && Some(&kinds[*n]) == meant.as_ref());
        let given: Vec<_> = free.map(|n| n.to_string()).take(wanted.count.get() as usize).collect();
        if given.len() < wanted.count.get() as usize {
            return Err(RuntimeError::Transient("not enough GPUs are free".into()));
        }
        self.put(id, GPUS, &given.join("\n"))
    }

    /// The same, with folders of the operator's. They are real.
    #[must_use]
    pub fn with_roots(self, roots: Vec<Root>) -> Self {
        Self { roots, ..self }
    }

    /// Pretends that the notebook server of `id` ended by itself.
    pub fn break_server(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.take(id, SERVER)?;
        locked(&self.broken).insert(id);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Pretends that memory ran out.
    pub fn run_out_of_memory(&self, what: OutOfMemory) {
        locked(&self.short).push_back(what);
        self.shorter.notify_one();
    }

    /// Pretends that the hooks of this moment end so from now on, those that have been begun too; `None`: not at all.
    pub fn pretend_hook(&self, moment: Moment, end: Option<HookEnd>) {
        locked(&self.hooks).ends.insert(moment, end);
        self.hook_changed.notify_waiters();
    }

    /// The hooks that were begun since this was opened, in their order.
    pub fn hooks_begun(&self) -> Vec<HookRun> {
        locked(&self.hooks).begun.clone()
    }

    /// How the hook of this moment has ended, if it has.
    fn pretended_end(&self, id: NotebookId, moment: Moment) -> Result<Option<HookEnd>, RuntimeError> {
        if !self.has(id, &begun(moment)) {
            return Err(RuntimeError::Absent);
        }
        let end = locked(&self.hooks).ends.get(&moment).cloned().unwrap_or(Some(WELL));
        Ok(end.map(|end| HookEnd { told: self.has(id, &told(moment)), ..end }))
    }

    /// Pretends that the instance of `id` uses and does this, until it stops. Without a word it does nothing.
    pub fn pretend(&self, id: NotebookId, usage: Usage) {
        locked(&self.usage).insert(id, usage);
    }

    /// Pretends that the volume of `id` is so full, until it stops. Without a word it is empty.
    pub fn pretend_filled(&self, id: NotebookId, filling: Filling) {
        locked(&self.fillings).insert(id, filling);
    }

    /// Pretends that the machine was rebooted: everything but the volumes is gone, and the boot has another name.
    pub fn reboot(&self) -> Result<(), RuntimeError> {
        let boots: u32 = self.boot()?.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        for id in self.known()? {
            self.stop_all(id)?;
        }
        let path = self.folder.join(BOOT);
        std::fs::write(&path, format!("boot-{}", boots + 1)).map_err(|e| failed(&path, &e))
    }

    fn boot(&self) -> Result<String, RuntimeError> {
        let path = self.folder.join(BOOT);
        match std::fs::read_to_string(&path) {
            Ok(boot) => Ok(boot),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok("boot-0".into()),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    fn known(&self) -> Result<Vec<NotebookId>, RuntimeError> {
        ids_in(&self.folder)
    }

    fn path(&self, id: NotebookId, what: &str) -> PathBuf {
        self.folder.join(id.to_string()).join(what)
    }

    fn has(&self, id: NotebookId, what: &str) -> bool {
        self.path(id, what).exists()
    }

    fn put(&self, id: NotebookId, what: &str, content: &str) -> Result<(), RuntimeError> {
        let path = self.path(id, what);
        let folder = self.folder.join(id.to_string());
        std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
        std::fs::write(&path, content).map_err(|e| failed(&path, &e))
    }

    fn take(&self, id: NotebookId, what: &str) -> Result<(), RuntimeError> {
        let path = self.path(id, what);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&path, &e)),
            _ => Ok(()),
        }
    }

    fn lost_place(&self, id: NotebookId) -> PathBuf {
        self.folder.join(LOST).join(id.to_string())
    }

    fn share(&self, id: VolumeId) -> PathBuf {
        self.folder.join(SHARES).join(id.to_string())
    }

    /// The folder at an address, wherever its root and the links below it are: in the root, or it is none.
    fn folder_at(&self, uri: &ShareUri) -> Result<PathBuf, AtUri> {
        let none = if self.roots.is_empty() { AtUri::NoRoots } else { AtUri::Unlisted };
        let (root, below) = Root::of(&self.roots, uri).ok_or(none)?;
        let found = root.canonicalize().and_then(|root| Ok((root.join(below).canonicalize()?, root)));
        let inside = found.ok().filter(|(folder, root)| folder.starts_with(root) && folder.is_dir());
        inside.map(|(folder, _)| folder).ok_or(AtUri::Nothing)
    }

    /// The folder that the instance has for its volume, where that is not its own.
    fn folder_of(&self, spec: &InstanceSpec) -> Result<Option<PathBuf>, RuntimeError> {
        match &spec.volume.kind {
            VolumeKind::Own(_) => Ok(None),
            VolumeKind::Shared { .. } => Ok(Some(self.share(spec.volume.id))),
            VolumeKind::Dedicated(uri) => self.folder_at(uri).map(Some).map_err(|none| none.trouble(uri)),
        }
    }

    fn find_again(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.rename(&self.lost_place(id), &self.folder.join(id.to_string()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), RuntimeError> {
        let lost = self.folder.join(LOST);
        std::fs::create_dir_all(&lost).map_err(|e| failed(&lost, &e))?;
        std::fs::rename(from, to).map_err(|e| failed(from, &e))
    }

    /// Everything of a notebook, also what was set aside.
    fn take_everything(&self, id: NotebookId) -> Result<(), RuntimeError> {
        Self::take_folder(&self.folder.join(id.to_string()))?;
        Self::take_folder(&self.lost_place(id))
    }

    fn take_folder(folder: &Path) -> Result<(), RuntimeError> {
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(folder, &e)),
            _ => Ok(()),
        }
    }

    fn stop_all(&self, id: NotebookId) -> Result<(), RuntimeError> {
        for moment in Moment::ALL {
            self.take(id, &begun(moment))?;
            self.take(id, &told(moment))?;
        }
        for what in [SERVER, NETWORK, WORK, CONTAINER, GPUS] {
            self.take(id, what)?;
        }
        locked(&self.broken).remove(&id);
        locked(&self.usage).remove(&id);
        locked(&self.fillings).remove(&id);
        self.hook_changed.notify_waiters();
        Ok(())
    }

    /// A later step is refused while an earlier one is missing: an engine that mixes them up is found out.
    fn needs(&self, id: NotebookId, what: &str) -> Result<(), RuntimeError> {
        if self.has(id, what) { Ok(()) } else { Err(RuntimeError::Permanent(format!("there is no {what} yet"))) }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pretended GPUs of these kinds, none of which has any memory.
fn counted(kinds: &[String]) -> Gpus {
    Gpus::of(kinds.iter().map(|kind| (kind.clone(), 0)))
}

/// That a hook was begun.
fn begun(moment: Moment) -> String {
    format!("{}-begun", moment.as_str())
}

/// That its end was told.
fn told(moment: Moment) -> String {
    format!("{}-told", moment.as_str())
}

/// The ids that are names in a folder, if it is there.
fn ids_in<T: FromStr>(folder: &Path) -> Result<Vec<T>, RuntimeError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(folder, &e)),
    }
}

/// What is written into the volume of a notebook's own.
fn size(spec: &InstanceSpec) -> String {
    format!("{} GiB", spec.volume.capacity_gib().unwrap_or_default())
}

fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::Transient(format!("{}: {error}", path.display()))
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Simulated
    }

    async fn boot_id(&self) -> Result<String, RuntimeError> {
        self.boot()
    }

    async fn capacity(&self) -> Result<Capacity, RuntimeError> {
        Ok(self.capacity)
    }

    async fn gpus(&self) -> Gpus {
        counted(&locked(&self.gpus))
    }

    async fn memory_available(&self) -> Result<u64, RuntimeError> {
        Ok(self.capacity.memory_bytes)
    }

    async fn image_size(&self, _image: ImageId) -> Result<Option<u64>, RuntimeError> {
        Ok(None)
    }

    async fn prepare_image(&self, _image: ImageId, reporter: &dyn Reporter) -> Result<(), RuntimeError> {
        reporter.report("simulated: no image is needed");
        self.faults.before(Call::PrepareImage, None).await
    }

    async fn prepare_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.faults.before(Call::PrepareStorage, Some(spec.notebook)).await?;
        if let Some(folder) = self.folder_of(spec)?.filter(|_| spec.volume.is_shared()) {
            std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
        }
        if self.has(spec.notebook, VOLUME) {
            return self.faults.after(Call::PrepareStorage, Some(spec.notebook)).await;
        }
        if self.lost_place(spec.notebook).exists() {
            self.find_again(spec.notebook)?;
        } else {
            self.put(spec.notebook, VOLUME, &size(spec))?;
        }
        self.faults.after(Call::PrepareStorage, Some(spec.notebook)).await
    }

    async fn grow_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.faults.before(Call::GrowStorage, Some(spec.notebook)).await?;
        if !self.has(spec.notebook, VOLUME) {
            return Err(RuntimeError::Absent);
        }
        self.put(spec.notebook, VOLUME, &size(spec))?;
        self.faults.after(Call::GrowStorage, Some(spec.notebook)).await
    }

    async fn discard_storage(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.faults.before(Call::DiscardStorage, Some(id)).await?;
        self.take_everything(id)?;
        self.faults.after(Call::DiscardStorage, Some(id)).await
    }

    async fn prepare_compute(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.faults.before(Call::PrepareCompute, Some(spec.notebook)).await?;
        self.needs(spec.notebook, VOLUME)?;
        if let Some(gpus) = &spec.gpus {
            self.give_gpus(spec.notebook, gpus)?;
        }
        if let Some(folder) = self.folder_of(spec)? {
            let work = self.path(spec.notebook, WORK);
            self.take(spec.notebook, WORK)?;
            std::os::unix::fs::symlink(folder, &work).map_err(|e| failed(&work, &e))?;
        }
        self.put(spec.notebook, CONTAINER, &format!("{} m, {} bytes", spec.cpu_millis, spec.memory_bytes))?;
        self.faults.after(Call::PrepareCompute, Some(spec.notebook)).await
    }

    async fn configure_network(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.faults.before(Call::ConfigureNetwork, Some(spec.notebook)).await?;
        self.needs(spec.notebook, CONTAINER)?;
        self.put(spec.notebook, NETWORK, "")?;
        self.faults.after(Call::ConfigureNetwork, Some(spec.notebook)).await
    }

    async fn begin_hook(&self, spec: &InstanceSpec, hook: &HookRun) -> Result<(), RuntimeError> {
        self.faults.before(Call::BeginHook, Some(spec.notebook)).await?;
        self.needs(spec.notebook, if hook.moment == Moment::PreStart { NETWORK } else { SERVER })?;
        let begun = begun(hook.moment);
        if !self.has(spec.notebook, &begun) {
            self.put(spec.notebook, &begun, "")?;
            locked(&self.hooks).begun.push(hook.clone());
        }
        self.faults.after(Call::BeginHook, Some(spec.notebook)).await
    }

    async fn hook_end(&self, id: NotebookId, moment: Moment) -> Result<HookEnd, RuntimeError> {
        loop {
            let mut changed = std::pin::pin!(self.hook_changed.notified());
            changed.as_mut().enable();
            if let Some(end) = self.pretended_end(id, moment)? {
                return Ok(end);
            }
            changed.await;
        }
    }

    async fn hook_told(&self, id: NotebookId, moment: Moment) -> Result<(), RuntimeError> {
        match self.pretended_end(id, moment)? {
            Some(_) => self.put(id, &told(moment), ""),
            None => Err(RuntimeError::Permanent("the hook has not ended".into())),
        }
    }

    async fn initialize(&self, spec: &InstanceSpec) -> Result<Way, RuntimeError> {
        self.faults.before(Call::Initialize, Some(spec.notebook)).await?;
        self.needs(spec.notebook, NETWORK)?;
        let ran = self.has(spec.notebook, SERVER);
        self.put(spec.notebook, SERVER, "")?;
        locked(&self.broken).remove(&spec.notebook);
        self.faults.after(Call::Initialize, Some(spec.notebook)).await?;
        Ok(if ran { Way::Already } else { Way::CommandLine { why: None } })
    }

    async fn stop(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.faults.before(Call::Stop, Some(id)).await?;
        self.stop_all(id)?;
        self.faults.after(Call::Stop, Some(id)).await
    }

    async fn remove(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.faults.before(Call::Remove, Some(id)).await?;
        self.stop_all(id)?;
        self.take_everything(id)?;
        self.faults.after(Call::Remove, Some(id)).await
    }

    async fn observe(&self, id: NotebookId) -> Result<Observed, RuntimeError> {
        self.faults.before(Call::Observe, Some(id)).await?;
        Ok(if !self.has(id, CONTAINER) {
            Observed::Absent
        } else if self.has(id, SERVER) {
            Observed::Serving
        } else {
            let broken = locked(&self.broken).contains(&id);
            Observed::Idle { ended: broken.then(|| "the notebook server was made to end".into()) }
        })
    }

    async fn usage(&self, id: NotebookId) -> Result<Usage, RuntimeError> {
        self.faults.before(Call::Usage, Some(id)).await?;
        if !self.has(id, CONTAINER) {
            return Err(RuntimeError::Absent);
        }
        Ok(locked(&self.usage).get(&id).cloned().unwrap_or_default())
    }

    /// Nothing runs here.
    async fn processes(&self, id: NotebookId) -> Result<Vec<Process>, RuntimeError> {
        if self.has(id, CONTAINER) { Ok(Vec::new()) } else { Err(RuntimeError::Absent) }
    }

    async fn filling(&self, id: NotebookId) -> Result<Filling, RuntimeError> {
        if !self.has(id, CONTAINER) {
            return Err(RuntimeError::Absent);
        }
        Ok(locked(&self.fillings).get(&id).copied().unwrap_or(EMPTY))
    }

    async fn list(&self) -> Result<Vec<NotebookId>, RuntimeError> {
        self.faults.before(Call::List, None).await?;
        self.known()
    }

    async fn set_aside(&self, id: NotebookId) -> Result<Option<String>, RuntimeError> {
        self.faults.before(Call::SetAside, Some(id)).await?;
        self.stop_all(id)?;
        let (from, to) = (self.folder.join(id.to_string()), self.lost_place(id));
        if self.has(id, VOLUME) {
            self.rename(&from, &to)?;
        } else {
            Self::take_folder(&from)?;
        }
        self.faults.after(Call::SetAside, Some(id)).await?;
        Ok(to.exists().then(|| to.display().to_string()))
    }

    async fn lost(&self) -> Result<Vec<Lost>, RuntimeError> {
        let lost = ids_in(&self.folder.join(LOST))?.into_iter().map(|id| {
            let place = self.lost_place(id);
            let bytes = std::fs::metadata(place.join(VOLUME)).map_or(0, |volume| volume.len());
            Lost { notebook: id, place: place.display().to_string(), bytes }
        });
        Ok(lost.collect())
    }

    async fn shares(&self) -> Result<Vec<SharedStorage>, RuntimeError> {
        let folder = self.folder.join(SHARES);
        let shares = ids_in(&folder)?.into_iter().map(|id| {
            let place = self.share(id);
            let files = std::fs::read_dir(&place).into_iter().flatten().flatten();
            let bytes = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
            SharedStorage { id, place: place.display().to_string(), bytes }
        });
        Ok(shares.collect())
    }

    async fn remove_share(&self, id: VolumeId) -> Result<(), RuntimeError> {
        self.faults.before(Call::RemoveShare, None).await?;
        let share = self.share(id);
        for notebook in self.known()? {
            if std::fs::read_link(self.path(notebook, WORK)).is_ok_and(|work| work == share) {
                return Err(RuntimeError::Transient(format!("instance {notebook} has it")));
            }
        }
        Self::take_folder(&share)?;
        self.faults.after(Call::RemoveShare, None).await
    }

    async fn at_uri(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError> {
        Ok(self.folder_at(uri).map_or_else(|none| none, |_| AtUri::Folder))
    }

    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        if !self.has(id, SERVER) {
            return Err(RuntimeError::Absent);
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(answer::answer(far));
        Ok(Box::new(near))
    }

    async fn exec(&self, id: NotebookId, _spec: ExecSpec) -> Result<Exec, RuntimeError> {
        if !self.has(id, CONTAINER) {
            return Err(RuntimeError::Absent);
        }
        Err(RuntimeError::Permanent("nothing runs in the simulated runtime".into()))
    }

    fn log_file(&self, _id: NotebookId) -> Option<PathBuf> {
        None
    }

    async fn out_of_memory(&self) -> OutOfMemory {
        loop {
            let next = locked(&self.short).pop_front();
            match next {
                Some(what) => return what,
                None => self.shorter.notified().await,
            }
        }
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::{self, Bed};

    struct Folders {
        kept: tempfile::TempDir,
        root: tempfile::TempDir,
    }

    #[async_trait]
    impl Bed for Folders {
        async fn open(&self) -> Arc<dyn Runtime> {
            let capacity =
                Capacity { cpu_millis: 8000, memory_bytes: 16 << 30, cpu_overcommit: 1, memory_overcommit: 1 };
            let runtime = SimulatedRuntime::open(self.kept.path(), capacity, Arc::new(NoFaults)).unwrap();
            runtime.pretend_gpus(&["A", "B", "A"]);
            Arc::new(runtime.with_roots(vec![self.root()]))
        }

        fn root(&self) -> Root {
            Root { uri: "nas:/export".parse().unwrap(), path: self.root.path().into() }
        }

        async fn write(&self, _runtime: &dyn Runtime, notebook: NotebookId, name: &str, text: &str) {
            let work = self.kept.path().join(notebook.to_string()).join(WORK);
            std::fs::write(work.join(name), text).unwrap();
        }

        async fn read(&self, _runtime: &dyn Runtime, notebook: NotebookId, name: &str) -> Option<String> {
            let work = self.kept.path().join(notebook.to_string()).join(WORK);
            std::fs::read_to_string(work.join(name)).ok()
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_runtimes() {
        let folder = || tempfile::tempdir().unwrap();
        contract::run_all(&Folders { kept: folder(), root: folder() }).await;
    }
}
