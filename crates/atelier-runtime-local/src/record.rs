//! What is kept on disk of a running instance.
//!
//! Written before anything of the instance is made, so that whoever cleans up knows what to look for, and again when
//! its first process is known. Nothing here is needed to clean up: a lost or damaged record only loses the adoption.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file;
use crate::process::Process;
use crate::source::ReadyImage;

/// The version of the record's shape.
const VERSION: u32 = 1;

/// A running instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) slot: u32,
    pub(crate) uid_base: u32,
    pub(crate) address: Ipv4Addr,
    /// The beginning of the notebook server's command line, and the image's part of its environment.
    pub(crate) server: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The image's layers.
    #[serde(default)]
    pub(crate) layers: Vec<PathBuf>,
    /// The container's first process, once there is one.
    pub(crate) first: Option<Process>,
    /// The container has its network.
    pub(crate) networked: bool,
}

impl Record {
    pub(crate) fn new(slot: u32, uid_base: u32, address: Ipv4Addr, image: ReadyImage) -> Self {
        Self {
            version: VERSION,
            slot,
            uid_base,
            address,
            server: image.server,
            environment: image.environment,
            layers: image.layers,
            first: None,
            networked: false,
        }
    }

    /// The record, when there is one that this release understands.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(text) = file::read(path)? else { return Ok(None) };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) if record.version == VERSION => Ok(Some(record)),
            Ok(record) => Err(io::Error::other(format!("`{}` has version {}", path.display(), record.version))),
            Err(e) => {
                tracing::warn!(path = %path.display(), "the record of an instance is damaged: {e}");
                Ok(None)
            }
        }
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        file::replace(path, &serde_json::to_vec(self)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(Record::load(&path).unwrap().is_none());
        let image = ReadyImage {
            layers: vec!["/layer".into()],
            size_bytes: 0,
            server: vec!["/python".into()],
            environment: Vec::new(),
            zygotes: None,
        };
        let record = Record::new(3, 1_196_608, Ipv4Addr::new(10, 201, 0, 5), image);
        record.save(&path).unwrap();
        let read = Record::load(&path).unwrap().unwrap();
        assert_eq!((read.slot, read.uid_base, read.networked), (3, 1_196_608, false));
        std::fs::write(&path, "{").unwrap();
        assert!(Record::load(&path).unwrap().is_none());
    }
}
