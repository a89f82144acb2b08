//! What the first process of a container and the server outside say to each other.
//!
//! The program itself is `main.rs`; this library holds only what both sides must agree on, so that the runtime can
//! depend on it without depending on the program.

pub mod archive;
pub mod protocol;
pub mod sync_filter;
