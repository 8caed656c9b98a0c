//! YAML as a tree in which every node knows where it stands.
//!
//! The reader is a port of libyaml, which is what GitLab reads with, so that what is a syntax error there is one here. The tree keeps
//! scalars as they are written; what `yes` or `010` means depends on the language, and is asked with [`Scalar::typed`].
//! Nodes are cheap to clone: the insides of sequences and mappings are shared, also between an anchor and its aliases.
//!
//! - [`node`]: the tree. [`span`]: places in files. [`scalar`]: what plain text means in which schema.
//! - [`yaml`]: the tree as YAML again.
//! - [`read`]: text to tree, within [`Limits`]. [`files`]: where further files come from.

mod build;
mod events;
mod explain;
pub mod files;
pub mod node;
mod pile;
pub mod scalar;
pub mod span;
pub mod yaml;

pub use build::{Limits, Merge, Options, SyntaxError, read};
pub use files::{FileError, Files, NoFiles};
pub use node::{Entry, Mapping, Node, Scalar, Style, Tag, Value, lend};
pub use scalar::{Schema, Typed, big_whole, is_other_than_text, ruby_float_text};
pub use span::{FileId, SourceFile, Sources, Span};

#[cfg(test)]
mod tests;
