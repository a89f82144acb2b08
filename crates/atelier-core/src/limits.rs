//! Bounds that more than one part of the system must agree on.

/// The largest request body of the API, in bytes. Only the gateway streams without limit.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest name of a notebook, in characters.
pub const MAX_NAME_CHARS: usize = 128;
/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 512;
/// The smallest volume, in GiB.
pub const MIN_VOLUME_GIB: u32 = 5;
/// The largest volume, in GiB.
pub const MAX_VOLUME_GIB: u32 = 4096;
/// The size of a shared volume when nothing else is configured, in GiB: the vendor's own number.
pub const DEFAULT_SHARED_GIB: u32 = 50;
/// The largest page of a list.
pub const MAX_PAGE: u32 = 1000;
/// Notebooks a user may have when nothing else is configured: the vendor's own number.
pub const DEFAULT_NOTEBOOKS_PER_USER: u32 = 10;
