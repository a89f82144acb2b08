//! `image.json`: what is known of a finished image, in the shape of an OCI image configuration.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;

/// The label that holds the recipe's key.
const RECIPE: &str = "org.atelier.recipe";
/// The label that holds the image's size in bytes.
const SIZE: &str = "org.atelier.size";

/// An OCI image configuration, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    architecture: String,
    os: String,
    config: Config,
    rootfs: RootFs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    user: String,
    working_dir: String,
    env: Vec<String>,
    entrypoint: Vec<String>,
    labels: std::collections::BTreeMap<String, String>,
}

/// The layers' hashes are not known before the layers are packed for a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

impl Manifest {
    pub(super) fn new(recipe: &Recipe, key: &str, size_bytes: u64) -> Self {
        let env = recipe.image_environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let labels = [(RECIPE.into(), key.into()), (SIZE.into(), size_bytes.to_string())].into();
        Self {
            architecture: architecture.into(),
            os: "linux".into(),
            config: Config {
                user: "1000:100".into(),
                working_dir: "/home/ma-user/work".into(),
                env,
                entrypoint: recipe.entrypoint.clone(),
                labels,
            },
            rootfs: RootFs { kind: "layers".into(), diff_ids: Vec::new() },
        }
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("image.json"), serde_json::to_vec_pretty(self)?)
    }

    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join("image.json"))?)?)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.config.labels.get(SIZE).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(super) fn entrypoint(&self) -> Vec<String> {
        self.config.entrypoint.clone()
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let pairs = self.config.env.iter().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// An image's layers, the topmost first.
pub(super) fn layers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for entry in fs::read_dir(folder.join("layers"))? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        numbered.push((number.ok_or_else(|| io::Error::other(format!("`{}` is no layer", path.display())))?, path));
    }
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    if numbered.is_empty() {
        return Err(io::Error::other("the recipe has made no layer"));
    }
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// How much a folder takes on disk. A file with several names counts once.
pub(super) fn size_on_disk(folder: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.nlink() == 1 || about.is_dir() || seen.insert((about.dev(), about.ino())) {
                bytes += about.blocks() * 512;
            }
            if about.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_file_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/file"), vec![1; 100_000]).unwrap();
        let once = size_on_disk(folder.path()).unwrap();
        fs::hard_link(folder.path().join("in/file"), folder.path().join("again")).unwrap();
        assert_eq!(size_on_disk(folder.path()).unwrap(), once);
        assert!(once >= 100_000);
    }

    #[test]
    fn layers_are_sorted_by_number_from_the_top() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2", "10", "0"] {
            fs::create_dir_all(folder.path().join("layers").join(name)).unwrap();
        }
        let names: Vec<_> = layers(folder.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["10", "2", "0"]);
        fs::create_dir(folder.path().join("layers/what")).unwrap();
        assert!(layers(folder.path()).is_err());
    }
}
