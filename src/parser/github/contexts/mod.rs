//! What expressions see: the contexts of a run, of a called workflow, of a job.
//!
//! - [`Run`]: what all jobs of a run share. [`Scope`]: a workflow and what it was called with. [`JobScene`]: one leg.
//! - [`Names`]: the names of one evaluation, as the expression engine asks for them.

pub mod github;
mod names;
mod run;
mod scene;
mod spec;

pub use github::EXPORTED;
pub use names::{JobResults, Names, Status};
pub use run::{Run, Scope};
pub use scene::{JobScene, NO_COMBINATION, Strategy};
