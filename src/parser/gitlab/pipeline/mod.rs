//! From a configuration to the pipeline that an event creates: what the server does before a runner sees a job.
//!
//! - [`context`]: what a pipeline is created for. [`predefined`], [`variables`], [`scope`]: variables and who sees them.
//! - [`rules`], [`policy`], [`pattern`], [`matrix`]: which jobs there are. [`create`](mod@create): the pipeline.
//! - [`circles`]: variables that refer to each other. `definition`: the pipeline as plans and schedules know it. [`expand`]: the processed configuration as text.
//! - [`response`](mod@response), `job_variables`, [`cache_key`]: one job as a runner is handed it. [`codes`]: what can be wrong.

pub mod cache_key;
pub mod circles;
pub mod codes;
pub mod context;
pub mod create;
pub mod expand;
pub mod matrix;
pub mod pattern;
pub mod policy;
pub mod predefined;
pub mod response;
pub mod rules;
pub mod scope;
pub mod variables;

mod definition;
pub(super) mod job_variables;
#[cfg(test)]
mod tests;

pub use context::PipelineContext;
pub use create::{CreatedJob, CreatedNeed, Pipeline, create, of_file};
pub use response::{JobFacts, dependencies, response};
