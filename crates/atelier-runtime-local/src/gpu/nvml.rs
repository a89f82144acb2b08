//! Asking NVIDIA's driver, through NVML, the library that it brings along.
//!
//! The library is loaded while the server runs: most machines have none. A driver that is sick may not answer for minutes,
//! and asks nobody's leave to be unloaded or updated. So one thread of its own does all the asking, nobody waits for it
//! longer than they like to, and it looks again when somebody wants to know and the last look is old: what was plugged in,
//! lost or installed meanwhile is found without a restart.
//!
//! A GPU that is divided (MIG) is left out: its parts are devices of their own, with other nodes, and are not given away
//! yet.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atelier_runtime::GpuUsage;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml as Session};
use tokio::sync::{oneshot, watch};

use super::driver::{self, Files};
use super::{Gpu, Report};

/// The name that the loader looks for, and that a configured path has in other words.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How long a look is good for.
const FRESH: Duration = Duration::from_secs(10);
/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The version of the driver.
    pub(super) version: String,
    pub(super) gpus: Vec<Gpu>,
    /// What else there is, and why nobody can have it, for people.
    pub(super) left_out: Vec<String>,
    /// The driver's files, or why they cannot be told.
    pub(super) driver: Result<Files, String>,
}

/// What a look came to: an error is the reason why there are no GPUs, for people.
type Outcome = Result<Found, String>;

enum Question {
    Look,
    /// What goes on in the GPUs of these ids.
    Usage(Vec<String>, oneshot::Sender<Vec<GpuUsage>>),
}

/// The thread that asks.
#[derive(Debug)]
pub(super) struct Nvml {
    questions: mpsc::Sender<Question>,
    latest: watch::Receiver<Option<Outcome>>,
    looked: Mutex<Instant>,
}

impl Nvml {
    /// Begins with a look.
    pub(super) fn open(library: Option<PathBuf>) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (tell, latest) = watch::channel(None);
        let work = move || answer(library.as_deref(), &asked, &tell);
        std::thread::Builder::new().name("nvml".into()).spawn(work)?;
        let nvml = Self { questions, latest, looked: Mutex::new(Instant::now()) };
        nvml.ask(Question::Look)?;
        Ok(nvml)
    }

    fn ask(&self, question: Question) -> io::Result<()> {
        self.questions.send(question).map_err(|_| io::Error::other("nobody asks the driver any more"))
    }

    /// What the last look came to; `None` before the first. Has another one begun when that was long ago.
    fn latest(&self) -> Option<Outcome> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() >= FRESH && self.ask(Question::Look).is_ok() {
            *looked = Instant::now();
        }
        self.latest.borrow().clone()
    }

    /// The same, but waits for the first for so long.
    pub(super) async fn settled(&self, limit: Duration) -> Outcome {
        let mut latest = self.latest.clone();
        let _ = tokio::time::timeout(limit, latest.wait_for(Option::is_some)).await;
        self.latest().unwrap_or_else(|| Err("the driver of the GPUs does not answer".into()))
    }

    /// What goes on in the GPUs of these ids; nothing is known where the driver does not say it soon.
    pub(super) async fn usage(&self, ids: Vec<String>) -> Vec<GpuUsage> {
        let (answer, answered) = oneshot::channel();
        let unknown = ids.iter().map(|id| unknown(id)).collect();
        match self.ask(Question::Usage(ids, answer)) {
            Ok(()) => tokio::time::timeout(PATIENCE, answered).await.ok().and_then(Result::ok).unwrap_or(unknown),
            Err(_) => unknown,
        }
    }
}

fn unknown(id: &str) -> GpuUsage {
    GpuUsage { kind: id.to_owned(), busy_percent: None, memory_used: None, memory: None }
}

/// Answers until nobody can ask any more. What a look came to is written into the log when it is something else than before.
fn answer(library: Option<&Path>, asked: &mpsc::Receiver<Question>, tell: &watch::Sender<Option<Outcome>>) {
    let mut session = None;
    while let Ok(question) = asked.recv() {
        match question {
            Question::Look => {
                let outcome = look(&mut session, library);
                let news = tell.borrow().as_ref() != Some(&outcome);
                if news {
                    log(&outcome);
                    tell.send_replace(Some(outcome));
                }
            }
            Question::Usage(ids, answer) => {
                let asked = |id: &String| session.as_ref().and_then(|nvml| usage(nvml, id).ok());
                let used = ids.iter().map(|id| asked(id).unwrap_or_else(|| unknown(id)));
                let _ = answer.send(used.collect());
            }
        }
    }
}

fn log(outcome: &Outcome) {
    match outcome {
        Ok(found) => {
            let names: Vec<_> = found.gpus.iter().map(|gpu| format!("{} ({})", gpu.name, gpu.uuid)).collect();
            tracing::info!("{} GPUs, driver {}: {}", found.gpus.len(), found.version, names.join(", "));
            found.left_out.iter().for_each(|why| tracing::warn!("{why}"));
            if let Err(e) = &found.driver {
                tracing::warn!("notebooks cannot be given GPUs: {e}");
            }
        }
        Err(why) => tracing::info!("no GPUs: {why}"),
    }
}

/// Looks once, on this thread.
pub fn look_once(library: Option<&Path>) -> Result<Report, String> {
    look(&mut None, library).map(Report::from)
}

/// A session that fails is given up, so that the next look begins anew: the driver may be another one then.
fn look(session: &mut Option<Session>, library: Option<&Path>) -> Outcome {
    let nvml = match session.take() {
        Some(nvml) => nvml,
        None => open(library)?,
    };
    let nvml = session.insert(nvml);
    let found = gpus(nvml).and_then(|gpus| Ok((nvml.sys_driver_version()?, gpus)));
    let (version, (gpus, left_out)) = match found {
        Ok(found) => found,
        Err(e) => {
            *session = None;
            return Err(format!("NVML: {e}"));
        }
    };
    let driver = folder_of(library).and_then(|folder| driver::find(&folder, &version));
    let driver = driver.map_err(|e| format!("the files of driver {version}: {e}"));
    Ok(Found { version, gpus, left_out, driver })
}

fn open(library: Option<&Path>) -> Result<Session, String> {
    let name = library.map_or(OsStr::new(LIBRARY), Path::as_os_str);
    Session::builder().lib_path(name).init().map_err(|e| match e {
        NvmlError::LibloadingError(e) => format!("NVML, which NVIDIA's driver brings along, cannot be loaded: {e}"),
        e => format!("NVML: {e}"),
    })
}

/// The folder that NVML was loaded from.
fn folder_of(library: Option<&Path>) -> io::Result<PathBuf> {
    let path = match library {
        Some(path) => path.canonicalize()?,
        None => loaded(&fs::read_to_string("/proc/self/maps")?)
            .ok_or_else(|| io::Error::other("nobody knows where NVML was loaded from"))?,
    };
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The file of NVML among what is mapped into a process.
fn loaded(maps: &str) -> Option<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let is_nvml =
        |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvidia-ml.so"));
    paths.clone().find(is_nvml).map(Path::to_owned)
}

/// Those that can be given away, and why others cannot.
fn gpus(nvml: &Session) -> Result<(Vec<Gpu>, Vec<String>), NvmlError> {
    let (mut gpus, mut left_out) = (Vec::new(), Vec::new());
    for index in 0..nvml.device_count()? {
        match nvml.device_by_index(index).and_then(|device| Ok((gpu(&device)?, is_divided(&device)))) {
            Ok((gpu, false)) => gpus.push(gpu),
            Ok((gpu, true)) => left_out.push(format!("GPU {} is left out, because it is divided (MIG)", gpu.uuid)),
            Err(e) => left_out.push(format!("GPU number {index} is left out: {e}")),
        }
    }
    Ok((gpus, left_out))
}

fn gpu(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    Ok(Gpu {
        uuid: device.uuid()?,
        name: device.name()?,
        memory_bytes: device.memory_info()?.total,
        minor: device.minor_number()?,
    })
}

/// Most products cannot be, and say so by an error.
fn is_divided(device: &Device<'_>) -> bool {
    device.mig_mode().is_ok_and(|mode| mode.current != 0)
}

fn usage(nvml: &Session, uuid: &str) -> Result<GpuUsage, NvmlError> {
    let device = nvml.device_by_uuid(uuid)?;
    let memory = device.memory_info().ok();
    Ok(GpuUsage {
        kind: device.name()?,
        busy_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        memory_used: memory.as_ref().map(|memory| memory.used),
        memory: memory.map(|memory| memory.total),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvml_is_found_among_what_is_loaded() {
        let maps = "7f0000000000-7f0000001000 r--p 00000000 fe:00 7  /usr/lib/libc.so.6\n\
                    7f0000002000-7f0000003000 r-xp 00000000 fe:00 8  /opt/a b/libnvidia-ml.so.570.1\n\
                    7f0000004000-7f0000005000 rw-p 00000000 00:00 0\n";
        assert_eq!(loaded(maps), Some("/opt/a b/libnvidia-ml.so.570.1".into()));
        assert_eq!(loaded(&maps.replace("nvidia", "another")), None);
    }

    #[tokio::test]
    async fn without_the_library_there_are_none_and_it_is_said_why() {
        let nvml = Nvml::open(Some("/nowhere/libnvidia-ml.so.1".into())).unwrap();
        let why = nvml.settled(PATIENCE).await.unwrap_err();
        assert!(why.contains("cannot be loaded") && why.contains("/nowhere"), "{why}");
        assert_eq!(nvml.usage(vec!["GPU-1".into()]).await, [unknown("GPU-1")]);
        assert_eq!(look_once(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).unwrap_err(), why);
    }
}
