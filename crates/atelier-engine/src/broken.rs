//! An engine that is wrong on purpose, for tests: a campaign that finds nothing wrong in a wrong engine proves nothing.
//!
//! Compiled in by the feature `broken` only, which no release has, and even then switched on by a test alone, for the
//! engines on its own thread.

/// What the engine leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A creation that failed does not discard its volume.
    Undo,
    /// A start is not held against the capacity of the host.
    Check,
    /// A commit that was answered with an error is held to be not written.
    Doubt,
}

#[cfg(feature = "broken")]
thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Broken>> = const { std::cell::Cell::new(None) };
}

/// From now on the engines on this thread leave this out.
#[cfg(feature = "broken")]
pub fn leave_out(what: Option<Broken>) {
    LEFT_OUT.set(what);
}

#[cfg(feature = "broken")]
pub(crate) fn is_left_out(what: Broken) -> bool {
    LEFT_OUT.get() == Some(what)
}

#[cfg(not(feature = "broken"))]
pub(crate) const fn is_left_out(_what: Broken) -> bool {
    false
}
