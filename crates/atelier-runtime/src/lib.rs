//! The runtime's contract: what makes an instance of a notebook exist, run, answer and vanish.
//!
//! A runtime knows nothing of statuses, leases or people. It is told what should be, by idempotent calls in words of
//! intent: each may be made twice, after a crash at any point of the first, and finds what the first one left. The
//! first four are the documented steps of `action_progress`, in order.
//!
//! | call | afterwards |
//! |---|---|
//! | [`Runtime::prepare_image`] | the image can be used (it may have to be built or fetched first, which takes long) |
//! | [`Runtime::prepare_storage`] | the volume exists in its full size |
//! | [`Runtime::grow_storage`] | the volume has a new full size, in use or not |
//! | [`Runtime::prepare_compute`] | the instance's container exists within its limits, with GPUs of its own; nothing of the user's has run in it |
//! | [`Runtime::configure_network`] | the container has its network |
//! | [`Runtime::begin_hook`] | a hook runs in the container, or has ended: each once in the life of a container |
//! | [`Runtime::initialize`] | the notebook server has answered its first request |
//! | [`Runtime::stop`] | nothing of the instance runs; the volume is kept, everything else of it is gone, its GPUs are free |
//! | [`Runtime::remove`] | nothing is left, the volume included |
//! | [`Runtime::remove_share`] | a volume that notebooks shared is gone: none of them has anything of it |
//!
//! *Unknown is not absent*: [`Observed::Absent`] means "asked, and found nothing". Not being able to ask is an error,
//! and nothing may be decided from it.
//!
//! [`contract`] holds the tests that every runtime passes, [`simulated`] the runtime for tests of load and faults.

pub mod contract;
mod exec;
mod hook;
mod root;
pub mod simulated;

pub use exec::{Exec, ExecSpec, Program, WindowSize};

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::filling::Filling;
use atelier_core::flavor::Capacity;
use atelier_core::gpu::{FlavorGpus, Gpus};
use atelier_core::hook::Moment;
use atelier_core::id::{ImageId, NotebookId, VolumeId};
use atelier_core::volume::{ShareUri, Volume};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};

pub use hook::{Fate, HookEnd, HookRun};
pub use root::{AtUri, Root};

/// Why a runtime did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It may work if tried again: a resource was busy, a child was slow.
    #[error("{0}")]
    Transient(String),
    /// Trying again cannot help: the image's recipe failed, the volume is damaged.
    #[error("{0}")]
    Permanent(String),
    /// There is nothing of this notebook here.
    #[error("the instance is not there")]
    Absent,
}

impl RuntimeError {
    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

/// Everything a runtime has to know of one instance.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// The notebook.
    pub notebook: NotebookId,
    /// Its volume.
    pub volume: Volume,
    /// Its image.
    pub image: ImageId,
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Its GPUs.
    pub gpus: Option<FlavorGpus>,
    /// A hook comes before the notebook server: what it leaves is there when the server begins.
    pub hook_first: bool,
    /// What the notebook server accepts as its token. Only the gateway knows it; a new one at each start.
    pub upstream_secret: SecretString,
}

/// What is there of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Asked, and found nothing running. A volume may be there.
    Absent,
    /// A container is there; its notebook server does not run (not yet, or not any more).
    Idle {
        /// Why the notebook server ended, when it did.
        ended: Option<String>,
    },
    /// The notebook server runs.
    Serving,
}

/// How a notebook server came to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was forked from a process that had imported it.
    Forked,
    /// It was started by its command line.
    CommandLine {
        /// Why not in a faster way, when the runtime has one.
        why: Option<String>,
    },
    /// It ran already: an earlier call had got so far.
    Already,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forked => f.write_str("forked from the zygote"),
            Self::CommandLine { why: None } => f.write_str("started by its command line"),
            Self::CommandLine { why: Some(why) } => write!(f, "started by its command line, because {why}"),
            Self::Already => f.write_str("running already"),
        }
    }
}

/// What an instance uses and does, as its machine sees it: whatever its own notebook server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The processor time that all of it has taken since it began, what has ended since included.
    pub cpu: Duration,
    /// The programs that have one of its terminals to themselves, by name: what a shell waits for. The names are the
    /// instance's own.
    pub foreground: Vec<String>,
    /// What it holds of its memory.
    pub memory: Memory,
    /// How many processes it has.
    pub processes: u64,
    /// Its GPUs.
    pub gpus: Vec<GpuUsage>,
}

/// What goes on in one GPU of an instance; `None` where its driver does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuUsage {
    /// Its kind; its id where that cannot be said.
    pub kind: String,
    /// For how many percent of the time it was busy lately.
    pub busy_percent: Option<u32>,
    /// The bytes of its memory that are taken.
    pub memory_used: Option<u64>,
    /// The bytes of memory that it has.
    pub memory: Option<u64>,
}

/// What an instance holds of its memory, in bytes; `None` where the machine does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What could not be taken back from it: without the cached contents of files that nobody has used lately.
    pub used: Option<u64>,
    /// The most that it ever held, such contents included.
    pub peak: Option<u64>,
    /// What it may hold.
    pub limit: Option<u64>,
}

/// A process of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number within the instance.
    pub pid: i32,
    /// The processor time that it has taken since it began.
    pub cpu: Duration,
    /// The bytes of memory that are mapped into it, those that it shares included.
    pub memory: u64,
    /// Its command line, or its name where it shows none: the instance's own words.
    pub command: String,
}

/// Memory ran out for an instance, and its machine has killed a process of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The notebook.
    pub notebook: NotebookId,
    /// What was killed.
    pub victim: Victim,
    /// Bytes that the victim held.
    pub held: u64,
    /// The most bytes that the kernel, or the whole instance, ever held, and what it may hold: the kernel where its share ran
    /// out, else the instance. `None` when that is not known.
    pub peak: Option<u64>,
    /// See `peak`.
    pub limit: Option<u64>,
    /// Whose memory ran out.
    pub whose: Share,
}

/// A share of a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// That of one kernel and of what it has started.
    Kernel,
    /// That of the instance.
    Notebook,
    /// All of it.
    Machine,
}

/// What is killed when memory runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A kernel, by its id or the beginning of it.
    Kernel(String),
    /// Another process.
    Process {
        /// What it is called: the instance's own word.
        name: String,
        /// Its number in the instance, when that could still be found out.
        pid: Option<i32>,
    },
}

/// A volume that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The notebook it belonged to.
    pub notebook: NotebookId,
    /// Where it is.
    pub place: String,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
}

/// A volume that notebooks share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStorage {
    /// Its id.
    pub id: VolumeId,
    /// Where it is.
    pub place: String,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
}

/// Takes news of a long step, for people: "building the image: installing packages (3 of 9)".
pub trait Reporter: Send + Sync {
    /// The step is doing `text` now.
    fn report(&self, text: &str);
}

/// A reporter for nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _text: &str) {}
}

/// A connection to a notebook server.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Which runtime this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Containers on this machine.
    Local,
    /// Pretends: nothing runs.
    Simulated,
}

impl RuntimeKind {
    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes instances. See the module's table.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> RuntimeKind;

    /// The server accepts from now on: what makes later calls faster may be made. Nothing depends on it.
    async fn begin(&self) {}

    /// The server leaves: what serves the runtime itself ends. Instances go on.
    async fn close(&self) {}

    /// Names the present boot of what the instances run on. When it is another one than before, every process, mount
    /// and interface of before is gone, and volumes are all that is left.
    async fn boot_id(&self) -> Result<String, RuntimeError>;

    /// The machine's size. The factors of overcommitment are the caller's business: 1 here.
    async fn capacity(&self) -> Result<Capacity, RuntimeError>;

    /// The GPUs of the machine that instances can have, free or not, as far as they are known now: some may be found only
    /// after a while, and one may be lost. Somebody waits for the answer.
    async fn gpus(&self) -> Gpus;

    /// Bytes of memory available at this moment.
    async fn memory_available(&self) -> Result<u64, RuntimeError>;

    /// The size of an image in bytes, once it is there.
    async fn image_size(&self, image: ImageId) -> Result<Option<u64>, RuntimeError>;

    /// The image can be used afterwards. Many callers may wait for one build.
    async fn prepare_image(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), RuntimeError>;

    /// The volume exists afterwards, in its full size; a smaller one has grown. Never touches what is in an existing
    /// one, and never makes one smaller. A shared one is there for all who have it; a dedicated one has to be there.
    async fn prepare_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError>;

    /// The volume, one of the notebook's own, has its full size afterwards, under an instance that runs, too. [`RuntimeError::Absent`] when there is
    /// none: unlike [`Runtime::prepare_storage`] this makes nothing, so it may come too late.
    async fn grow_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError>;

    /// Takes [`Runtime::prepare_storage`] back: the volume is gone afterwards. Only for a creation that failed.
    async fn discard_storage(&self, id: NotebookId) -> Result<(), RuntimeError>;

    /// The instance's container exists afterwards, within its limits, and with as many GPUs as it is to have, which no
    /// other instance has until this one was stopped. Its notebook server may have begun, unless a hook is to come first
    /// ([`InstanceSpec::hook_first`]).
    async fn prepare_compute(&self, spec: &InstanceSpec) -> Result<(), RuntimeError>;

    /// The container has its network afterwards.
    async fn configure_network(&self, spec: &InstanceSpec) -> Result<(), RuntimeError>;

    /// The hook of this moment was begun afterwards, as ma-user in the container, with what the notebook server finds there
    /// but its secret. In one container it is begun once, however often this is called. That it cannot be started is no
    /// error of this call but the hook's end.
    async fn begin_hook(&self, spec: &InstanceSpec, hook: &HookRun) -> Result<(), RuntimeError>;

    /// Returns when the hook of this moment has ended, with how it did. [`RuntimeError::Absent`] when the container is gone,
    /// or the hook was not begun in it. A wait and nothing else, however long: safe to drop at any time.
    async fn hook_end(&self, id: NotebookId, moment: Moment) -> Result<HookEnd, RuntimeError>;

    /// The end of the hook is remembered as told to people afterwards, for as long as the container lives.
    async fn hook_told(&self, id: NotebookId, moment: Moment) -> Result<(), RuntimeError>;

    /// The notebook server has answered a request afterwards. Tells how it came to run.
    async fn initialize(&self, spec: &InstanceSpec) -> Result<Way, RuntimeError>;

    /// Nothing of the instance runs afterwards. `Ok` also when nothing was there.
    async fn stop(&self, id: NotebookId) -> Result<(), RuntimeError>;

    /// Nothing of the notebook is left afterwards, its volume included, where that is its own. `Ok` also when nothing was
    /// there.
    async fn remove(&self, id: NotebookId) -> Result<(), RuntimeError>;

    /// Nothing of the instance is left afterwards but its volume, and that where [`Runtime::prepare_storage`] for the same
    /// notebook finds it again; [`Runtime::list`] does not name it any more. For deleted notebooks whose volumes rest in
    /// the trash, and for instances that nobody knows. Answers where the volume is, also when it was set aside before;
    /// `None` when there is none.
    async fn set_aside(&self, id: NotebookId) -> Result<Option<String>, RuntimeError>;

    /// The volumes that were set aside and are still there.
    async fn lost(&self) -> Result<Vec<Lost>, RuntimeError>;

    /// The volumes that notebooks share, whether any has one now or not.
    async fn shares(&self) -> Result<Vec<SharedStorage>, RuntimeError>;

    /// The shared volume is gone afterwards. `Ok` also when it was not there; an error while an instance has it.
    async fn remove_share(&self, id: VolumeId) -> Result<(), RuntimeError>;

    /// What is at this address for notebooks whose volume it would be.
    async fn at_uri(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError>;

    /// What is there.
    async fn observe(&self, id: NotebookId) -> Result<Observed, RuntimeError>;

    /// What it uses and does at this moment. [`RuntimeError::Absent`] when it does not run.
    async fn usage(&self, id: NotebookId) -> Result<Usage, RuntimeError>;

    /// Its processes at this moment. [`RuntimeError::Absent`] when it does not run.
    async fn processes(&self, id: NotebookId) -> Result<Vec<Process>, RuntimeError>;

    /// How full its volume is at this moment, unless that is a dedicated one. [`RuntimeError::Absent`] when it does not run.
    async fn filling(&self, id: NotebookId) -> Result<Filling, RuntimeError>;

    /// Every notebook of which anything is here, running or not: so that orphans can be found.
    async fn list(&self) -> Result<Vec<NotebookId>, RuntimeError>;

    /// Opens a connection to the notebook server. [`RuntimeError::Absent`] when none runs.
    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError>;

    /// Runs a command in the instance, as the user that the notebook server is and within the same limits.
    /// [`RuntimeError::Absent`] when it does not run.
    async fn exec(&self, id: NotebookId, spec: ExecSpec) -> Result<Exec, RuntimeError>;

    /// The file with the notebook server's log, when there is one. It may be rotated and may not exist yet.
    fn log_file(&self, id: NotebookId) -> Option<PathBuf>;

    /// Returns when memory ran out for an instance, with what was killed; each time once. Safe to drop at any time. A
    /// runtime that is not told of it never returns.
    async fn out_of_memory(&self) -> OutOfMemory {
        std::future::pending().await
    }

    /// Returns at once when something may have changed by itself: a notebook server ended. Carries no data: whoever
    /// wakes looks at everything. Safe to drop at any time.
    async fn changed(&self);
}
