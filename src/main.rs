//! The binary: the shim where it is started as one, the command line everywhere else.

use forgehand::cli::Verdict;
use forgehand::executor::sandbox::docker::utility;
use forgehand::executor::sandbox::shim;

fn main() -> Verdict {
    // First of all, before any thread, runtime or argument: inside a sandbox the same file is the shim.
    if shim::is_shim() {
        shim::main();
    }
    // The same in a container of our own that removes what only root can.
    if utility::is_utility() {
        utility::main();
    }
    forgehand::cli::main()
}
