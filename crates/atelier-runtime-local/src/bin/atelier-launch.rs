//! The launcher alone, for the tests of this crate: the product runs it as a hidden subcommand of its own program.

use std::process::ExitCode;

fn main() -> ExitCode {
    atelier_runtime_local::launcher_main()
}
