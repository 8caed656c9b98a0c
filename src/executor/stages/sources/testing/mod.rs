//! What the tests of this stage share: a log that can be read, assignments, repositories, a forge's git server.

pub(in super::super) mod git_server;
pub(in super::super) mod house;
pub(in super::super) mod log;
pub(in super::super) mod spec;
