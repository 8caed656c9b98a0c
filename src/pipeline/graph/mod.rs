//! The dependency graph of a pipeline: who waits for whom, in which order, and what that means for time.
//!
//! - [`JobGraph`]: built once from a [`PipelineDefinition`](super::PipelineDefinition); linear in jobs and needs, also where
//!   whole stages wait for whole stages.
//! - [`problem`]: what makes a graph impossible (unknown, duplicate and self dependencies, cycles) or clumsy (redundant ones).
//! - [`timing`]: levels, critical path, parallelism, what a failure takes with it, whether the time limits can be met.
//! - [`resources`]: what jobs ask for against what there is. [`draw`]: the graph as Mermaid, DOT, text or SVG.

mod build;
mod cycle;
pub mod draw;
pub mod problem;
pub mod resources;
#[cfg(test)]
mod tests;
pub mod timing;

pub use build::{JobGraph, JobIndex};
pub use problem::GraphProblem;
pub use timing::{CriticalPath, Durations};
