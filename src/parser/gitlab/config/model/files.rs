//! What a job keeps: artifacts and caches.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Name;
use super::run::{Timeout, When};
use crate::parser::document::Node;

/// `artifacts`.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Their name.
    pub name: Option<SmolStr>,
    /// What to take.
    pub paths: Option<Arc<[SmolStr]>>,
    /// What to leave.
    pub exclude: Option<Arc<[SmolStr]>>,
    /// Whether to take what git does not know.
    pub untracked: Option<bool>,
    /// on_success, on_failure, always.
    pub when: Option<When>,
    /// How long to keep them.
    pub expire_in: Option<Timeout>,
    /// The name in the merge request.
    pub expose_as: Option<SmolStr>,
    /// Whether everybody may have them.
    pub public: Option<bool>,
    /// all, developer, maintainer, none.
    pub access: Option<SmolStr>,
    /// Reports.
    pub reports: Vec<Report>,
    /// As written.
    pub node: Node,
}

/// One of `artifacts:reports`.
#[derive(Clone, Debug)]
pub struct Report {
    /// junit, dotenv, ...
    pub kind: Name,
    /// Its files.
    pub paths: Arc<[SmolStr]>,
    /// coverage_report: its format.
    pub format: Option<SmolStr>,
}

/// One of `cache`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Its key; `None`: `default`.
    pub key: Option<CacheKey>,
    /// What to keep.
    pub paths: Option<Arc<[SmolStr]>>,
    /// Whether to keep what git does not know.
    pub untracked: Option<bool>,
    /// pull-push, pull, push, or a variable.
    pub policy: Option<SmolStr>,
    /// on_success, on_failure, always.
    pub when: Option<When>,
    /// Keys to try where there is none of the key.
    pub fallback_keys: Option<Arc<[SmolStr]>>,
    /// Whether protected and other branches share it.
    pub unprotect: Option<bool>,
    /// As written.
    pub node: Node,
}

/// The key of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKey {
    /// A text, variables in it.
    Text(SmolStr),
    /// Made of the content of files (or of the commits that changed them last), after a prefix.
    Files {
        /// The files.
        files: Arc<[SmolStr]>,
        /// The prefix.
        prefix: Option<SmolStr>,
        /// By the commits that changed them last, not by their content.
        commits: bool,
    },
}
