//! `forgehand demo`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::verdict::Verdict;
use crate::emulator::demo::{self, DemoError, DemoOutcome, DemoSettings};

/// Run a real pipeline against an embedded forge, live
///
/// Starts a forge inside this program, registers with it, runs a small project's pipeline (build, test, package) in
/// Docker, and shows its log. Everything it makes is removed at the end. The exit code is 0 only when the pipeline
/// succeeded.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  forgehand demo")]
pub struct DemoArgs {
    /// Image for the jobs (default: one made from busybox)
    ///
    /// An image that has a shell and the usual tools. Without it a tiny one is built from the machine's statically linked
    /// busybox, so that nothing has to be pulled.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// How long the pipeline may take, in seconds
    ///
    /// When it has not ended by then it is cancelled, and the demo has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
}

/// Runs the demo.
pub fn run(args: DemoArgs) -> Result<Verdict, miette::Report> {
    let program: PathBuf = std::env::current_exe()
        .map_err(|cause| DemoError::System { what: "finding this program's own file", cause })
        .map_err(miette::Report::new)?;
    let settings = DemoSettings { image: args.image, limit: Duration::from_secs(args.timeout), program };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|cause| DemoError::System { what: "starting the runtime", cause })
        .map_err(miette::Report::new)?;
    match runtime.block_on(demo::run(settings)) {
        Ok(DemoOutcome::Success) => Ok(Verdict::Success),
        Ok(DemoOutcome::Failed) => Ok(Verdict::Failed),
        Ok(DemoOutcome::Cancelled) => Ok(Verdict::Cancelled),
        // What is missing is the machine's: said here, since the verdict is more exact than a plain error's.
        Err(error @ (DemoError::Engine(_) | DemoError::NoBusybox | DemoError::Image(_))) => {
            eprintln!("{:?}", miette::Report::new(error));
            Ok(Verdict::Environment)
        }
        Err(error) => Err(miette::Report::new(error)),
    }
}
