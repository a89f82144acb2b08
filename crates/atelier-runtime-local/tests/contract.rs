//! The contract of all runtimes, on containers.

mod bed;

use atelier_runtime::contract;
use bed::Machine;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn the_local_runtime_keeps_the_contract() {
    let machine = Machine::new();
    contract::run_all(&machine).await;
    machine.is_clean();
}
