//! Runs jobs: their stages in order, their steps in a sandbox, their log on its way out.
//!
//! - [`job`]: the stages of one job, first to last, and what each outcome means for the rest.
//! - [`running`]: what the stages of a running job work with. [`stages`]: one stage a file, all with the same signature.
//! - [`sandbox`]: where the job's processes live, and the shim that starts them.
//! - [`log`]: what the processes print, from the spool through the masker into the job's log and to the forge.
//! - [`on_failure`]: somebody who looks at a step that failed.
//! - [`steps`]: steps that are decided just before they run.
//! - [`evidence`]: what is written down of a job that failed.
//! - [`script`]: commands of a step to shell text.

pub mod environment;
pub mod evidence;
pub mod halt;
pub mod job;
mod listening;
pub mod log;
pub mod on_failure;
mod ordinary;
pub mod pipeline;
pub mod progress;
pub mod running;
pub mod sandbox;
pub mod script;
pub mod stage;
pub mod stages;
pub mod steps;
pub mod tools;
