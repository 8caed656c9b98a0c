//! The embedded forge: the server side of the forges' runner protocols over real HTTP, for the demo and the tests.
//!
//! Only GitLab's side is here yet (protocols: GitLab). It is strict: what the real server refuses is refused, and what a
//! well-made runner would never send is written down as a [`Violation`] even where the real server lets it pass. It
//! shares no type with `forge/`, so that a misreading on one side shows.
//!
//! What it is made of:
//! - [`server`]: sockets, the record of every request ([`record`]), failures on demand ([`fault`]).
//! - [`api`]: the runner API, one file an endpoint family; [`storage`]: the "object storage" of artifacts on a port of its
//!   own; [`git`]: bare repositories behind smart HTTP, served by `git http-backend`.
//! - [`world`]: what the server knows (projects, runners, jobs, pipelines) and the rules by which it changes.
//! - [`ci`]: pipelines from a repository's `.gitlab-ci.yml`, by the front end that `lint`, `plan` and `exec` ask.
//! - [`payload`]: the job response a runner is handed.
//! - [`demo`]: `forgehand demo`.
//!
//! Start with [`Emulator`]. Everything listens on 127.0.0.1 only.

#![allow(clippy::result_large_err, reason = "a refusal is the answer itself, handed up once")]

pub mod api;
pub mod ci;
pub mod demo;
mod embedded;
pub mod fault;
pub mod git;
pub mod options;
pub mod payload;
pub mod record;
pub mod repository;
pub mod server;
pub mod storage;
pub mod world;

#[cfg(test)]
mod tests;

pub use ci::PipelineRequest;
pub use embedded::{Emulator, EmulatorError};
pub use fault::{FaultAction, FaultRule};
pub use options::{ChecksumPolicy, EmulatorOptions};
pub use record::{Endpoint, RecordedRequest, Violation};
pub use repository::Repository;
pub use world::job::{JobSpec, JobView};
pub use world::pipeline::{PipelineStatus, PipelineView};
pub use world::runner::RunnerSpec;
