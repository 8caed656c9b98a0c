//! Patterns of file names.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

/// A pattern of `include:local`: `*` is anything but a slash, `**` anything at all.
pub(super) fn of_include(pattern: &str) -> Option<Regex> {
    let escaped = regex::escape(pattern).replace(r"\*\*", ".*?").replace(r"\*", "[^/]*?");
    Regex::new(&format!("^{escaped}$")).ok()
}

/// Whether a path is a pattern for `rules:exists` and `rules:changes`.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '[', '{'])
}

/// A pattern of `rules:exists` and `rules:changes`, as Ruby's `File.fnmatch` reads it with its flags for path names, names
/// with a leading dot, and braces.
pub(super) fn of_rules(pattern: &str) -> Option<GlobMatcher> {
    GlobBuilder::new(pattern).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}
