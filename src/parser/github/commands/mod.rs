//! What a step's processes say to us: commands in lines of output, and command files.
//!
//! - [`Reader`]: hears each line of one step. [`line`]: `::name key=value::data` and the older `##[name key=value]data`.
//! - [`files`]: what stands in `GITHUB_ENV` and its kin. [`matcher`]: problem matchers. [`issue`]: errors, warnings and notices.
//! - [`mask`]: what is to be hidden when a value is.
//!
//! The rules are those of actions/runner (`ActionCommand.cs`, `ActionCommandManager.cs`, `FileCommandManager.cs`, `IssueMatcher.cs`).

pub mod files;
pub mod issue;
pub mod line;
pub mod mask;
pub mod matcher;
mod reader;

pub use files::WrittenFiles;
pub use issue::{Issue, Level};
pub use line::Command;
pub use matcher::Matchers;
pub use reader::{Effects, Heard, Reader, ReaderSettings, Spoken, is_refused_env, refused_env};

#[cfg(test)]
mod corpus;
