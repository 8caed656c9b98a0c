//! What stands under `ports`, `volumes` and `options` of a workflow's containers, in the words of the model.
//!
//! `options` is a command line for `docker create`: taken apart as a shell does it ([`options()`]), flag by flag ([`flags`]). What is
//! no flag of `docker create` is an error, as it is for the engine; what would weaken a sandbox becomes a
//! [`Privilege`](crate::pipeline::definition::Privilege), which holds only where the operator gave it.

mod flags;
mod options;
mod ports;
mod quantities;
mod volumes;

pub use options::{Options, options};
pub use ports::ports;
pub use volumes::volume;

/// The words of a command line as a POSIX shell parts them; nothing is expanded.
///
/// # Errors
/// A quote is not closed.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| format!("`{line}` has a quote that is not closed"))
}
