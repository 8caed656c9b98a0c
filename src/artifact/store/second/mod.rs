//! A second level behind the store on this machine's disk, which several machines share: what one of them keeps, the others find.
//!
//! - `level`: what the second level has to be able to do: blobs by name. `names`: what they are called. `shared`: what it is told of
//!   something that is kept.
//! - `queue`: what it is still to be told of. `offer`: telling it: packs first, then the record that names them.
//! - `presence`: which packs it has, without a question for each.
//! - `bring`: having something here that only it has. `admit`: what of it becomes part of this store. `again`: having something again that is damaged here.
//! - `tidy`: removing what nobody needs any more, beside other machines that come and go.
//!
//! What several machines do at the same time goes well without a lock, since packs are never changed and a record is only written when all
//! its packs are there: a pack that nobody needs is first marked, and only removed when the mark is older than anything that may still
//! count on the pack ([`tidy`]).
//!
//! Nothing that comes from there is believed: packs and objects are proved by their names, records by the operator's key where there
//! is one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::opened::Store;
use super::record::ArtifactInfo;
use crate::artifact::Interrupt;

mod admit;
mod again;
mod bring;
mod level;
mod names;
mod offer;
mod presence;
mod queue;
mod shared;
mod tidy;

pub(super) use again::Again;
pub use bring::Brought;
pub use level::{Blob, BlobName, LevelError, SecondLevel};
pub use offer::{Offered, Offering};
pub use tidy::Tidied;

use presence::Presence;

/// After a failure, nobody waits for the second level again for so long.
const AWAY: Duration = Duration::from_secs(60);

/// Blobs that are on their way at the same time.
const AT_ONCE: usize = 4;

/// The second level of a store.
pub(super) struct Second {
    level: Arc<dyn SecondLevel>,
    /// How long something stays there after its last use. `None`: for ever.
    keep: Option<Duration>,
    presence: Mutex<HashMap<String, Presence>>,
    /// Since when it does not answer.
    away: Mutex<Option<Instant>>,
}

impl Second {
    /// Whether it did not answer a moment ago.
    fn is_away(&self) -> bool {
        let away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|since| since.elapsed() < AWAY)
    }

    /// Has nobody wait for it for a while.
    fn leave_alone(&self) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes how it answers.
    fn note<T>(&self, answer: Result<T, LevelError>) -> Result<T, StoreError> {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => {
                *away = None;
                Ok(answer)
            }
            Err(LevelError::Interrupted) => Err(StoreError::Interrupted),
            Err(error) => {
                if matches!(error, LevelError::Failed { .. } | LevelError::Slow { .. }) {
                    *away = Some(Instant::now());
                }
                Err(StoreError::Second(error))
            }
        }
    }
}

impl Store {
    /// The same store with a second level behind it. `keep`: how long something stays there after its last use; `None` for ever.
    pub fn join(mut self, level: Arc<dyn SecondLevel>, keep: Option<Duration>) -> Self {
        self.second = Some(Second { level, keep, presence: Mutex::new(HashMap::new()), away: Mutex::new(None) });
        self
    }

    /// What the second level is called. `None`: there is none.
    pub fn second_title(&self) -> Option<&str> {
        self.second.as_ref().map(|second| second.level.title())
    }

    /// Has the second level, where there is one, keep something no longer.
    pub(super) fn forget_in_second(&self, info: &ArtifactInfo, interrupt: &Interrupt) -> Result<(), StoreError> {
        match &self.second {
            Some(second) => second.note(second.level.remove(&names::record(info), interrupt)),
            None => Ok(()),
        }
    }

    /// How much the second level is still to be told of.
    pub fn waiting_for_second(&self) -> Result<u64, StoreError> {
        Ok(queue::list(&self.layout)?.len() as u64)
    }
}
