//! An empty store in a folder of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "for tests only, but not a test itself")]

use std::path::Path;
use std::sync::Arc;

use atelier_core::Entropy;
use atelier_store_sqlite::{Sealer, SqliteStore};
use tempfile::TempDir;

/// The machine's randomness.
pub(crate) struct Random;

impl Entropy for Random {
    fn fill(&self, out: &mut [u8]) {
        rand::RngCore::fill_bytes(&mut rand::rng(), out);
    }
}

/// A sealer whose key is this byte throughout.
pub(crate) fn sealer(key: u8) -> Sealer {
    Sealer::new(&[key; 32], Arc::new(Random))
}

/// The store in `folder`, opened with the key of ones.
pub(crate) async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("atelier.db"), sealer(1)).await.unwrap()
}

/// An empty store, and the folder that it is in.
pub(crate) async fn empty_store() -> (SqliteStore, TempDir) {
    let folder = TempDir::new().unwrap();
    (open(folder.path()).await, folder)
}
