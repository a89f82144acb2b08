//! Asking NVIDIA's driver, through NVML, the library that it brings along.
//!
//! The library is loaded while the server runs: most machines have none. A driver asks nobody's leave to be unloaded or
//! updated, and may not answer for minutes: `asker` waits for it.
//!
//! A GPU that is divided (MIG) is left out: its parts are devices of their own, with other nodes, and are not given away
//! yet.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use atelier_runtime::GpuUsage;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml as Session};

use super::asker::{Driver, Outcome};
use super::{Found, Gpu, NoGpus, Report, driver};

/// The name that the loader looks for, and that a configured path has in other words.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// NVML, and the session with it once there is one.
#[derive(Debug)]
pub(super) struct Nvml {
    /// Where the loader does not find it by itself.
    library: Option<PathBuf>,
    session: Option<Session>,
}

impl Nvml {
    pub(super) const fn of(library: Option<PathBuf>) -> Self {
        Self { library, session: None }
    }
}

impl Driver for Nvml {
    /// A session that fails is given up, so that the next look begins anew: the driver may be another one then.
    fn look(&mut self) -> Outcome {
        let library = self.library.as_deref();
        let nvml = match self.session.take() {
            Some(nvml) => nvml,
            None => open(library)?,
        };
        let (gpus, left_out) = gpus(&nvml).map_err(|e| failed(&e))?;
        let version = nvml.sys_driver_version().map_err(|e| failed(&e))?;
        self.session = Some(nvml);
        let driver = folder_of(library).and_then(|folder| driver::find(&folder, &version));
        let driver = driver.map_err(|e| format!("the files of driver {version}: {e}"));
        Ok(Found { version, gpus, left_out, driver })
    }

    fn usage(&mut self, id: &str) -> Option<GpuUsage> {
        usage(self.session.as_ref()?, id).ok()
    }
}

/// Looks once, and waits for it for so long.
pub fn look_once(library: Option<PathBuf>, limit: Duration) -> Result<Report, NoGpus> {
    within(limit, move || Nvml::of(library).look()).map(Report::from)
}

fn within(limit: Duration, look: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let trouble = |why: String| NoGpus::Trouble(why);
    let (tell, told) = mpsc::channel();
    let work = move || drop(tell.send(look()));
    std::thread::Builder::new().name("nvml".into()).spawn(work).map_err(|e| trouble(e.to_string()))?;
    let late = |_| trouble(format!("the driver does not answer within {} s", limit.as_secs()));
    told.recv_timeout(limit).map_err(late)?
}

/// A library that was named has to be there.
fn open(library: Option<&Path>) -> Result<Session, NoGpus> {
    let name = library.map_or(OsStr::new(LIBRARY), Path::as_os_str);
    Session::builder().lib_path(name).init().map_err(|e| match e {
        NvmlError::LibloadingError(e) => {
            let why = format!("NVML, which NVIDIA's driver brings along, cannot be loaded: {e}");
            if library.is_none() { NoGpus::NoDriver(why) } else { NoGpus::Trouble(why) }
        }
        e => failed(&e),
    })
}

/// A driver that is installed and not loaded is none: images of machines have it for those that have GPUs.
fn failed(error: &NvmlError) -> NoGpus {
    let why = format!("NVML: {error}");
    if matches!(error, NvmlError::DriverNotLoaded) { NoGpus::NoDriver(why) } else { NoGpus::Trouble(why) }
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
    use super::super::asker::{Asker, PATIENCE};
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
        let nowhere = || Some(PathBuf::from("/nowhere/libnvidia-ml.so.1"));
        let nvml = Asker::open(Nvml::of(nowhere())).unwrap();
        let why = nvml.known(PATIENCE).await.unwrap_err();
        assert!(why.to_string().contains("cannot be loaded") && why.to_string().contains("/nowhere"), "{why}");
        let [of_one] = nvml.usage(vec!["GPU-1".into()], PATIENCE).await.try_into().unwrap();
        assert_eq!((of_one.kind.as_str(), of_one.busy_percent), ("GPU-1", None));
        assert_eq!(look_once(nowhere(), PATIENCE).unwrap_err(), why);
    }

    #[test]
    fn what_is_not_there_is_told_from_what_fails() {
        let trouble = |why: &str| NoGpus::Trouble(why.into());
        assert!(matches!(open(Some(Path::new("/nowhere"))), Err(NoGpus::Trouble(_))), "it was named");
        assert_eq!(failed(&NvmlError::DriverNotLoaded), NoGpus::NoDriver("NVML: NVIDIA driver is not loaded".into()));
        let mismatch = "NVML: RM detects a driver/library version mismatch";
        assert_eq!(failed(&NvmlError::LibRmVersionMismatch), trouble(mismatch));
    }

    #[test]
    fn who_looks_once_does_not_wait_for_ever() {
        let (release, held) = mpsc::channel::<()>();
        let hangs = move || {
            let _ = held.recv();
            Err(NoGpus::NoDriver("too late".into()))
        };
        let why = within(Duration::ZERO, hangs).unwrap_err();
        assert_eq!(why, NoGpus::Trouble("the driver does not answer within 0 s".into()));
        drop(release);
    }
}
