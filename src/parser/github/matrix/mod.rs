//! The combinations of a job's matrix, and what its legs are called.
//!
//! Source: actions/runner `WorkflowParser/Conversion/MatrixBuilder.cs`, `JobNameBuilder.cs` and GitHub's documentation of `include`.

mod expand;
mod name;

pub use expand::{Combination, LIMIT, Matrix, MatrixError};
pub use name::leg_name;

#[cfg(test)]
mod tests;
