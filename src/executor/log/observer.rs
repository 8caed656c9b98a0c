//! What happens in a job, told as it happens: whole lines with the stream they are of, and steps as they begin and end.
//!
//! For whoever shows a job beside its log: `forgehand exec`, a live page. The log's own bytes do not change by it.

use std::collections::HashSet;
use std::sync::Arc;

use super::filter::Chain;

/// A longer line is told in pieces of so many bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Whose words a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineStream {
    /// Standard output of the job's processes.
    Stdout,
    /// Their standard error.
    Stderr,
    /// Everything else: commands that are shown before they run, headers, titles of groups, what services, git and the
    /// runner itself say.
    Command,
}

impl LineStream {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            LineStream::Stdout => "stdout",
            LineStream::Stderr => "stderr",
            LineStream::Command => "command",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Well.
    Success,
    /// Badly, whether the job goes on or not.
    Failed,
    /// Ended because the job, or the step, was not wanted any more.
    Cancelled,
    /// It never began.
    Skipped,
}

impl StepStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Success => "success",
            StepStatus::Failed => "failed",
            StepStatus::Cancelled => "cancelled",
            StepStatus::Skipped => "skipped",
        }
    }
}

/// A step of a job as it is told of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepName {
    /// Its place in the job, from 0; tells steps of one name apart.
    pub number: u32,
    /// The name the forge shows.
    pub name: Arc<str>,
}

/// Something happened in a job. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent<'a> {
    /// A step begins.
    StepStarted {
        /// Which.
        step: &'a StepName,
        /// When.
        at_us: u64,
    },
    /// A whole line, masked, valid UTF-8, without its newline.
    Line {
        /// The step at work; `None` before the first, between them and behind the last.
        step: Option<&'a StepName>,
        /// Whose words.
        stream: LineStream,
        /// The line. What the runner itself says is without colours.
        text: &'a str,
        /// When it was written.
        at_us: u64,
    },
    /// A step ended; one that was skipped never began.
    StepFinished {
        /// Which.
        step: &'a StepName,
        /// How.
        status: StepStatus,
        /// The exit code, where a process ended with one.
        exit_code: Option<i32>,
        /// Why it was skipped or failed, where that is known in words.
        reason: Option<&'a str>,
        /// When.
        at_us: u64,
    },
}

/// Hears what happens in a job, in order, from whichever thread it happens on. It must not wait and must not use the job's
/// log: the log waits for it.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn hear(&self, event: JobEvent<'_>);
}

impl<F: Fn(JobEvent<'_>) + Send + Sync> Observer for F {
    fn hear(&self, event: JobEvent<'_>) {
        self(event);
    }
}

/// What the log's streams are where nothing says otherwise, in their order.
const FALLBACK: [LineStream; 4] = [LineStream::Command, LineStream::Stdout, LineStream::Stderr, LineStream::Command];

/// What a log keeps for its observer.
pub(super) struct Ears {
    observer: Arc<dyn Observer>,
    /// The open lines of the log's four streams.
    lines: [OpenLine; 4],
    /// The step at work, where there is one at a time.
    step: Option<StepName>,
    /// Lines, masked, by which the step's script shows its commands, in loops more than once: they are no output of the job's
    /// processes.
    echoes: HashSet<Vec<u8>>,
}

/// A line whose end has not come.
#[derive(Default)]
pub(super) struct OpenLine {
    bytes: Vec<u8>,
    stream: Option<LineStream>,
}

impl OpenLine {
    /// Adds `bytes` of `stream`; each line that is complete is handed to `tell`.
    fn add(&mut self, stream: LineStream, bytes: &[u8], mut tell: impl FnMut(LineStream, &[u8])) {
        if self.stream.is_some_and(|open| open != stream) {
            self.close(&mut tell);
        }
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.bytes.is_empty() {
                tell(stream, &rest[..end]);
            } else {
                self.bytes.extend_from_slice(&rest[..end]);
                tell(stream, &self.bytes);
                self.bytes.clear();
            }
            self.stream = None;
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.bytes.extend_from_slice(rest);
            self.stream = Some(stream);
            if self.bytes.len() > LONGEST_LINE {
                self.close(&mut tell);
            }
        }
    }

    fn close(&mut self, tell: &mut impl FnMut(LineStream, &[u8])) {
        if let Some(stream) = self.stream.take() {
            tell(stream, &self.bytes);
            self.bytes.clear();
        }
    }
}

impl Ears {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, lines: Default::default(), step: None, echoes: HashSet::new() }
    }

    /// What came out of the log's stream `index`.
    pub(super) fn hear(&mut self, index: usize, stream: LineStream, at_us: u64, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let (observer, step, echoes) = (&self.observer, self.step.as_ref(), &self.echoes);
        line.add(stream, bytes, |stream, line| tell(observer.as_ref(), step, echoes, stream, at_us, line));
    }

    /// What was held back in the log's stream `index`, and the end of the line that is open in it.
    pub(super) fn hear_rest(&mut self, index: usize, at_us: u64, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let (observer, step, echoes) = (&self.observer, self.step.as_ref(), &self.echoes);
        let stream = line.stream.unwrap_or(FALLBACK[index]);
        let mut tell = |stream, line: &[u8]| tell(observer.as_ref(), step, echoes, stream, at_us, line);
        line.add(stream, bytes, &mut tell);
        line.close(&mut tell);
    }

    /// What came out of the stream of a step that runs beside others; `line` is that stream's.
    pub(super) fn hear_step(&self, line: &mut OpenLine, step: &StepName, stream: LineStream, at_us: u64, bytes: &[u8]) {
        let none = HashSet::new();
        line.add(stream, bytes, |stream, line| tell(self.observer.as_ref(), Some(step), &none, stream, at_us, line));
    }

    /// Nothing more comes in `line` of `step`.
    pub(super) fn close_line(&self, line: &mut OpenLine, step: &StepName, at_us: u64) {
        let none = HashSet::new();
        line.close(&mut |stream, line: &[u8]| {
            tell(self.observer.as_ref(), Some(step), &none, stream, at_us, line);
        });
    }

    /// Commands run that are no step; their script shows them by the lines `echoes`.
    pub(super) fn begin_aside(&mut self, echoes: HashSet<Vec<u8>>) {
        self.echoes = echoes;
    }

    /// A step begins that runs alone; its script shows its commands by the lines `echoes`.
    pub(super) fn begin_step(&mut self, step: StepName, echoes: HashSet<Vec<u8>>, at_us: u64) {
        self.observer.hear(JobEvent::StepStarted { step: &step, at_us });
        self.step = Some(step);
        self.echoes = echoes;
    }

    /// The step that runs alone has ended.
    pub(super) fn end_step(&mut self, status: StepStatus, exit_code: Option<i32>, at_us: u64) {
        if let Some(step) = self.step.take() {
            self.observer.hear(JobEvent::StepFinished { step: &step, status, exit_code, reason: None, at_us });
        }
        self.echoes.clear();
    }

    /// Tells something as it is.
    pub(super) fn tell(&self, event: JobEvent<'_>) {
        self.observer.hear(event);
    }
}

fn tell(
    observer: &dyn Observer,
    step: Option<&StepName>,
    echoes: &HashSet<Vec<u8>>,
    mut stream: LineStream,
    at_us: u64,
    line: &[u8],
) {
    if stream == LineStream::Stdout && (echoes.contains(line) || is_section_marker(line)) {
        stream = LineStream::Command;
    }
    let text = String::from_utf8_lossy(line);
    let event = |text| JobEvent::Line { step, stream, text, at_us };
    match stream {
        LineStream::Stdout | LineStream::Stderr => observer.hear(event(&text)),
        LineStream::Command => observer.hear(event(&plain(&text))),
    }
}

/// Whether a line opens or closes a section of the log, the title behind the marker being all that is shown of it.
///
/// Source: GitLab's documentation of custom collapsible sections: `\e[0Ksection_start:TIME:NAME\r\e[0KTITLE`.
fn is_section_marker(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\x1b[0K").unwrap_or(line);
    let rest = line.strip_prefix(b"section_start:").or_else(|| line.strip_prefix(b"section_end:"));
    rest.is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

/// `line`, one of the runner's own, without section markers and colours.
fn plain(line: &str) -> String {
    // A marker ends by going back to the line's beginning; what stands before that is not for people.
    let line = line.rsplit_once("\r\x1b[0K").map_or(line, |(_, shown)| shown);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        out.push_str(before);
        rest = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | '?'));
        rest = rest.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest);
    }
    out.push_str(rest);
    out
}

/// What `lines`, each with its newline or without, look like when they have passed the masks of `chain`.
pub(super) fn masked<'a>(mut chain: Chain, lines: impl Iterator<Item = &'a str>) -> HashSet<Vec<u8>> {
    let mut mask = |line: &str| {
        let mut out = Vec::new();
        chain.write(0, line.as_bytes(), &mut out);
        chain.write(0, b"\n", &mut out);
        chain.flush(0, &mut out);
        out.truncate(out.len().saturating_sub(1));
        out
    };
    lines.map(|line| mask(line.trim_end_matches('\n'))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{JobLog, LogStream, StageLog, StepVoice, Tone};
    use super::*;
    use crate::pipeline::Secret;
    use crate::pipeline::definition::{LogSpec, MaskWord};

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Observer for Heard {
        fn hear(&self, event: JobEvent<'_>) {
            self.0.lock().unwrap().push(match event {
                JobEvent::StepStarted { step, .. } => format!("+{}", step.name),
                JobEvent::Line { step, stream, text, .. } => {
                    format!("{}:{}:{text}", step.map_or("", |step| &*step.name), stream.as_str())
                }
                JobEvent::StepFinished { step, status, exit_code, .. } => {
                    format!("-{} {} {exit_code:?}", step.name, status.as_str())
                }
            });
        }
    }

    fn step(number: u32, name: &str) -> StepName {
        StepName { number, name: name.into() }
    }

    fn log(dir: &std::path::Path, spec: LogSpec) -> (JobLog, Arc<Heard>) {
        let log = JobLog::open(&dir.join("log"), &spec, 0).unwrap();
        let heard = Arc::new(Heard::default());
        log.observe(heard.clone());
        (log, heard)
    }

    #[test]
    fn commands_in_a_loop_and_section_titles_are_no_output() {
        let dir = tempfile::tempdir().unwrap();
        let (log, heard) = log(dir.path(), LogSpec::plain(1 << 20));
        let echo = "\x1b[32;1m$ echo $i\x1b[0;m";
        log.begin_step(step(0, "script"), &[echo.into()]);
        for number in ["1", "2"] {
            log.write(LogStream::Stdout, 0, format!("{echo}\n{number}\n").as_bytes());
        }
        log.write(LogStream::Stdout, 0, b"\x1b[0Ksection_start:100:mine\r\x1b[0KMy title\nsection_starting\n");
        log.close();
        let want = ["command:$ echo $i", "stdout:1", "command:$ echo $i", "stdout:2", "command:My title"];
        let want = want.into_iter().chain(["stdout:section_starting"]).map(|line| format!("script:{line}"));
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard.iter().skip(1).cloned().collect::<Vec<_>>(), want.collect::<Vec<_>>());
    }

    #[test]
    fn lines_are_whole_masked_and_of_the_stream_that_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let spec = LogSpec { mask: vec![Secret::new("hunter2-hunter2")], timestamps: true, ..LogSpec::plain(1 << 20) };
        let (log, heard) = log(dir.path(), spec);
        log.begin_section("x", "Executing");
        log.begin_step(step(0, "script"), &["\x1b[32;1m$ echo hunter2-hunter2\x1b[0;m".into()]);
        log.write(LogStream::Stdout, 0, b"\x1b[32;1m$ echo hunter2-hunter2\x1b[0;m\nhunter2-");
        log.write(LogStream::Stderr, 0, b"oops\n");
        log.write(LogStream::Stdout, 0, b"hunter2 \x1b[1mbold\x1b[0m\n\xff last");
        log.output(b"\nfrom git\n");
        log.say(Tone::Warning, "careful");
        log.end_step(StepStatus::Failed, Some(7));
        log.say(Tone::Plain, "done");
        log.close();
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                ":command:Executing",
                "+script",
                "script:command:$ echo [MASKED]",
                "script:stderr:oops",
                "script:stdout:[MASKED] \u{1b}[1mbold\u{1b}[0m",
                "script:stdout:\u{fffd} last",
                "script:command:",
                "script:command:from git",
                "script:command:WARNING: careful",
                "-script failed Some(7)",
                ":command:done",
            ]
        );
    }

    #[test]
    fn an_observer_hears_what_the_log_has_no_room_for_and_changes_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (log, heard) = log(dir.path(), LogSpec::plain(6));
        log.write(LogStream::Stdout, 0, b"one\ntwo\nthree\n");
        log.write(LogStream::Stdout, 0, b"four\n");
        log.say_last("over");
        log.close();
        let said = heard.0.lock().unwrap().clone();
        assert_eq!(said, [":stdout:one", ":stdout:two", ":stdout:three", ":stdout:four", ":command:ERROR: over"]);
        let text = String::from_utf8(log.read_at(0, 1 << 20).unwrap()).unwrap();
        assert!(text.starts_with("one\ntw\n\u{1b}[33;1mJob's log exceeded"), "{text:?}");
        assert!(!text.contains("four"));
    }

    #[test]
    fn steps_that_run_at_once_keep_their_lines_and_hide_what_becomes_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (log, heard) = log(dir.path(), LogSpec { mask_word: MaskWord::Stars, ..LogSpec::plain(1 << 20) });
        let (mut a, mut b) = (StepVoice::begin(&log, step(0, "a")), StepVoice::begin(&log, step(1, "b")));
        a.write(LineStream::Stdout, 0, b"late-secret\n");
        log.hide(&[Secret::new("late-secret")]).unwrap();
        b.write(LineStream::Stderr, 0, b"b says late-secret\n");
        a.write(LineStream::Stdout, 0, b"a says late-secret");
        a.end(StepStatus::Success, Some(0), None);
        b.end(StepStatus::Cancelled, None, None);
        log.skip_step(&step(2, "c"), Some("b failed"));
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                "+a",
                "+b",
                "a:stdout:late-secret",
                "b:stderr:b says ***",
                "a:stdout:a says ***",
                "-a success Some(0)",
                "-b cancelled None",
                "-c skipped None",
            ]
        );
    }
}
