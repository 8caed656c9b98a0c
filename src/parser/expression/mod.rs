//! Expressions of three languages, one engine.
