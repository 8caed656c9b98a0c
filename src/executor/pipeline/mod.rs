//! Runs a pipeline: asks a [`Playbook`] what is due, runs it with a [`Worker`], as many jobs at a time as there is room for.
//!
//! The playbook knows the language's rules and nothing of time; the worker knows how one job runs and nothing of the others.
//! [`fixed`] is the playbook of languages whose jobs are all known before the start, by a
//! [`Schedule`](crate::pipeline::schedule::Schedule); GitHub's makes jobs as it goes.
//!
//! - [`playbook`]: the seam. - [`drive`](mod@drive): the loop. - [`control`]: how somebody outside ends or pauses it.

pub mod control;
pub mod drive;
pub mod fixed;
pub mod playbook;

pub use control::{Control, Stop};
pub use drive::{Limits, drive};
pub use playbook::{Action, JobEnd, LegId, PipelineEvent, Playbook, Task, Worker};
