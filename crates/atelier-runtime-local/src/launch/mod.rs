//! Making a container.
//!
//! It is never made in the server's own process: the container library forks with `clone3` and allocates in the child,
//! which hangs when another thread holds the allocator's lock, and it changes the working directory of its process. So
//! the server runs its own program again, as a *launcher*: one thread, one container, one answer. All mounts are made
//! in the launcher's private mount namespace, or at no place and held by it alone, so that the kernel undoes them when the last
//! process of the container ends; there is nothing to unmount and nothing that can be forgotten.
//!
//! `launch` is the server's side. The launcher's side is [`launcher_main`]; it does, in this order, what the modules
//! are called: `namespaces`, `layers` (with `mounts`), `volume` and `work`, `container`. One that waits (`spare`) is started
//! with the layer that it is to mount before it is told anything. With another argument it becomes a zygote instead, in a `jail`.

mod child;
mod container;
mod jail;
mod layers;
mod mounts;
mod namespaces;
mod spare;
mod work;

pub(crate) use jail::{PROGRAM, ZygoteSpec};
pub(crate) use layers::{WORK, as_files_of};
pub(crate) use mounts::{Attributes, place, put};
pub(crate) use namespaces::{Spaces, make as namespaces};
pub(crate) use spare::Launchers;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use atelier_runtime::RuntimeError;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::cgroup::{Entry, Throttle};
use crate::config::Launcher;
use crate::gpu::Equipment;
use layers::OwnLayer;

/// The argument of a launcher that is to become a zygote.
pub(crate) const ZYGOTE: &str = "zygote";
/// The program of the first process, in the container.
pub(crate) const INIT: &str = "/run/atelier/bin/init";
/// The argument of a launcher that waits, or has; the layer that it is to mount meanwhile follows. Process lists show it.
const AHEAD: &str = "ahead";
/// A launcher that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(45);

/// What a launcher is told. Holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LaunchSpec {
    /// The container's name for the library.
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) entry: Entry,
    /// What limits how fast its disks are.
    pub(crate) throttles: Vec<Throttle>,
    pub(crate) uid_base: u32,
    /// The image, topmost layer first.
    pub(crate) lowers: Vec<PathBuf>,
    /// The image file of the instance's own layer.
    pub(crate) layer: PathBuf,
    /// The image file of the instance's own volume.
    pub(crate) volume: PathBuf,
    pub(crate) work: Work,
    pub(crate) log: PathBuf,
    /// The instance's run folder.
    pub(crate) run: PathBuf,
    /// The init on this machine.
    pub(crate) init: PathBuf,
    /// The size of `/dev/shm`.
    pub(crate) shared_memory: u64,
    /// Files in the shared folder that are laid over files of the image, by their paths in the container.
    pub(crate) files: Vec<(String, String)>,
    /// What it is shown of the machine for its GPUs.
    pub(crate) equipment: Equipment,
}

/// What is at the place of the volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// The instance's own.
    Own,
    /// That of this image file, which other instances may have at the same time.
    Shared(PathBuf),
    /// The folder on this way below a root of the operator's, and what people call it.
    Dedicated { root: PathBuf, below: PathBuf, uri: String },
}

/// What a launcher answers.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Launched { pid: i32 },
    Failed { why: String, permanent: bool },
}

/// A failure that trying again cannot help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Permanent(String);

/// Makes the instance's own layer and the container; returns the process id of its init. When the future is dropped, the
/// launcher is killed; what it has made until then is found by its cgroup and its folders.
pub(crate) async fn launch(launchers: &Launchers, spec: &LaunchSpec) -> Result<i32, RuntimeError> {
    let mut running = launchers.begin(spec).await?;
    let outcome = match tokio::time::timeout(LIMIT, running.hear()).await {
        Ok(said) => said.map_err(|e| could_not_run(&e))?,
        Err(_) => return Err(RuntimeError::Transient(format!("the launcher took more than {LIMIT:?}"))),
    };
    match outcome {
        Outcome::Launched { pid } => {
            running.leave();
            Ok(pid)
        }
        Outcome::Failed { why, permanent: true } => Err(RuntimeError::Permanent(why)),
        Outcome::Failed { why, permanent: false } => Err(RuntimeError::Transient(why)),
    }
}

fn could_not_run(error: &std::io::Error) -> RuntimeError {
    RuntimeError::Transient(format!("the launcher could not be run: {error}"))
}

/// A launcher to be started. It is killed when it is dropped.
pub(crate) fn command(launcher: &Launcher) -> Command {
    let mut command = Command::new(&launcher.program);
    command.args(&launcher.args).env_clear().stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// A running launcher; its whole process group is killed when this is dropped before it has ended.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// Says what is to be made, and that this is all.
    async fn tell(&mut self, spec: &LaunchSpec) -> std::io::Result<()> {
        match self.0.stdin.take() {
            Some(mut stdin) => stdin.write_all(&serde_json::to_vec(spec)?).await,
            None => Ok(()),
        }
    }

    /// Its answer; an error with what it said besides when it has ended without one.
    async fn hear(&mut self) -> std::io::Result<Outcome> {
        let (mut answer, mut besides) = (Vec::new(), String::new());
        if let Some(stdout) = self.0.stdout.take() {
            BufReader::new(stdout).read_until(b'\n', &mut answer).await?;
        }
        if let Ok(outcome) = serde_json::from_slice(&answer) {
            return Ok(outcome);
        }
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut besides).await?;
        }
        Err(std::io::Error::other(format!("it ended without an answer: {}", besides.trim())))
    }

    /// It has ended afterwards.
    async fn end(mut self) {
        if let Err(e) = self.0.kill().await {
            tracing::warn!("a launcher could not be ended: {e}");
        }
    }

    /// Does not wait for its end, which has nothing left to do but that.
    fn leave(mut self) {
        tokio::spawn(async move { self.0.wait().await });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The id is known until the child has been waited for, so it cannot belong to another group.
        if let Some(group) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// The launcher: reads a spec from the standard input to its end, makes the container, writes one line and ends.
///
/// To be called by the program that [`LocalConfig::launcher`](crate::LocalConfig) names, before it starts any thread.
pub fn launcher_main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let layer = match args.as_slice() {
        [.., last] if last == ZYGOTE => {
            let Err(e) = jail::become_zygote();
            eprintln!("{e:#}");
            return ExitCode::FAILURE;
        }
        // Why it cannot be mounted is told whoever needs it.
        [.., ahead, layer] if ahead == AHEAD => OwnLayer::mount(Path::new(layer)).ok(),
        _ => None,
    };
    match read_spec().and_then(|spec| make(&spec, layer)).or_else(|e| answer(Err(e)).context("answer")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(made: anyhow::Result<i32>) -> std::io::Result<()> {
    let outcome = match made {
        Ok(pid) => Outcome::Launched { pid },
        Err(e) => Outcome::Failed {
            permanent: e.chain().any(<dyn std::error::Error>::is::<Permanent>),
            why: format!("{e:#}"),
        },
    };
    let mut line = serde_json::to_vec(&outcome)?;
    line.push(b'\n');
    let mut to_server = std::io::stdout().lock();
    to_server.write_all(&line)?;
    to_server.flush()
}

fn read_spec() -> anyhow::Result<LaunchSpec> {
    let text = std::io::read_to_string(std::io::stdin())?;
    serde_json::from_str(&text).context("the launcher's spec cannot be read")
}

/// Answers unless it fails.
fn make(spec: &LaunchSpec, layer: Option<OwnLayer>) -> anyhow::Result<()> {
    let spaces = namespaces::make(spec.uid_base).context("user namespace")?;
    namespaces::share_pending_signals().context("pending signals")?;
    mounts::leave_the_hosts()?;
    layers::assemble(spec, &spaces, layer)?;
    // In the container's groups, so that whatever it starts is found there.
    let create = || answer(container::create(spec, &spaces));
    let Some(folder) = &spec.entry.born_in else { return child::fork(create)?.wait() };
    let child = match child::fork_in(&File::open(folder).context("the container's groups")?, create) {
        // Something around the server does not let it be called: the slow way.
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            std::fs::write(folder.join("cgroup.procs"), "0").context("the container's groups")?;
            child::fork(create)?
        }
        other => other.context("the container's groups")?,
    };
    child.wait()
}
