//! Runs, with steps carried out by the machine's own bash.

mod build;
mod corpus;
mod host;
mod plan;
mod semantics;
