//! The output of one step on its way from the spool through its program into the log.

use std::path::PathBuf;
use std::sync::PoisonError;

use super::SharedProgram;
use super::files::Temp;
use super::lines::LineCutter;
use super::step::{Heard, StepNumber};
use crate::executor::log::{JobLog, LineStream, StepVoice, Tone};
use crate::executor::running::Running;
use crate::executor::sandbox::shim::{SpoolEvent, SpoolReader, StepExit, Stream};
use crate::pipeline::definition::JobDirs;

/// So much output stands on the disk before it is given back.
const STRIDE: u64 = 32 << 20;

/// Hears one step.
pub(super) struct Listener<'a> {
    program: &'a SharedProgram,
    number: StepNumber,
    log: &'a JobLog,
    voice: &'a mut StepVoice,
    spool: SpoolReader,
    due: u64,
    stdout: LineCutter,
    stderr: LineCutter,
    /// Lines to show that nothing stands between.
    shown: Vec<u8>,
    /// Something that must be hidden cannot be: nothing more is shown.
    is_mute: bool,
    workspace: PathBuf,
    dirs: JobDirs,
}

impl<'a> Listener<'a> {
    pub(super) fn new<R>(
        running: &'a Running<R>,
        program: &'a SharedProgram,
        number: StepNumber,
        voice: &'a mut StepVoice,
        spool: SpoolReader,
    ) -> Self {
        Self {
            program,
            number,
            log: &running.run.log,
            voice,
            spool,
            due: STRIDE,
            stdout: LineCutter::default(),
            stderr: LineCutter::default(),
            shown: Vec::new(),
            is_mute: false,
            workspace: running.run.paths.workspace.clone(),
            dirs: running.run.job.dirs.clone(),
        }
    }

    /// Reads the output to its end. May be dropped and called again.
    pub(super) async fn drain(&mut self) -> Result<StepExit, String> {
        loop {
            match self.spool.next().await {
                Ok(SpoolEvent::Frame { time_us, stream, bytes }) => self.frame(stream, time_us, &bytes),
                Ok(SpoolEvent::Lost { bytes, .. }) => self.voice.say(
                    Tone::Warning,
                    &format!("{bytes} bytes of output are missing here: the runner's disk was full"),
                ),
                Ok(SpoolEvent::Ended(exit)) => {
                    self.end();
                    return Ok(exit);
                }
                Err(error) => return Err(format!("the step's output cannot be read any more: {error}")),
            }
            let offset = self.spool.offset();
            if offset >= self.due {
                self.due = offset + STRIDE;
                if !self.spool.forget(offset).await {
                    tracing::debug!(
                        "the output of the step cannot be given back to the disk; it stays until the job's end"
                    );
                }
            }
        }
    }

    fn frame(&mut self, stream: Stream, time_us: u64, bytes: &[u8]) {
        let (mut cutter, stream) = match stream {
            Stream::Stdout => (std::mem::take(&mut self.stdout), LineStream::Stdout),
            Stream::Stderr => (std::mem::take(&mut self.stderr), LineStream::Stderr),
        };
        cutter.add(bytes, |line| self.line(stream, time_us, line));
        self.show(stream, time_us);
        match stream {
            LineStream::Stderr => self.stderr = cutter,
            LineStream::Stdout | LineStream::Command => self.stdout = cutter,
        }
    }

    fn end(&mut self) {
        let now = crate::executor::log::now_us();
        for (mut cutter, stream) in [
            (std::mem::take(&mut self.stdout), LineStream::Stdout),
            (std::mem::take(&mut self.stderr), LineStream::Stderr),
        ] {
            cutter.end(|line| self.line(stream, now, line));
            self.show(stream, now);
        }
    }

    fn line(&mut self, stream: LineStream, time_us: u64, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let mut heard = self.ask(|program, number| program.line(number, stream, &text));
        self.hide(&heard);
        if heard.show && !self.is_mute {
            self.shown.extend_from_slice(line);
            self.shown.push(b'\n');
        }
        // A file that asks for another one leads nowhere.
        for _ in 0..2 {
            if !heard.say.is_empty() {
                self.show(stream, time_us);
                heard.say.iter().for_each(|remark| self.voice.say(remark.tone, &remark.text));
            }
            let Some(path) = heard.read.take() else { return };
            let content = self.content_of(&path);
            heard = self.ask(|program, number| program.file(number, &path, content));
            self.hide(&heard);
        }
    }

    fn ask(&self, question: impl FnOnce(&mut dyn super::StepProgram, StepNumber) -> Heard) -> Heard {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        question(&mut *program, self.number)
    }

    fn hide(&mut self, heard: &Heard) {
        if !heard.hide.is_empty()
            && let Err(error) = self.log.hide(&heard.hide)
        {
            self.is_mute = true;
            self.voice
                .say(Tone::Error, &format!("What this step wants hidden cannot be; its output stops here: {error}"));
        }
    }

    fn content_of(&self, path: &str) -> Result<String, String> {
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.dirs.project),
        };
        let content = Temp::new(&self.workspace, &self.dirs).read(&path)?;
        String::from_utf8(content).map_err(|_not_text| format!("{path} is no UTF-8 text"))
    }

    fn show(&mut self, stream: LineStream, time_us: u64) {
        if !self.shown.is_empty() {
            self.voice.write(stream, time_us, &self.shown);
            self.shown.clear();
        }
    }
}
