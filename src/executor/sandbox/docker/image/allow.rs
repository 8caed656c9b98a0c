//! The operator's patterns for images: `*` within a part, `**` across parts.

use globset::GlobBuilder;

/// Whether `text` matches one of `patterns`. A pattern that is no pattern matches only itself.
pub(crate) fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

/// Whether `text` matches `pattern`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match GlobBuilder::new(pattern).literal_separator(true).build() {
        Ok(glob) => glob.compile_matcher().is_match(text),
        Err(_) => pattern == text,
    }
}

/// Whether an image may be used: the list is empty, a pattern matches, or it is what the operator configured.
pub(crate) fn is_allowed(patterns: &[String], configured: Option<&str>, image: &str) -> bool {
    patterns.is_empty() || configured == Some(image) || matches_any(patterns, image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_its_part() {
        assert!(matches("alpine:*", "alpine:3.20"));
        assert!(matches("r.example.com/*/x:*", "r.example.com/g/x:1"));
        assert!(!matches("r.example.com/*", "r.example.com/g/x:1"));
        assert!(matches("r.example.com/**", "r.example.com/g/x:1"));
        assert!(matches("r/**/*", "r/a/b/c:1"));
    }

    #[test]
    fn the_configured_image_is_always_allowed() {
        let patterns = vec!["debian:*".to_owned()];
        assert!(is_allowed(&patterns, Some("alpine:3"), "alpine:3"));
        assert!(!is_allowed(&patterns, Some("alpine:3"), "alpine:4"));
        assert!(is_allowed(&[], None, "anything"));
    }
}
