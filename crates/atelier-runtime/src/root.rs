//! The folders that an operator gives to notebooks.

use std::path::{Path, PathBuf};

use atelier_core::volume::ShareUri;

use crate::RuntimeError;

/// A folder of this machine, with all that is below it, and the address by which people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its address.
    pub uri: ShareUri,
    /// Where it is.
    pub path: PathBuf,
}

impl Root {
    /// The root that an address is in, and the way from there. Where one root is in another, it is the inner one.
    pub fn of<'r>(roots: &'r [Self], uri: &ShareUri) -> Option<(&'r Path, PathBuf)> {
        let found = roots.iter().filter_map(|root| Some((root.path.as_path(), uri.below(&root.uri)?)));
        found.min_by_key(|(_, below)| below.components().count())
    }
}

/// What is at the address of a dedicated volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtUri {
    /// A folder, which can be a volume.
    Folder,
    /// No folder that can be reached from its root.
    Nothing,
    /// It is in none of the operator's roots.
    Unlisted,
    /// The operator has given none.
    NoRoots,
}

impl AtUri {
    /// Why it cannot be the volume of an instance that is to be made.
    pub fn trouble(self, uri: impl std::fmt::Display) -> RuntimeError {
        RuntimeError::Permanent(match self {
            Self::Folder => format!("the folder `{uri}` cannot be used"),
            Self::Nothing => format!("there is no folder at `{uri}`, or a link there leads elsewhere"),
            Self::Unlisted | Self::NoRoots => format!("this server offers no file share with `{uri}` any more"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_root_counts() {
        let uri = |text: &str| text.parse::<ShareUri>().unwrap();
        let root = |uri: &str, path: &str| Root { uri: uri.parse().unwrap(), path: path.into() };
        let roots = [root("nas:/", "/all"), root("nas:/a", "/a"), root("other:/", "/other")];
        assert_eq!(Root::of(&roots, &uri("nas:/a/b")), Some((Path::new("/a"), "b".into())));
        assert_eq!(Root::of(&roots, &uri("nas:/b")), Some((Path::new("/all"), "b".into())));
        assert_eq!(Root::of(&roots, &uri("no:/a")), None);
    }
}
