//! The long-running process: it asks forges for jobs and sees each to its acknowledged end.
//!
//! - [`main_loop`]: [`Agent`], the one loop: wait for an event, handle it, look whether all is done.
//! - [`poll`]: one task a registration and request slot, which asks the forge; [`backoff`]: when it asks again;
//!   [`pulse`]: what the loops of one registration tell each other.
//! - [`capacity`]: how many jobs run at once, who may ask, who starts next.
//! - [`seat`]: one task a job: waits for a slot with signs of life to the forge, then hands over to the [`JobRunner`].
//! - [`recovery`]: what is owed against what is there: how a restart goes on. [`sweep`]: what the agent asks of
//!   sandboxes; [`housekeeper`]: how that is done.
//! - [`registration`]: what the agent serves, and where it comes from; [`rotation`]: tokens renewed before they expire.
//! - [`signals`]: what the process is told. [`control`]: commands over a socket.
//! - `events`: what happens to jobs; [`board`]: what each part does now; [`watchdog`]: systemd hears from us only while every part moves.
//! - [`protection`]: the agent goes on while jobs burn the machine down. [`memory`]: it is small while it waits.
//!
//! **Two registrations never hold each other up.** Slot first, question second: nobody asks while there is no room. But
//! a question that a forge holds open (long poll) takes no slot away from the others: for the first moments, in which
//! a forge that has a job answers, a question reserves a slot; after that any other registration may ask, too. When the
//! last slot is taken, the questions that are still open are withdrawn. An answer that comes nevertheless is a job that
//! is ours: it waits, first come first served, and its forge gets signs of life. So there are never more jobs waiting
//! than questions were open at once. Between registrations, the one whose last job is longest ago asks first.

pub mod backoff;
pub mod board;
pub mod capacity;
pub mod claims;
pub mod control;
pub mod docker_settings;
pub mod engines;
mod events;
pub mod housekeeper;
pub mod job;
pub mod main_loop;
pub mod memory;
pub mod numbers;
pub mod poll;
pub mod protection;
pub mod pulse;
pub mod recovery;
pub mod registrar;
pub mod registration;
pub mod rotation;
pub mod seat;
pub mod sharing;
pub mod signals;
pub mod slot;
pub mod storage;
pub mod storekeeper;
pub mod sweep;
pub mod watchdog;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub use job::{JobRunner, JobStart, JobWork, SlotEnded};
pub use main_loop::stopping::Stopping;
pub use main_loop::{Agent, AgentParts, RunOptions};
pub use recovery::{Found, Repair, ShimState};
pub use registration::{Plan, PlanError, Registrar, Registration};
pub use sweep::Sweeper;
