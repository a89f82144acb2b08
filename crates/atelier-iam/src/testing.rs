//! What the tests share: a random source that repeats itself.

use std::sync::Mutex;

use atelier_core::Entropy;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// The same bytes for the same seed.
pub(crate) struct Dice(Mutex<StdRng>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for Dice {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(out);
    }
}
