//! The rules of GitLab configurations.

use crate::parser::diagnostics::Code;

/// A key that GitLab does not know stands where it refuses such. Take the key that was meant, or remove it.
pub const UNKNOWN_KEY: Code = Code("gitlab/unknown-key");
