//! Where everything of a notebook is.
//!
//! ```text
//! <data>/notebooks/<id>/            0700
//!     volume.img                    the volume; of one that has another, what people installed
//!     layer.img                     what the instance changed in its image; gone after a stop
//!     log/server.log                kept after a stop: it may say why
//!     state.json                    see `record`
//! <data>/shares/<volume id>.img     a volume that notebooks share
//! <data>/layer.img                  what every layer begins as, while it is made
//! <data>/layer-…                    a layer that waits for its notebook
//! <data>/lost/<id>/                 the same for a notebook that was deleted, or that nobody knew: see `lost`
//! <run>/<hash of data>/<id>/        0711, because the container's root has to walk to its own root
//!     root                          mount point
//!     m                             mount point of the launcher's own folder
//!     run                           the container's /run/atelier
//! ```

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use atelier_core::id::{NotebookId, VolumeId};
use atelier_init::protocol::LOG_FILE;
use sha2::{Digest, Sha256};

use crate::file;

const VOLUME: &str = "volume.img";
const LAYER: &str = "layer.img";
/// How the image files of shared volumes end.
const SHARE: &str = "img";

/// The folders of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    notebooks: PathBuf,
    lost: PathBuf,
    shares: PathBuf,
    template: PathBuf,
    run: PathBuf,
    mark: String,
}

impl Places {
    /// Makes the folders that all notebooks share.
    pub(crate) fn open(data_dir: &Path, run_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        let data = data_dir.canonicalize()?;
        let mark = mark(&data);
        let places = Self {
            notebooks: data.join("notebooks"),
            lost: data.join("lost"),
            shares: data.join("shares"),
            template: data.join(LAYER),
            run: run_dir.join(&mark),
            mark,
        };
        file::folder(&places.notebooks, 0o700)?;
        file::folder(&places.shares, 0o700)?;
        file::folder(run_dir, 0o711)?;
        file::folder(&places.run, 0o711)?;
        Ok(places)
    }

    /// Tells this data folder from others on the machine.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// The folder below which notebooks are kept.
    pub(crate) fn notebooks(&self) -> &Path {
        &self.notebooks
    }

    /// The folder below which volumes are that were set aside.
    pub(crate) fn lost(&self) -> &Path {
        &self.lost
    }

    /// The image file that every layer begins as.
    pub(crate) fn template(&self) -> PathBuf {
        self.template.clone()
    }

    /// The image file of a shared volume.
    pub(crate) fn share(&self, id: VolumeId) -> PathBuf {
        self.shares.join(format!("{id}.{SHARE}"))
    }

    /// The shared volumes that have one.
    pub(crate) fn shares(&self) -> io::Result<Vec<VolumeId>> {
        let id = |name: &String| name.strip_suffix(SHARE)?.strip_suffix('.')?.parse().ok();
        Ok(file::names(&self.shares)?.iter().filter_map(id).collect())
    }

    /// The folder below which run folders are.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn of(&self, id: NotebookId) -> Place {
        let name = id.to_string();
        Place {
            id,
            kept: self.notebooks.join(&name),
            lost: self.lost.join(&name),
            run: self.run.join(&name),
            cgroup: format!("{}-{name}", self.mark),
        }
    }
}

fn mark(data: &Path) -> String {
    let digest = Sha256::digest(data.as_os_str().as_bytes());
    digest.iter().take(4).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The folders of one notebook.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) id: NotebookId,
    /// What outlives a stop.
    pub(crate) kept: PathBuf,
    /// Where that is after it was set aside.
    pub(crate) lost: PathBuf,
    /// What does not.
    pub(crate) run: PathBuf,
    /// The name of its cgroup in every hierarchy, below `atelier`.
    pub(crate) cgroup: String,
}

impl Place {
    pub(crate) fn volume(&self) -> PathBuf {
        self.kept.join(VOLUME)
    }

    /// The volume, after it was set aside.
    pub(crate) fn lost_volume(&self) -> PathBuf {
        self.lost.join(VOLUME)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.kept.join("state.json")
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.kept.join(LAYER)
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.kept.join("log")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.kept.join(LOG_FILE)
    }

    /// The container's `/run/atelier`.
    pub(crate) fn shared(&self) -> PathBuf {
        self.run.join("run")
    }

    /// The longest path of a socket.
    #[cfg(test)]
    fn control_socket(&self) -> PathBuf {
        self.shared().join(atelier_init::protocol::CONTROL_SOCKET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_paths_fit_into_the_kernels_limit() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::open(folder.path(), folder.path()).unwrap();
        let id = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap();
        let below = places.of(id).control_socket().strip_prefix(folder.path()).unwrap().as_os_str().len();
        assert!("/run/atelier/".len() + below <= 107);
    }

    #[test]
    fn data_folders_are_told_apart() {
        assert_ne!(mark(Path::new("/a")), mark(Path::new("/b")));
        assert_eq!(mark(Path::new("/a")).len(), 8);
    }
}
