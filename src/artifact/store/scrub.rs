//! When everything in the store was read last.

use std::time::Duration;

use super::error::StoreError;
use super::opened::Store;

/// The fact of the index: seconds since 1970.
const FACT: &str = "scrubbed";

impl Store {
    /// Whether everything was last read longer ago than `every`, or never as far as anybody knows.
    pub fn is_scrub_due(&self, every: Duration) -> Result<bool, StoreError> {
        if self.index()?.is_in_memory() {
            // It knows nothing of the last time.
            return Ok(false);
        }
        let last = self.index()?.fact(FACT)?.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        Ok(last.is_none_or(|last| self.now().duration_since(last).unsigned_abs() >= every))
    }

    /// Has everything be read soon.
    pub(super) fn want_scrub(&self) -> Result<(), StoreError> {
        self.index()?.set_fact(FACT, 0)
    }

    /// Notes that everything was read.
    pub(super) fn note_scrub(&self) -> Result<(), StoreError> {
        self.index()?.set_fact(FACT, self.now().as_second())
    }
}
