//! The files of NVIDIA's driver that programs on a GPU need, and that must be of the version of the driver in the kernel:
//! so they are the machine's and not the image's.
//!
//! All of them end with the version, and lie where NVML does or where libraries usually do. What programs ask for is
//! another name of the same file (`libcuda.so.1` for `libcuda.so.570.86.15`). Files of other versions, left over from an
//! update, are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file::names;
use crate::server::PATH;

/// Where the driver's files are in a container, from its root, and below it its libraries and its programs.
pub(crate) const ROOT: &str = "usr/local/nvidia";
pub(crate) const LIBRARIES: &str = "lib";
pub(crate) const PROGRAMS: &str = "bin";

/// To compute, and to see what goes on. Not to draw, to encode video, or to manage the machine.
const STEMS: [&str; 13] = [
    "libcuda",
    "libcudadebugger",
    "libnvidia-allocator",
    "libnvidia-cfg",
    "libnvidia-compiler",
    "libnvidia-gpucomp",
    "libnvidia-ml",
    "libnvidia-nvvm",
    "libnvidia-nvvm70",
    "libnvidia-opencl",
    "libnvidia-pkcs11",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler",
];
const NAMES_OF_PROGRAMS: [&str; 2] = ["nvidia-smi", "nvidia-debugdump"];

/// A file of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriverFile {
    /// Where it is on this machine.
    pub(crate) source: PathBuf,
    /// Its own name.
    pub(crate) name: String,
    /// Its other names.
    pub(crate) links: BTreeSet<String>,
}

/// Adds the driver's folders to an image's part of the environment, behind what stands there.
pub(crate) fn tell_of_driver(environment: &mut Vec<(String, String)>) {
    for (name, usual, folder) in [("PATH", PATH, PROGRAMS), ("LD_LIBRARY_PATH", "", LIBRARIES)] {
        let at = environment.iter().position(|(known, _)| known == name);
        let before = at.map_or_else(|| usual.to_owned(), |at| environment.swap_remove(at).1);
        let colon = if before.is_empty() { "" } else { ":" };
        environment.push((name.to_owned(), format!("{before}{colon}/{ROOT}/{folder}")));
    }
}

/// The files that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) libraries: Vec<DriverFile>,
    pub(super) programs: Vec<DriverFile>,
}

impl Files {
    pub(super) fn has(&self, library: &str) -> bool {
        self.libraries.iter().any(|file| file.name == library || file.links.contains(library))
    }
}

/// The files of the driver of this version whose NVML is in `folder`.
pub(super) fn find(folder: &Path, version: &str) -> io::Result<Files> {
    let usual = [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib64".into(), "/usr/lib".into()];
    let folders: Vec<_> = std::iter::once(folder.to_owned()).chain(usual.map(PathBuf::from)).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_programs: Vec<_> = std::env::split_paths(&path).collect();
    Ok(Files { libraries: libraries(&folders, version)?, programs: programs(&of_programs)? })
}

fn libraries(folders: &[PathBuf], version: &str) -> io::Result<Vec<DriverFile>> {
    let mut found = Vec::new();
    for stem in STEMS {
        let name = format!("{stem}.so.{version}");
        let Some(folder) = folders.iter().find(|folder| folder.join(&name).exists()) else { continue };
        let source = folder.join(&name).canonicalize()?;
        let same = |other: &String| folder.join(other).canonicalize().is_ok_and(|path| path == source);
        let links =
            names(folder)?.into_iter().filter(|other| other.starts_with(&format!("{stem}.so")) && *other != name);
        let links = links.filter(same).collect();
        found.push(DriverFile { source, name, links });
    }
    Ok(found)
}

fn programs(folders: &[PathBuf]) -> io::Result<Vec<DriverFile>> {
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let found = NAMES_OF_PROGRAMS.iter().filter_map(|name| Some((*name, find(name)?)));
    let file = |(name, path): (&str, PathBuf)| {
        Ok(DriverFile { source: fs::canonicalize(path)?, name: name.to_owned(), links: BTreeSet::new() })
    };
    found.map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_the_version_are_found_with_all_their_names_and_no_others() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for name in ["libcuda.so.570.1", "libcuda.so.470.9", "libnvidia-glcore.so.570.1", "libnvidia-ml.so.570.1"] {
            fs::write(first.path().join(name), name).unwrap();
        }
        for name in ["libcuda.so.570.1", "libnvidia-nvvm.so.570.1"] {
            fs::write(second.path().join(name), "second").unwrap();
        }
        symlink("libcuda.so.570.1", first.path().join("libcuda.so.1")).unwrap();
        symlink("libcuda.so.1", first.path().join("libcuda.so")).unwrap();
        symlink("libcuda.so.470.9", first.path().join("libcuda.so.0")).unwrap();
        let found = libraries(&[first.path().into(), second.path().into()], "570.1").unwrap();
        let named: Vec<_> = found.iter().map(|file| (file.name.as_str(), file.links.len())).collect();
        assert_eq!(named, [("libcuda.so.570.1", 2), ("libnvidia-ml.so.570.1", 0), ("libnvidia-nvvm.so.570.1", 0)]);
        assert_eq!(fs::read_to_string(&found[0].source).unwrap(), "libcuda.so.570.1");
        assert_eq!(fs::read_to_string(&found[2].source).unwrap(), "second");
        let files = Files { libraries: found, programs: Vec::new() };
        assert!(files.has("libcuda.so.1") && files.has("libnvidia-ml.so.570.1") && !files.has("libcuda.so.0"));
    }

    #[test]
    fn the_driver_s_folders_come_behind_those_of_the_image() {
        for (image, path, libraries) in [
            (vec![], "/usr/local/bin:/usr/bin:/bin:/usr/local/nvidia/bin", "/usr/local/nvidia/lib"),
            (
                vec![("PATH", "/own"), ("LD_LIBRARY_PATH", "/l")],
                "/own:/usr/local/nvidia/bin",
                "/l:/usr/local/nvidia/lib",
            ),
        ] {
            let mut environment = image.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            tell_of_driver(&mut environment);
            let wanted = [("PATH", path), ("LD_LIBRARY_PATH", libraries)];
            assert_eq!(environment, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn programs_are_those_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nvidia-smi"), "").unwrap();
        fs::write(folder.path().join("nvidia-persistenced"), "").unwrap();
        let found = programs(&["/nowhere".into(), folder.path().into()]).unwrap();
        assert_eq!(found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["nvidia-smi"]);
    }
}
