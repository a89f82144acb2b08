//! Notebooks as containers on this machine.
//!
//! A notebook is a container with its own user, process, mount, network, IPC and host-name namespaces, on an overlay of
//! a complete image, within cgroup limits, without any right. Its first process is Atelier's own init; the notebook
//! server below it listens on a Unix socket and on nothing else. Nothing of ours stays behind a container: no
//! daemon, no mount in the host's namespace, no state that only memory holds. The server may end and come back; what
//! runs is found again (`process`).
//!
//! | step | module |
//! |---|---|
//! | image | [`image`], asked through [`ImageSource`] |
//! | storage | `volume`, `dedicated` |
//! | compute | `launch`, within `cgroup` limits, in a `slot`, with its own `gpu` |
//! | network | `network` |
//! | initialise | `zygote`, or `control`; `server`, `seccomp` |
//! | stop, remove, set aside | `sweep`, `lost` |
//! | what it uses and does | `cgroup`, `foreground` |
//! | who goes first on a busy processor | `priority` |
//! | that memory ran out | `kernel_log`, `kernels` |

mod cgroup;
mod claims;
mod config;
mod control;
mod dedicated;
mod exec;
mod file;
mod foreground;
mod gpu;
mod groups;
mod hook;
mod host;
pub mod image;
mod kernel_log;
mod kernels;
mod launch;
mod live;
mod locks;
mod lost;
mod network;
mod place;
mod priority;
pub mod probe;
mod process;
mod processes;
mod record;
mod runtime;
mod seccomp;
mod server;
mod slot;
mod source;
mod sweep;
mod volume;
mod zygote;

pub use atelier_init::protocol::LogLimits;
pub use config::{DiskLimits, Launcher, LocalConfig, NetworkConfig};
pub use gpu::{Gpu, NoGpus, Report as GpuReport, look_once as look_for_gpus};
pub use launch::launcher_main;
pub use runtime::LocalRuntime;
pub use source::{ImageSource, Pythons, ReadyImage};
