//! The one binary: the agent's command line, and, under other names, the process inside sandboxes.

use std::process::ExitCode;

use forgehand::executor::sandbox::docker::utility;
use forgehand::executor::sandbox::shim;

fn main() -> ExitCode {
    // First of all: a shim has no arguments to parse and starts nothing of the agent's.
    if shim::is_shim() {
        shim::main();
    }
    if utility::is_utility() {
        utility::main();
    }
    forgehand::cli::main().into()
}
