//! GPUs: found through NVML, given to one instance at a time, and shown to it alone.
//!
//! `nvml` asks NVIDIA's driver what there is, on the thread of `asker`, `driver` finds the files of the driver that programs on a GPU need, and
//! this module gives GPUs away: by claims (`claims`), so that a GPU which an instance has is given to nobody else,
//! whatever becomes of the server meanwhile, until everything of the instance has ended.
//!
//! What an instance is shown, its *equipment*, is all there is for it: the device nodes of its own GPUs and those that the
//! driver needs besides. A user namespace makes no further nodes, and where control groups list devices (version 1) they
//! allow these alone.

mod asker;
mod driver;
mod nvml;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_core::gpu::{FlavorGpus, Gpus};
use atelier_runtime::{GpuUsage, RuntimeError};
use serde::{Deserialize, Serialize};

use crate::claims::Claims;

use self::asker::{Asker, PATIENCE};
use self::driver::Files;
pub(crate) use self::driver::{DriverFile, LIBRARIES, PROGRAMS, ROOT, tell_of_driver};
use self::nvml::Nvml;
pub use self::nvml::look_once;

/// How long an instance waits for a look: the first one makes a driver that rests get up.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// Where the machine has the nodes of devices.
const NODES: &str = "/dev";
/// The nodes of the driver itself, beside those of single GPUs, and whether nothing is computed without them. Not every
/// version has the others.
const NODES_OF_ALL: [(&str, bool); 3] = [("nvidiactl", true), ("nvidia-uvm", true), ("nvidia-uvm-tools", false)];

/// A GPU, as the driver tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// What it is called for good.
    pub uuid: String,
    /// The product.
    pub name: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// The number in the name of its device node.
    pub minor: u32,
}

impl Gpu {
    /// Its device node.
    pub fn node(&self) -> PathBuf {
        Path::new(NODES).join(format!("nvidia{}", self.minor))
    }

    /// Counted by their kinds.
    pub fn counted(gpus: &[Self]) -> Gpus {
        Gpus::of(gpus.iter().map(|gpu| (gpu.name.clone(), gpu.memory_bytes)))
    }
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// The version of the driver.
    version: String,
    gpus: Vec<Gpu>,
    /// What else there is, and why nobody can have it, for people.
    left_out: Vec<String>,
    /// The driver's files, or why they cannot be told.
    driver: Result<Files, String>,
}

/// Why there are no GPUs, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpus {
    /// There is no driver, which on most machines is as it should be.
    #[error("{0}")]
    NoDriver(String),
    /// There is one, and it does not answer, or by an error.
    #[error("{0}")]
    Trouble(String),
}

/// What an instance with GPUs is shown of the machine; nothing for one without.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Equipment {
    pub(crate) nodes: Vec<Node>,
    pub(crate) libraries: Vec<DriverFile>,
    pub(crate) programs: Vec<DriverFile>,
}

/// The node of a character device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) path: PathBuf,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Node {
    /// `None` when there is nothing.
    fn find(path: PathBuf) -> io::Result<Option<Self>> {
        let Some(found) = crate::file::absent_is_none(fs::metadata(&path))? else { return Ok(None) };
        if !found.file_type().is_char_device() {
            return Err(io::Error::other(format!("`{}` is no device", path.display())));
        }
        let device = found.rdev();
        Ok(Some(Self { path, major: rustix::fs::major(device), minor: rustix::fs::minor(device) }))
    }
}

/// The GPUs of this machine.
#[derive(Debug)]
pub(crate) struct Cards {
    claims: Claims,
    nvml: Asker,
}

impl Cards {
    /// Begins to look for them. `library` is NVML, where the loader does not find it by itself.
    pub(crate) fn open(claims: Claims, library: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { claims, nvml: Asker::open(Nvml::of(library))? })
    }

    /// What there is, as far as it was found.
    pub(crate) async fn there(&self) -> Gpus {
        self.nvml.known(PATIENCE).await.map_or_else(|_| Gpus::default(), |found| Gpu::counted(&found.gpus))
    }

    /// The notebook with this folder, of which nothing runs, has as many as it wants afterwards.
    pub(crate) async fn claim(&self, notebook: &Path, wanted: &FlavorGpus) -> Result<Equipment, RuntimeError> {
        let found = self.nvml.now(LOOK_LIMIT).await.map_err(|why| RuntimeError::Transient(why.to_string()))?;
        let failed = |e: io::Error| RuntimeError::Transient(format!("the GPUs: {e}"));
        let given = self.give(&found, notebook, wanted).map_err(failed)?;
        let given = given.ok_or_else(|| RuntimeError::Transient(too_few(wanted)))?;
        equipment(&found, &given)
    }

    fn give<'f>(&self, found: &'f Found, notebook: &Path, wanted: &FlavorGpus) -> io::Result<Option<Vec<&'f Gpu>>> {
        let kinds = Gpu::counted(&found.gpus);
        let Some(kind) = kinds.kind(wanted.kind.as_deref()) else { return Ok(None) };
        let claims = self.claims.lock()?;
        let (others, _) = claims.others_and_own(notebook)?;
        let free = found.gpus.iter().filter(|gpu| gpu.name == kind.name && !others.contains(&gpu.uuid));
        let free: Vec<_> = free.take(wanted.count.get() as usize).collect();
        if free.len() < wanted.count.get() as usize {
            return Ok(None);
        }
        free.iter().try_for_each(|gpu| claims.take(&gpu.uuid, notebook))?;
        Ok(Some(free))
    }

    /// The notebook with this folder holds none afterwards.
    pub(crate) fn release(&self, notebook: &Path) -> io::Result<()> {
        self.claims.release(notebook)
    }

    /// Who has which, each by its id: files, to be read where it may take a while.
    pub(crate) fn claimed(&self) -> Claims {
        self.claims.clone()
    }

    /// What goes on in those of these ids.
    pub(crate) async fn usage(&self, ids: Vec<String>) -> Vec<GpuUsage> {
        if ids.is_empty() { Vec::new() } else { self.nvml.usage(ids, PATIENCE).await }
    }
}

fn too_few(wanted: &FlavorGpus) -> String {
    let kind = wanted.kind.as_deref().unwrap_or("the kind that the machine has most of");
    format!("fewer than {} GPUs are free of {kind}", wanted.count)
}

/// The nodes for whoever has these GPUs, and which of them they need.
fn nodes_for<'g>(gpus: impl Iterator<Item = &'g Gpu>) -> impl Iterator<Item = (PathBuf, bool)> {
    let of_all = NODES_OF_ALL.map(|(name, needed)| (Path::new(NODES).join(name), needed));
    gpus.map(|gpu| (gpu.node(), true)).chain(of_all)
}

fn equipment(found: &Found, given: &[&Gpu]) -> Result<Equipment, RuntimeError> {
    let unreadable = |e: io::Error| RuntimeError::Transient(format!("a device of the GPUs: {e}"));
    let mut nodes = Vec::new();
    for (path, needed) in nodes_for(given.iter().copied()) {
        let node = Node::find(path.clone()).map_err(unreadable)?;
        if node.is_none() && needed {
            let why = format!("`{}`, which notebooks with GPUs need, is not there", path.display());
            return Err(RuntimeError::Transient(why));
        }
        nodes.extend(node);
    }
    let files = found.driver.as_ref().map_err(|e| RuntimeError::Transient(e.clone()))?;
    Ok(Equipment { nodes, libraries: files.libraries.clone(), programs: files.programs.clone() })
}

/// What a look has found, for people.
#[derive(Clone, Debug)]
pub struct Report {
    /// The version of the driver.
    pub version: String,
    /// The GPUs that notebooks can have.
    pub gpus: Vec<Gpu>,
    /// Others, and why they are left out.
    pub left_out: Vec<String>,
    /// What is not there that notebooks on them need.
    pub missing: Vec<String>,
}

impl From<Found> for Report {
    fn from(found: Found) -> Self {
        let needed = nodes_for(found.gpus.iter()).filter_map(|(path, needed)| needed.then_some(path));
        let absent = needed.filter(|path| !path.exists()).map(|path| format!("`{}`", path.display()));
        let files = match &found.driver {
            Ok(files) if files.has("libcuda.so.1") => None,
            Ok(_) => Some(format!("libcuda.so of driver {}", found.version)),
            Err(e) => Some(e.clone()),
        };
        let missing = absent.chain(files).collect();
        Self { version: found.version, gpus: found.gpus, left_out: found.left_out, missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Found {
        let gpu = |(minor, name): (u32, &&str)| Gpu {
            uuid: format!("GPU-{minor}"),
            name: (*name).to_owned(),
            memory_bytes: 1 << 30,
            minor,
        };
        let gpus = (0..).zip(names).map(gpu).collect();
        Found { version: "1.2".into(), gpus, left_out: Vec::new(), driver: Err("no files".into()) }
    }

    fn wanted(count: u32, kind: Option<&str>) -> FlavorGpus {
        FlavorGpus::of(count, kind).unwrap()
    }

    #[test]
    fn a_gpu_is_given_once_until_it_is_released() {
        let [run, a, b] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let found = found(&["L4", "H200", "L4"]);
        let open = || Cards::open(Claims::of_folder(run.path().join("gpus")), Some("/nowhere".into())).unwrap();
        let (one, other) = (open(), open());
        let give = |cards: &Cards, notebook: &Path, wanted: &FlavorGpus| {
            let given = cards.give(&found, notebook, wanted).unwrap();
            given.map(|given| given.iter().map(|gpu| gpu.minor).collect::<Vec<_>>())
        };
        assert_eq!(give(&one, a.path(), &wanted(1, None)), Some(vec![0]));
        assert_eq!(give(&one, a.path(), &wanted(1, Some("L4"))), Some(vec![0]), "the one that it has");
        assert_eq!(give(&other, b.path(), &wanted(2, None)), None);
        assert_eq!(one.claims.of(b.path()).unwrap(), [""; 0], "all or none");
        assert_eq!(give(&other, b.path(), &wanted(1, None)), Some(vec![2]));
        assert_eq!(give(&other, b.path(), &wanted(1, Some("T4"))), None);
        one.release(a.path()).unwrap();
        assert_eq!(give(&other, b.path(), &wanted(2, None)), Some(vec![0, 2]));
        assert_eq!(give(&one, a.path(), &wanted(1, Some("H200"))), Some(vec![1]));
    }

    #[test]
    fn a_node_is_a_device_or_is_not_there() {
        let null = Node::find("/dev/null".into()).unwrap().unwrap();
        assert_eq!((null.major, null.minor), (1, 3));
        assert_eq!(Node::find("/dev/nothing at all".into()).unwrap(), None);
        assert!(Node::find("/dev".into()).is_err());
    }
}
