//! The shim: our process inside the sandbox, and the agent's side of talking to it.
//!
//! One file of the machine, `forgehand-shim`, is the sandbox's command; a folder `run` lies beside it, shared with the
//! agent. The shim listens on `run/shim.sock`, starts each step that it is told, writes what the step prints to
//! `run/STEP.spool` and how it ended to `run/STEP.exit`. It needs neither the agent nor the engine to go on, so a job
//! outlives both: the next agent reads on where the last one stopped.
//!
//! What runs where:
//! - In the sandbox: [`process`]. No tokio, one loop, one thread per running step.
//! - In the agent: [`client`] (calls), [`spool`] (output and end of a step), [`run_dir`] (every access to the folder),
//!   [`install`] (the copy of the binary that sandboxes mount).
//! - Both: [`wire`] (messages), [`frame`] (layout of a spool), [`step`] (what a step is and how it ends), [`key`].
//!
//! **Trust.** The folder is as trustworthy as the job. The shim obeys only who holds the job's key: it takes the key
//! once, over the socket, from a peer outside its PID namespace (or at its start, in the host sandbox), before any step
//! exists, and keeps it in memory that no process of the job can read. Every message after that is authenticated in
//! both directions. A job that replaces the socket harms itself only: it learns what it knew, and commands nobody.
//!
//! **Versions.** Hello carries the range of protocols and the spool's version. An agent speaks its own protocol and the
//! one before; where there is none in common the job is still finished through spool and exit file alone.
//!
//! **The end of a step.** A step is over when its main process has ended. What it left running (daemons, `&`) gets
//! [`LEFTOVER_GRACE`] after SIGTERM, then SIGKILL, as the processes of a GitLab stage end with their container.

use std::time::Duration;

pub mod client;
pub mod frame;
pub mod install;
pub mod key;
pub mod process;
pub mod run_dir;
pub mod spool;
pub mod step;
pub mod wire;

pub use client::{Hello, ShimClient, ShimError, ShimWatch};
pub use frame::Stream;
pub use install::{InstallError, ShimBinary};
pub use key::ShimKey;
pub use process::shell::SHELLS;
pub use process::{is_shim, main};
pub use run_dir::{RunDir, RunDirError};
pub use spool::{SpoolError, SpoolEvent, SpoolReader};
pub use step::{Program, StepExit, StepId, StepRecord, StepRequest};
pub use wire::StepState;

/// File name of the binary as sandboxes see it. By this name the binary knows that it is the shim.
pub const SHIM_NAME: &str = "forgehand-shim";
/// Name of the folder beside the binary.
pub const RUN_NAME: &str = "run";
/// Name of the socket in the run directory.
pub const SOCKET_NAME: &str = "shim.sock";
/// Name of the file in which the shim says why it ended.
pub const END_NAME: &str = "shim.end";
/// What a shim in a container prints on both streams before it listens: what stands before it in the engine's log is the
/// entrypoint's.
pub const ENTERED: &[u8] = b"forgehand-shim: entered\n";
/// How long processes that a finished step left running have between SIGTERM and SIGKILL.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
