//! One merged tree to a typed configuration, every error in one pass.
//!
//! - [`model`]: what a configuration says. [`check`]: tree to that. [`codes`]: what can be wrong.

pub mod codes;
pub mod model;

use crate::parser::diagnostics::Diagnostics;
use crate::parser::document::Node;

pub use model::Configuration;

/// The configuration that a merged tree says; `None` where the tree is no configuration at all.
///
/// With errors among the findings the configuration holds what could be understood.
pub fn check(_root: &Node, _diagnostics: &mut Diagnostics) -> Option<Configuration> {
    None
}
