//! Volumes: what survives a stop.

use crate::id::VolumeId;

/// Where the volume is in a notebook.
pub const MOUNT_PATH: &str = "/home/ma-user/work/";

/// A notebook's own block volume (category EVS, ownership MANAGED): destroyed with the notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its size in GiB; writing more ends in ENOSPC.
    pub capacity_gib: u32,
    /// The size that it is being given while its notebook runs: the contract's status RESIZING.
    pub growing_to_gib: Option<u32>,
}

impl Volume {
    /// One of this size, at rest.
    pub const fn new(id: VolumeId, capacity_gib: u32) -> Self {
        Self { id, capacity_gib, growing_to_gib: None }
    }

    /// The size that it has, or is being given.
    pub const fn wanted_gib(&self) -> u32 {
        match self.growing_to_gib {
            Some(gib) => gib,
            None => self.capacity_gib,
        }
    }

    /// It has the size that it was being given, or will have it before anything uses it again.
    pub const fn settle(&mut self) {
        self.capacity_gib = self.wanted_gib();
        self.growing_to_gib = None;
    }
}
