//! Points at which a test kills the server: between an effect and its record, and after the record.
//!
//! Compiled in by the feature `failpoints` only. A point is named `op::<kind>::<step>::<phase>` or
//! `undo::<kind>::<step>::<phase>` with the phases `effect` (the effect is there, the record is not) and `record` (both
//! are). On a volume's way out of the trash they are `trash::discard::volume::record` (it cannot be restored any more) and
//! `…::effect` (it is gone, and that is not written). `FAILPOINTS="op::create::prepare-storage::effect=return"` in the environment makes the process die there, as
//! abruptly as by a power cut. `fault::<kind>::<step>=return` makes the step fail for good instead, before it has any
//! effect, so that there is something to take back.

/// Reads `FAILPOINTS` from the environment. To be called once, at the start of the process.
#[cfg(feature = "failpoints")]
pub fn set_up() {
    // Dropping the scenario would switch every point off again.
    std::mem::forget(fail::FailScenario::setup());
}

#[cfg(feature = "failpoints")]
pub(crate) fn reach(way: &str, kind: &str, step: &str, phase: &str) {
    let name = format!("{way}::{kind}::{step}::{phase}");
    fail::fail_point!(&name, |_| std::process::abort());
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn reach(_way: &str, _kind: &str, _step: &str, _phase: &str) {}

/// The reason for which a test makes this step fail, if it does.
#[cfg(feature = "failpoints")]
pub(crate) fn fault(kind: &str, step: &str) -> Option<String> {
    let name = format!("fault::{kind}::{step}");
    fail::fail_point!(&name, |_| Some(format!("`{name}` is set")));
    None
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn fault(_kind: &str, _step: &str) -> Option<String> {
    None
}
