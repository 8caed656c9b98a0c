//! Findings for people: the source with a caret.
