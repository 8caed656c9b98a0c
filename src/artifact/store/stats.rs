//! How much a store keeps.
