//! What a run of a workflow does, decided step by step: pure, asked by the scheduler and by whoever runs steps.
//!
//! Two machines, one for each who asks:
//!
//! - [`Playbook`]: the jobs of one run. The scheduler calls [`Playbook::start`] once, [`Playbook::ended`] for each leg that has
//!   ended, and does the [`Move`]s that come back: start this leg, this one never runs, cancel that one. A *leg* is what the
//!   forge shows as a job: a job of the file, one combination of its matrix, a job of a called workflow.
//! - [`Program`]: the steps of one leg. Whoever runs steps calls [`Program::next`] and does what it says, calls
//!   [`Program::ended`] for each step that has ended, until [`Next::End`] brings the leg's result for [`Playbook::ended`].
//!   Nothing of a step is evaluated before it is its turn.
//!
//! While a step runs, each whole line of its output goes through a [`Reader`](super::commands::Reader), which tells what to show,
//! what to hide from now on, and keeps what the step set for [`StepEnded`].
//!
//! ```text
//! Playbook::new(workflow, called workflows, RunFacts) -> Result<Playbook, Diagnostics>     (or github::playbook(path, files, facts))
//! Playbook::name(&self) -> &str                                  the workflow's name
//! Playbook::start(&mut self) -> Vec<Move>
//! Playbook::started(&mut self, LegId)                            not needed: Move::Start counts as started
//! Playbook::ended(&mut self, LegId, LegEnd) -> Vec<Move>
//! Playbook::cancel(&mut self, reason: &str) -> Vec<Move>         the run is not wanted any more
//! Playbook::is_over(&self) -> bool, Playbook::conclusion(&self) -> Conclusion
//! Playbook::leg(&self, LegId) -> Option<&Leg>
//! Playbook::program(&self, LegId, Place) -> Option<Program>      Program is owned and Send: it can live in the job's task
//!
//! Program::masks(&self) -> Vec<Secret>                           to hide before the first line
//! Program::event_json(&self) -> String                           the content of Place::event_path
//! Program::step_names(&self) -> Vec<String>                      as far as they are known before
//! Program::next(&mut self, &dyn FileHasher) -> Next
//! Program::reader(&self, StepId) -> Reader
//! Program::ended(&mut self, StepId, StepEnded) -> StepReport
//! Program::cancel(&mut self, &dyn FileHasher) -> Vec<StepId>     the job is cancelled; the running steps to end (always() ones go on).
//!                                                                Ask `next` as ever after that: steps that ask for it still run
//! Program::fail(&mut self, why)                                  something of ours failed the job (a service did not start): later
//!                                                                steps see failure()
//! ```
//!
//! The words are GitHub's: an *outcome* is what became of a step, its *conclusion* the same after `continue-on-error`.

pub mod checkout;
mod concurrency;
mod expand;
mod fault;
mod leg;
mod plan;
mod playbook;
mod program;
pub mod shell;
mod step;

pub use expand::expand;
pub use fault::{Certainty, Fault, Trouble};
pub(in crate::parser::github) use leg::DEFAULT_TIMEOUT;
pub use leg::{
    Concurrency, ContainerSpec, Credentials, EnvironmentSpec, Leg, LegEnd, LegId, Move, NeverRan, Queue, RunsOn,
};
pub use plan::{Planned, begin, plan};
pub use playbook::{Naming, Playbook};
pub use program::Program;
pub use step::{
    ActionReference, Checkout, CheckoutSubmodules, CommandFilePaths, Next, Place, PlacedService, ReadyKind, ReadyStep,
    Remark, Script, ShellCommand, StepEnded, StepExit, StepId, StepReport,
};

/// How a job or a step ended, in GitHub's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conclusion {
    /// All went well.
    Success,
    /// Something failed.
    Failure,
    /// Somebody ended it.
    Cancelled,
    /// It never ran.
    Skipped,
}

impl Conclusion {
    /// The word that contexts hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Conclusion::Success => "success",
            Conclusion::Failure => "failure",
            Conclusion::Cancelled => "cancelled",
            Conclusion::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests;
