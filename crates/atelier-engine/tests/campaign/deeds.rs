//! Faults that need no call: the round brings them about itself, in the middle of what its commands have begun.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atelier_core::Clock as _;
use atelier_core::id::NotebookId;
use atelier_runtime::simulated::SimulatedRuntime;

use crate::entropy::Counting;
use crate::injector::Injector;
use crate::plan::Fault;
use crate::time::VirtualTime;

/// What the round does by itself.
pub(crate) struct Deeds {
    pub(crate) time: Arc<VirtualTime>,
    pub(crate) entropy: Arc<Counting>,
    pub(crate) simulated: Arc<SimulatedRuntime>,
    pub(crate) injector: Arc<Injector>,
}

impl Deeds {
    pub(crate) async fn bring_about(&self, fault: Fault, running: &[NotebookId], folder: &Path) {
        // Into the middle of what the commands have begun.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let nth = |n: u8| running.get(usize::from(n) % running.len().max(1)).copied();
        match fault {
            Fault::ClockJump(ms) => self.time.jump(ms),
            Fault::Pause(ms) => tokio::time::advance(Duration::from_millis(ms.into())).await,
            Fault::ServerEnds(n) => {
                let Some(id) = nth(n) else { return };
                self.simulated.break_server(id).unwrap();
            }
            Fault::InstanceVanishes(n) => {
                let Some(id) = nth(n) else { return };
                for what in ["server", "network", "container"] {
                    let _ = std::fs::remove_file(folder.join(id.to_string()).join(what));
                }
            }
            Fault::Stranger => {
                let stranger = folder.join(NotebookId::generate(self.time.now(), &*self.entropy).to_string());
                std::fs::create_dir_all(&stranger).unwrap();
                for what in ["volume", "container"] {
                    std::fs::write(stranger.join(what), "a stranger's").unwrap();
                }
            }
            _ => return,
        }
        self.injector.did(fault);
    }
}
