//! The harness: the built binary, an embedded forge over real HTTP, real containers.
//!
//! A test says what it wants in the words of this module and never sleeps: [`wait_until`] is the only waiting.

#![allow(dead_code, reason = "each test file uses its own part of the harness")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

pub mod agent;
pub mod docker;
pub mod forge;
pub mod log;
pub mod proxied;
pub mod pty;
pub mod s3;
pub mod storage;

use std::time::{Duration, Instant};

pub use agent::{Agent, AgentOptions};
pub use forge::TestForge;
pub use log::JobLog;

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something; panics with `what` after `limit`. [`Agent::wait_until`] shows the agent's own
/// log as well.
pub fn wait_until<T>(limit: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    try_until(limit, condition).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Waits until `condition` gives something; `None` after `limit`.
pub fn try_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
