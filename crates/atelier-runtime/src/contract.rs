//! The tests that every runtime has to pass.
