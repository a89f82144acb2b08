//! Bytes that nobody has to guess.

use std::sync::atomic::{AtomicU64, Ordering};

use atelier_core::Entropy;

/// Unlike bytes at each call, the same in each run.
pub(crate) struct Counting(AtomicU64);

impl Counting {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let mut n = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in out {
            n = n.rotate_left(9).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1);
            *byte = n.to_le_bytes()[7];
        }
    }
}
