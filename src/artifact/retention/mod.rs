//! What stays in the store, what goes, and when. Knows no disk and no database: facts in, decisions out.
//!
//! - [`policy`]: what the operator wrote; [`candidate`]: what is known of an entry; [`pressure`]: how full the store
//!   is, and whether something new may be taken; [`clock`]: what time it is, and whether that can be believed.
//! - [`cycle`]: [`Cycle::plan`] decides on everything at once; [`plan`]: what to do, and when to come again;
//!   [`verdict`]: the decisions, each with its reason; [`judged`]: the last look before a deletion.
//! - `rules`: the order of the rules; `matrix`: what holds where no policy speaks, and what its gaps mean; `together`:
//!   bounds by count and total size.
//! - [`audit`]: what is recorded of it.
//!
//! # The order
//!
//! 1. What a queued or running job refers to, what is pinned (or was made with `expire_in: never`), what is being
//!    restored: stays.
//! 2. Within 24 h of its last use, or as many hours as its policy says: stays. No pressure shortens that.
//! 3. `expire_in` of its job: until then it stays, from then on it goes, however young.
//! 4. The enabled policy of the highest priority whose pattern finds its name: beyond one of its bounds it goes, else
//!    it stays.
//! 5. The matrix.
//!
//! # Under pressure
//!
//! The level is that of the fullest of disk, store quota and the quota of the entry's owner. Exactly 80 % is yellow.
//!
//! | from | |
//! | --- | --- |
//! | 80 % | the periods of policies and of the matrix are 25 % shorter; the first 7 days and grace are not |
//! | 90 % | 50 % shorter; then what only the matrix speaks for and is older than 7 days, largest first |
//! | 95 % | then everything that 1 and 2 do not protect: what the matrix kept, then what a policy kept, then what `expire_in` kept |
//! | 98 % | nothing new is taken |
//!
//! What goes at any pressure goes first, longest unused first, then step by step what the levels add. An entry that
//! only a level has go stays as soon as enough was deleted before it to be below that level. Within a level what jobs
//! from forks left goes first (a flood of theirs must not cost the project's own), then the longest unused; at "largest
//! first" the largest. A cycle ends at [`Cycle::max_deletions`]. A quota is kept by refusing
//! ([`pressure::Room::admit`]): nothing is deleted to make room for what does not fit.
//!
//! # A cycle
//!
//! ```text
//! let plan = Cycle::default().plan(&policies, &situation, candidates);
//! write plan.clock
//! for judged in &plan.deletions {
//!     under the lock: fresh = the entry now
//!         if judged.confirm(&fresh) is an error, leave it
//!         write AuditEvent::deletion(judged, &fresh, plan.now), of_damaged where a look before found it so; delete it
//! }
//! write plan.alert(done); sleep plan.next_cycle()
//! ```

pub mod audit;
pub mod candidate;
pub mod clock;
pub mod cycle;
pub mod judged;
mod lapse;
mod matrix;
pub mod plan;
pub mod policy;
pub mod pressure;
mod rules;
mod together;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use audit::{AuditEvent, Done, ReferenceCause, Withdrawal, Withdrawn};
pub use candidate::{Candidate, ContentHash, EntryId, Expiry, PipelineKey, References};
pub use clock::{ClockJump, ClockRecord};
pub use cycle::{Cycle, Situation};
pub use judged::{ClaimedSince, Judged};
pub use lapse::Lapse;
pub use plan::Plan;
pub use policy::{Policies, PolicyError, RetentionPolicy};
pub(in crate::artifact) use pressure::project_of;
pub use pressure::{Limit, Pressure, Refusal, Room, Usage};
pub use verdict::{Keep, Verdict};
