//! The contract of all runtimes, on containers.

mod bed;

use atelier_runtime::contract;
use bed::Machine;

#[tokio::test(flavor = "multi_thread")]
async fn the_local_runtime_keeps_the_contract() {
    let Some(machine) = Machine::new() else { return };
    contract::run_all(&machine).await;
    machine.is_clean();
}
