//! The model of what a pipeline is and where it stands.
//!
//! Everybody speaks these words; this room speaks to nobody. No I/O, no async, no clock, no random number:
//! what comes from outside is handed in. `forge` and `parser` produce these types, `executor`, `artifact` and
//! `deployment` consume them.
//!
//! - [`definition`]: what should happen, job by job and step by step.
//! - [`graph`]: which job waits for which, and what that means for order and time.
//! - [`status`]: where a job stands, with the one function that moves it.
//! - [`outcome`]: how a job ended and why, in the vocabulary that every forge's report is made from.
//! - [`owner`]: on whose behalf a job runs; everything shared between jobs asks it.
//! - [`variable`]: the variables of a job and how their values refer to each other.
//! - [`schedule`]: which job of a pipeline starts when, and what becomes of those that do not.
//! - [`event`]: something happened.
//! - [`duration`]: durations for people.
//! - [`id`], [`secret`]: names and values that must not be mixed up or printed.

pub mod definition;
pub mod duration;
pub mod event;
pub mod exit_code;
pub mod graph;
pub mod id;
pub mod outcome;
pub mod owner;
pub mod schedule;
pub mod secret;
pub mod status;
pub mod variable;

pub use definition::{
    JobGroup, MayFail, PipelineDefinition, PipelineJob, PipelineStep, PlannedJob, ResourceRequest, RetryRule,
    StartCondition, StepKind, Waits,
};
pub use event::FlowEvent;
pub use id::{ForgeInstance, JobId, JobKey, ProjectId};
pub use outcome::{FailureCategory, FailureReason, JobFailure, JobOutcome};
pub use owner::{Owner, Trust};
pub use secret::Secret;
pub use status::{InvalidTransition, JobChange, JobStatus};
pub use variable::{Variable, Variables};
