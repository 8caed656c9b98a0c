//! A workflow run: the rules are [`github::run`](crate::parser::github::run)'s, the jobs the agent's own engine's.
//!
//! - [`book`]: the run's jobs, for the loop that runs pipelines. [`job`]: one of them in the words of the model.
//! - [`steps`]: its steps, for whoever runs steps. [`hasher`]: `hashFiles` in its work tree.

pub mod book;
mod hasher;
pub mod job;
pub mod steps;
mod unhonoured;
