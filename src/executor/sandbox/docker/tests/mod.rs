//! Against the real engine.

mod fixtures;

pub(super) use fixtures::a_job;
