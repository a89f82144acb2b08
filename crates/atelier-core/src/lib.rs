//! The pure centre of Atelier: what a notebook *is*, which lifecycle it has, how its lease counts, and which
//! refusals exist.
//!
//! Nothing here does I/O, waits, speaks HTTP or SQL, or reads the time: every function is total and takes `now` and
//! randomness as arguments. That is what lets the API, the CLI, the lease clock and the tests all call the same
//! arithmetic and get the same answer.
//!
//! * [`status`] holds the one table of the lifecycle. No other code may decide what comes after a status.
//! * [`lease`] holds the one arithmetic of automatic stops, [`activity`] the one verdict on what is idle.
//! * [`refusal`] holds the one catalogue of error codes.
//! * [`observe`] is how the inside tells what is worth measuring, [`audit`] what is kept of every change.
//! * [`notebook`], [`volume`], [`image`], [`flavor`], [`gpu`], [`feature`], [`tags`], [`hook`], [`operation`], [`event`] are the things themselves.

pub mod activity;
pub mod audit;
pub mod auto_stop;
pub mod caller;
pub mod clock;
pub mod event;
pub mod feature;
pub mod filling;
pub mod flavor;
pub mod gpu;
pub mod hook;
pub mod id;
pub mod image;
pub mod lease;
pub mod limits;
pub mod notebook;
pub mod observe;
pub mod operation;
pub mod pool;
pub mod refusal;
pub mod status;
pub mod tags;
pub mod volume;

pub use caller::{Caller, Origin};
pub use clock::{Clock, Entropy, SystemClock, Timestamp};
pub use refusal::{Code, Refusal};
