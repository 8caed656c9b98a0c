//! The binary: the shim where it is started as one, the command line everywhere else.

use forgehand::cli::Verdict;
use forgehand::executor::sandbox::shim;

fn main() -> Verdict {
    // First of all, before any thread, runtime or argument: inside a sandbox the same file is the shim.
    if shim::is_shim() {
        shim::main();
    }
    forgehand::cli::main()
}
