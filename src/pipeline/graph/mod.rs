//! The dependency graph of a pipeline.
