//! Which workflows an event starts.
//!
//! [`pattern`]: the globs of `branches`, `tags` and `paths`. [`payload`](mod@payload): what it brings. [`filter`]: branches, tags and paths.
//! [`RunFacts`]: what the caller knows of the checkout. [`told`](fn@told): what a given payload says of it.

mod facts;
pub mod filter;
pub mod inputs;
pub mod pattern;
pub mod payload;
mod start;
mod told;

pub use facts::RunFacts;
pub use inputs::StartProblem;
pub use start::{Start, Started, start};
pub use told::told;
