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
}
