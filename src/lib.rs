//! forgehand works at a forge: it takes jobs, runs them in sandboxes, and reports.
//!
//! A walk along one job, in the order in which things happen:
//! 1. [`agent`] polls a [`forge::Forge`] and gets a [`forge::Assignment`].
//! 2. The assignment goes into the journal in [`state`] before anybody acts on it, then to a slot of the agent.
//! 3. [`executor`] runs the job's stages in a [`executor::sandbox`].
//! 4. [`executor::log`] carries each byte: spool, masker, job log, forge.
//! 5. The [`forge::Reporter`] says the last word, and the journal closes the job.
//!
//! A pipeline of a checkout goes another way: [`parser`] makes the model of the YAML, [`local`] plays the forge's part, and the
//! same [`executor`] runs the jobs.
//!
//! Dependencies point one way: `cli` -> `agent` -> `forge` | `executor` | `artifact` -> `pipeline`.
//! [`pipeline`] is pure: no I/O, no async, no clock. Start reading there. [`outbound`] is the one door to the network,
//! [`local`] runs a pipeline of a checkout without a forge, by the same engine.
//! [`config`] what the operator wrote, [`allocator`] where memory comes from, [`emulator`] a forge of our own for the demo and the tests.

pub mod agent;
pub mod allocator;
pub mod artifact;
pub mod cli;
pub mod config;
pub mod emulator;
pub mod executor;
pub mod forge;
pub mod local;
pub mod outbound;
pub mod parser;
pub mod pipeline;
pub mod state;
pub mod telemetry;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this program was built from, where the build knew it (see `build.rs`).
pub const REVISION: Option<&str> = option_env!("BUILD_REVISION");
