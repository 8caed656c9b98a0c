//! One merged tree to a typed configuration, every error in one pass.
//!
//! - [`model`]: what a configuration says. [`check`]: tree to that. [`codes`]: what can be wrong.
//! - `root`: the top of the file. `job`: one job. `keywords`: what may stand under each key. `cross`: what holds between jobs.
//! - `values`: single values. `duration`: lengths of time. `place`: where a finding is, in words.
//!
//! What is valid is what GitLab's server takes, as its entry classes have it (`lib/gitlab/ci/config/entry` in gitlab-org/gitlab,
//! and `yaml_processor.rb` for what holds between jobs); the editor's JSON schema is stricter in places and does not count.

pub mod codes;
pub mod model;

mod cross;
pub(crate) mod duration;
mod job;
mod keywords;
mod place;
mod root;
pub(super) mod values;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::Node;

pub use model::Configuration;
pub(super) use root::DEFAULT_KEYS;

/// Whether the tree is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Completeness {
    /// It is.
    #[default]
    Whole,
    /// An include is not in it: a stage or a job that is not in the tree may be there.
    Part,
}

/// The configuration that a merged tree says; `None` where the tree is no configuration at all.
///
/// With errors among the findings the configuration holds what could be understood.
pub fn check(root: &Node, diagnostics: &mut Diagnostics) -> Option<Configuration> {
    check_as(root, Completeness::Whole, diagnostics)
}

/// [`check`] of a tree that may be a part.
pub fn check_as(root: &Node, completeness: Completeness, diagnostics: &mut Diagnostics) -> Option<Configuration> {
    let Some(mapping) = root.as_mapping() else {
        let message = "the configuration should be a mapping of keywords and jobs";
        diagnostics.push(Diagnostic::error(codes::WRONG_TYPE, root.span, message));
        return None;
    };
    let before = diagnostics.iter().filter(|finding| finding.code == codes::NO_SCRIPT).count();
    use super::compose::codes::{EXTENDS, EXTENDS_CYCLE, EXTENDS_DEPTH, EXTENDS_UNKNOWN};
    let of_bases = [EXTENDS, EXTENDS_CYCLE, EXTENDS_DEPTH, EXTENDS_UNKNOWN];
    let bases_wrong = diagnostics.iter().any(|finding| of_bases.contains(&finding.code));
    let mut checker = values::Checker::new(diagnostics, completeness, bases_wrong);
    let configuration = checker.root(root, mapping);
    cross::check(&configuration, completeness == Completeness::Part, &mut checker);
    let unmade = diagnostics.iter().filter(|finding| finding.code == codes::NO_SCRIPT).count() > before;
    if configuration.jobs.is_empty() && !unmade && completeness == Completeness::Whole {
        let message = "the configuration has no job: it should contain at least one that is not hidden";
        let help = "a name that begins with a dot makes a job hidden";
        diagnostics.push(Diagnostic::error(codes::NO_JOB, root.span, message).help(help));
    }
    Some(configuration)
}

#[cfg(test)]
mod tests;
