//! Volumes: what survives a stop.
//!
//! A notebook has one of three kinds, from its creation on:
//!
//! | kind | category, ownership | whose it is, and how long |
//! |---|---|---|
//! | [`VolumeKind::Own`] | EVS, MANAGED | the notebook's alone; goes with it |
//! | [`VolumeKind::Shared`] | EFS, MANAGED | one for all notebooks that a user has in a workspace; goes with the last of them |
//! | [`VolumeKind::Dedicated`] | EFS, DEDICATED | a folder of the operator's; stays |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::id::VolumeId;

/// Where the volume is in a notebook.
pub const MOUNT_PATH: &str = "/home/ma-user/work/";

/// A notebook's volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its id: of a dedicated one that which the caller gave, and else one of ours.
    pub id: VolumeId,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// A block volume of the notebook's own.
    Own(Size),
    /// The volume that all notebooks of one owner in one workspace share, if they have no own.
    Shared {
        /// Its size in GiB, which it keeps.
        capacity_gib: u32,
    },
    /// The folder at this address.
    Dedicated(ShareUri),
}

/// The size of a block volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// GiB; writing more ends in ENOSPC.
    pub capacity_gib: u32,
    /// The size that it is being given while its notebook runs: the contract's status RESIZING.
    pub growing_to_gib: Option<u32>,
}

impl Size {
    /// The size that it has, or is being given.
    pub const fn wanted_gib(&self) -> u32 {
        match self.growing_to_gib {
            Some(gib) => gib,
            None => self.capacity_gib,
        }
    }
}

impl Volume {
    /// A notebook's own, of this size, at rest.
    pub const fn new(id: VolumeId, capacity_gib: u32) -> Self {
        Self { id, kind: VolumeKind::Own(Size { capacity_gib, growing_to_gib: None }) }
    }

    /// Its size in GiB, where it has one.
    pub const fn capacity_gib(&self) -> Option<u32> {
        match self.kind {
            VolumeKind::Own(Size { capacity_gib, .. }) | VolumeKind::Shared { capacity_gib } => Some(capacity_gib),
            VolumeKind::Dedicated(_) => None,
        }
    }

    /// The size that it has, or is being given.
    pub const fn wanted_gib(&self) -> Option<u32> {
        match &self.kind {
            VolumeKind::Own(size) => Some(size.wanted_gib()),
            VolumeKind::Shared { capacity_gib } => Some(*capacity_gib),
            VolumeKind::Dedicated(_) => None,
        }
    }

    /// The size that it is being given.
    pub const fn growing_to_gib(&self) -> Option<u32> {
        match &self.kind {
            VolumeKind::Own(size) => size.growing_to_gib,
            VolumeKind::Shared { .. } | VolumeKind::Dedicated(_) => None,
        }
    }

    /// Its size where that can be changed.
    pub const fn size_mut(&mut self) -> Option<&mut Size> {
        match &mut self.kind {
            VolumeKind::Own(size) => Some(size),
            VolumeKind::Shared { .. } | VolumeKind::Dedicated(_) => None,
        }
    }

    /// It has the size that it was being given, or will have it before anything uses it again.
    pub const fn settle(&mut self) {
        if let Some(size) = self.size_mut() {
            size.capacity_gib = size.wanted_gib();
            size.growing_to_gib = None;
        }
    }

    /// Whether it is one that notebooks of one owner share.
    pub const fn is_shared(&self) -> bool {
        matches!(self.kind, VolumeKind::Shared { .. })
    }

    /// Its address, where it is the operator's.
    pub const fn uri(&self) -> Option<&ShareUri> {
        match &self.kind {
            VolumeKind::Dedicated(uri) => Some(uri),
            VolumeKind::Own(_) | VolumeKind::Shared { .. } => None,
        }
    }

    /// The contract's word for its category.
    pub const fn category(&self) -> &'static str {
        match self.kind {
            VolumeKind::Own(_) => "EVS",
            VolumeKind::Shared { .. } | VolumeKind::Dedicated(_) => "EFS",
        }
    }

    /// The contract's word for its ownership.
    pub const fn ownership(&self) -> &'static str {
        match self.kind {
            VolumeKind::Own(_) | VolumeKind::Shared { .. } => "MANAGED",
            VolumeKind::Dedicated(_) => "DEDICATED",
        }
    }
}

/// The longest address of a folder, in characters.
pub const MAX_URI_CHARS: usize = 1024;

/// The address of a folder on a file share, `host:/path`, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareUri(Box<str>);

/// A text is not the address of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`host:/path` without `.` and `..`, at most {MAX_URI_CHARS} characters long")]
pub struct NotAShareUri;

impl ShareUri {
    /// It, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The way from `root` to this folder, nothing for the same one; `None` when it is not below it.
    pub fn below(&self, root: &Self) -> Option<PathBuf> {
        let ((host, mut own), (at, mut above)) = (parts(&self.0)?, parts(&root.0)?);
        let is_below = host == at && above.all(|folder| own.next() == Some(folder));
        is_below.then(|| own.collect())
    }
}

/// The host, and the names on the way to the folder.
fn parts(uri: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (host, path) = uri.split_once(":/")?;
    Some((host, path.split('/').filter(|name| !name.is_empty())))
}

impl FromStr for ShareUri {
    type Err = NotAShareUri;

    fn from_str(text: &str) -> Result<Self, NotAShareUri> {
        let (host, mut names) = parts(text).ok_or(NotAShareUri)?;
        let right = text.chars().count() <= MAX_URI_CHARS
            && !text.chars().any(char::is_control)
            && !host.is_empty()
            && !host.contains(['/', ' '])
            && names.all(|name| !matches!(name, "." | ".."));
        if right { Ok(Self(text.into())) } else { Err(NotAShareUri) }
    }
}

impl fmt::Display for ShareUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_leads_nowhere_else() {
        for good in ["nas:/", "nas.example.org:/export/a b", "[fe80::1]:/x/", "x.sfsturbo.internal:/..a/b..", "n:/ü"] {
            assert_eq!(good.parse::<ShareUri>().unwrap().as_str(), good);
        }
        let long = format!("nas:/{}", "x".repeat(MAX_URI_CHARS));
        for bad in [
            "",
            "nas",
            "nas:",
            "nas:x",
            ":/x",
            "/x",
            "a/b:/x",
            "nas:/..",
            "nas:/a/../b",
            "nas:/a/.",
            "nas:/a\0b",
            &long,
        ] {
            assert_eq!(bad.parse::<ShareUri>(), Err(NotAShareUri), "{bad:?}");
        }
    }

    #[test]
    fn what_is_below_a_root_is_found_by_whole_names() {
        let uri = |text: &str| text.parse::<ShareUri>().unwrap();
        for (text, root, below) in [
            ("nas:/export", "nas:/export/", Some("")),
            ("nas:/export//a/b/", "nas:/export", Some("a/b")),
            ("nas:/a", "nas:/", Some("a")),
            ("nas:/exports", "nas:/export", None),
            ("nas:/", "nas:/export", None),
            ("other:/export/a", "nas:/export", None),
        ] {
            assert_eq!(uri(text).below(&uri(root)), below.map(PathBuf::from), "{text} below {root}");
        }
    }
}
