//! Steps that are decided just before they run.
//!
//! What a step of a GitHub workflow or of a native pipeline does may depend on what the steps before it said. So whoever runs
//! the job does not have a list of steps but a [`StepProgram`], which is asked for the next one and told how each ended.
//! The program knows its language and does nothing; this module does things and knows no language.
//!
//! ```text
//! begin(place)                     once: secrets to hide, files to lay into the job's temporary folder
//! next(work tree) -> Next          Start: run it; a background step runs on while the next is asked for
//!                                  Over: it will not run.  Wait, Cancel: background steps.  End: all done
//! line(step, stream, text)         each whole line of a step's output, before it is masked and shown
//! ended(step, how) -> StepReport   its exit, what stands in its command files
//! cancel(cause) -> steps to end    the job must not go on; `next` is asked on, for steps that run even then
//! ```
//!
//! A program is asked by one task at a time. It owns all it needs, so that its state can be written down and read again
//! by whoever makes it: nothing of it lives in the executor.

mod beside;
mod files;
mod lines;
mod listener;
mod one;
mod run;
mod step;

pub(in crate::executor) use run::main;

pub use step::{
    Beginning, Checkout, Heard, JobPlace, Next, ReadyStep, Remark, Script, StepEnd, StepEnded, StepImage, StepNumber,
    StepReport, Work, WorkTree,
};

use std::sync::{Arc, Mutex};

use super::halt::HaltCause;
use super::log::LineStream;

/// A program and whoever else wants to look at it: who made it keeps a handle to learn what came of it.
pub type SharedProgram = Arc<Mutex<dyn StepProgram>>;

/// The steps of one job, decided one after the other. See the [module](self).
pub trait StepProgram: Send {
    /// The job has its place; nothing has run yet.
    fn begin(&mut self, place: &JobPlace) -> Beginning;

    /// What to do now. May read files of the work tree (`hashFiles`): it is called where waiting for the disk is allowed.
    fn next(&mut self, tree: &WorkTree) -> Next;

    /// Hears one whole line of a running step's output, without its newline. Must not wait.
    fn line(&mut self, step: StepNumber, stream: LineStream, line: &str) -> Heard;

    /// The file that [`Heard::read`] asked for, or why it cannot be read.
    fn file(&mut self, step: StepNumber, path: &str, content: Result<String, String>) -> Heard {
        let _ = (step, path, content);
        Heard::default()
    }

    /// A step that was started has ended.
    fn ended(&mut self, step: StepNumber, ended: StepEnded) -> StepReport;

    /// The job must not go on for `cause`; which of the running steps are to end. [`StepProgram::next`] is asked on: steps
    /// that run whatever happened still do.
    fn cancel(&mut self, cause: HaltCause, tree: &WorkTree) -> Vec<StepNumber>;
}
