//! The simulated runtime.
