//! Cleaning up after an instance.
//!
//! Works from what is there and needs no record: whatever was made, and however its making ended, is found by its
//! cgroups, its folders and its slot. Every step accepts that there is nothing to do, so that the whole may be
//! repeated after a crash in its middle.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_runtime::RuntimeError;
use tokio::process::Command;

use crate::cgroup::{self, CgroupTree};
use crate::file;
use crate::gpu::Cards;
use crate::network;
use crate::place::Place;
use crate::process::Handle;
use crate::slot::Slots;
use crate::volume;

/// How long the kernel may take to let go of everything.
const LIMIT: Duration = Duration::from_secs(20);

fn failed(what: &str) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = what.to_owned();
    move |e| RuntimeError::Transient(format!("{what} of the instance could not be removed: {e}"))
}

/// Nothing of the instance is left afterwards but its volume and its log.
pub(crate) async fn instance(
    place: &Place,
    tree: &Arc<dyn CgroupTree>,
    slots: &Slots,
    cards: &Cards,
    first: Option<Arc<Handle>>,
) -> Result<(), RuntimeError> {
    processes(place, tree, first).await?;
    // Nobody uses them any more, whatever else hinders the rest.
    cards.release(&place.kept).map_err(failed("the claim to GPUs"))?;
    if let Some(slot) = slots.of(&place.kept).map_err(failed("the slot"))? {
        network::detach(slot).await?;
    }
    detached(&place.volume()).await?;
    detached(&place.layer()).await?;
    volume::remove_layer(&place.layer()).map_err(failed("the layer"))?;
    folder(&place.run).await?;
    file::remove(&place.state()).map_err(failed("the record"))?;
    slots.release(&place.kept).map_err(failed("the slot"))
}

async fn processes(place: &Place, tree: &Arc<dyn CgroupTree>, first: Option<Arc<Handle>>) -> Result<(), RuntimeError> {
    let (tree, name) = (Arc::clone(tree), place.cgroup.clone());
    let work = move || {
        if let Some(first) = first {
            first.kill()?;
            first.ended_within(LIMIT)?;
        }
        cgroup::destroy(&*tree, &name, LIMIT)
    };
    let joined = tokio::task::spawn_blocking(work).await.map_err(|e| RuntimeError::Transient(e.to_string()))?;
    joined.map_err(failed("the processes"))
}

/// Waits until no loop device has the volume any more: the kernel frees it just after the last process has ended, and
/// tells nobody.
async fn detached(image: &Path) -> Result<(), RuntimeError> {
    let until = Instant::now() + LIMIT;
    while volume::is_attached(image).map_err(failed("the loop device"))? {
        if Instant::now() > until {
            return Err(RuntimeError::Transient("the volume is still attached".into()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The folder is gone afterwards. By `rm`, because it does not cross into another file system, should one be mounted
/// there against all expectation.
pub(crate) async fn folder(path: &Path) -> Result<(), RuntimeError> {
    if !path.exists() {
        return Ok(());
    }
    let mut rm = Command::new("rm");
    let rm = rm.args(["-rf", "--one-file-system", "--"]).arg(path).kill_on_drop(true);
    let output = rm.output().await.map_err(failed("a folder"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RuntimeError::Transient(format!("a folder of the instance could not be removed: {said}")))
}
