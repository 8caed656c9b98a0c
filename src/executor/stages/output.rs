//! The output of the job's commands: from their spool into the log, and off the disk again.
//!
//! A job may print for ever. What is in the log, or behind the log's limit, is given back to the disk while the step runs
//! on. The journal learns first from where a later agent has to read, so that one which is killed loses nothing.

use crate::executor::log::{LogStream, StageLog, Tone};
use crate::executor::progress::{Progress, StepProgress};
use crate::executor::running::Running;
use crate::executor::sandbox::shim::{SpoolEvent, SpoolReader, StepExit, StepId, Stream};
use crate::forge::Reporter;
use crate::pipeline::JobFailure;
use crate::state::JournalError;

/// So much output stands on the disk before it is given back: each time costs a line in the journal.
const STRIDE: u64 = 32 << 20;

/// After so much more it is tried again where the journal could not be written.
const AGAIN: u64 = 1 << 20;

/// The output of one step, or of commands run aside.
pub(super) struct Output {
    spool: SpoolReader,
    /// The step, as the journal knows it. None for commands that a later agent would run again.
    step: Option<StepProgress>,
    /// Where giving back is thought of next.
    due: u64,
    /// The log takes no more.
    is_cut: bool,
    /// The journal knows that, from some point before this one: a later agent needs nothing of the output.
    is_past_limit: bool,
}

impl Output {
    /// Opens the output of `id`, a step that was journalled as `step`: from where its log is final.
    pub(super) fn open<R: Reporter>(
        running: &Running<R>,
        id: &StepId,
        step: Option<&StepProgress>,
    ) -> Result<Self, JobFailure> {
        let from = step.map_or(0, |step| step.spool_offset);
        let is_past_limit = step.is_some_and(|step| step.is_past_limit);
        let open = if is_past_limit { SpoolReader::resume_behind_hole } else { SpoolReader::resume };
        let spool = open(&running.run.paths.run, id, from)
            .map_err(|error| JobFailure::system(format!("the step's output cannot be read: {error}")))?;
        Ok(Self { spool, step: step.cloned(), due: from + STRIDE, is_cut: is_past_limit, is_past_limit })
    }

    /// Reads it to its end into the log. May be dropped and called again.
    pub(super) async fn drain<R: Reporter>(&mut self, running: &Running<R>) -> Result<StepExit, JobFailure> {
        let log = &running.run.log;
        loop {
            match self.spool.next().await {
                // What a cut log has not taken it does not take after a restart with a higher limit either.
                Ok(SpoolEvent::Frame { .. }) if self.is_past_limit => {}
                Ok(SpoolEvent::Frame { time_us, stream, bytes }) => {
                    let stream = match stream {
                        Stream::Stdout => LogStream::Stdout,
                        Stream::Stderr => LogStream::Stderr,
                    };
                    log.write(stream, time_us, &bytes);
                }
                Ok(SpoolEvent::Lost { bytes, .. }) => log.say(
                    Tone::Warning,
                    &format!("{bytes} bytes of output are missing here: the runner's disk was full"),
                ),
                Ok(SpoolEvent::Ended(exit)) => {
                    running.checkpoint()?;
                    return Ok(exit);
                }
                Err(error) => {
                    return Err(JobFailure::system(format!("the step's output cannot be read any more: {error}")));
                }
            }
            if !self.is_cut && log.is_cut() {
                (self.is_cut, self.due) = (true, 0);
            }
            if self.spool.offset() >= self.due {
                self.give_back(running).await;
            }
        }
    }

    /// Gives back what was read, unless the log holds a part of it back at this point. Where it cannot be, it stays, as it
    /// does without an agent: nothing is lost by that but room.
    async fn give_back<R: Reporter>(&mut self, running: &Running<R>) {
        let spool_offset = self.spool.offset();
        // When the disk is full the journal may have no room: behind the log's limit it is needed once only.
        if !self.is_past_limit {
            let Some(log_offset) = running.run.log.resting_place() else { return };
            self.due = spool_offset + AGAIN;
            if let Err(error) = self.note(running, log_offset).await {
                tracing::warn!(%error, "the journal cannot be written; a step's output stays on the disk meanwhile");
                return;
            }
            self.is_past_limit = self.is_cut;
        }
        self.due = spool_offset + STRIDE;
        if !self.spool.forget(spool_offset).await {
            tracing::debug!("the output of the step cannot be given back to the disk; it stays until the job's end");
        }
    }

    /// Journals that a later agent has to read from here.
    async fn note<R: Reporter>(&self, running: &Running<R>, log_offset: u64) -> Result<(), JournalError> {
        let Some(step) = &self.step else { return Ok(()) };
        let (spool_offset, is_past_limit) = (self.spool.offset(), self.is_cut);
        let step = StepProgress { log_offset, spool_offset, is_past_limit, ..step.clone() };
        let progress = Progress { step: Some(step), ..running.run.progress.clone() };
        running.run.journal.set_progress(&progress).await
    }
}
