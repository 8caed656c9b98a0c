//! What a run tells whoever watches: one JSON object a line, lines with the job's name before them, or a live view.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::coverage::CoveragePattern;
use super::live::board::Expected;
use super::live::text::tame;
use super::live::{Lent, Live};
use crate::executor::log::{JobEvent, LineStream};
use crate::executor::pipeline::PipelineEvent;
use crate::pipeline::JobStatus;
use crate::pipeline::duration::in_words;
use crate::pipeline::schedule::PipelineEnd;

/// How it is told, line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For programs.
    Json,
    /// For people: what jobs print as they printed it.
    Plain,
    /// For people at a terminal that cannot be drawn on: what jobs print, without what a terminal obeys.
    Tame,
}

/// A job as it ended, for the summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name.
    pub job: String,
    /// Its final status.
    pub status: JobStatus,
    /// Why, where it is not success.
    pub reason: Option<String>,
    /// How long it ran.
    pub took: Duration,
    /// The last lines that it wrote; kept of failed jobs only.
    pub output: Vec<String>,
    /// What its log tells of its coverage, in percent.
    pub coverage: Option<f64>,
}

/// Tells what happens, whole lines, as they come. A reader that is gone is no reason to stop.
pub struct Narrator {
    face: Face,
    inner: Mutex<Inner>,
}

enum Face {
    Lines { style: Style, out: Mutex<Box<dyn Write + Send>> },
    Live { live: Live, look: Look },
}

/// What a live view shows, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// All that jobs print, above what goes on.
    pub verbose: bool,
}

struct Inner {
    ended: Vec<Line>,
    tails: HashMap<String, VecDeque<String>>,
    coverage: HashMap<String, Coverage>,
}

/// What is looked for in a job's log, and what was found last.
struct Coverage {
    pattern: CoveragePattern,
    found: Option<f64>,
}

/// How many lines of a job's output are kept for reports.
const TAIL: usize = 200;
/// How many names of files that changed are shown.
const CHANGED: usize = 5;
/// How many of them are shown when it fails under a live view.
const SHOWN: usize = 20;

impl Narrator {
    /// Tells `out`.
    pub fn new(style: Style, out: Box<dyn Write + Send>) -> Self {
        Self::of(Face::Lines { style, out: Mutex::new(out) })
    }

    /// Shows it on a terminal.
    pub fn live(live: Live, look: Look) -> Self {
        Self::of(Face::Live { live, look })
    }

    fn of(face: Face) -> Self {
        Self { face, inner: Mutex::new(Inner { ended: Vec::new(), tails: HashMap::new(), coverage: HashMap::new() }) }
    }

    /// The jobs that have ended, in that order.
    pub fn ended(&self) -> Vec<Line> {
        self.lock().ended.clone()
    }

    /// The last lines of a job that runs, at most so many.
    pub fn tail(&self, job: &str, most: usize) -> Vec<String> {
        let inner = self.lock();
        let lines =
            inner.tails.get(job).map(|tail| tail.iter().skip(tail.len().saturating_sub(most)).cloned().collect());
        lines.unwrap_or_default()
    }

    /// A try of a job begins; its coverage is what `pattern` finds in its log.
    pub fn look_for_coverage(&self, job: &str, pattern: Option<CoveragePattern>) {
        if let Some(pattern) = pattern {
            self.lock().coverage.insert(job.to_owned(), Coverage { pattern, found: None });
        }
    }

    /// Says what is to come.
    pub fn expect(&self, expected: Expected) {
        if let Face::Live { live, .. } = &self.face {
            live.show(|board, _| board.expect(expected));
        }
    }

    /// Somebody has asked for the end.
    pub fn ending(&self, words: &str) {
        if let Face::Live { live, .. } = &self.face {
            live.show(|board, _| board.ending());
        }
        self.say(words);
    }

    /// Tells something of the run as a whole, beside its events.
    pub fn say(&self, words: &str) {
        match &self.face {
            Face::Live { live, .. } => live.print([words.to_owned()]),
            Face::Lines { .. } => eprintln!("{words}"),
        }
    }

    /// Files have changed, and all begins again.
    pub fn changed(&self, files: &[String]) {
        self.object(|| json!({ "event": "files_changed", "at": now(), "paths": files }));
        if !matches!(&self.face, Face::Lines { style: Style::Json, .. }) {
            let shown: Vec<String> = files.iter().take(CHANGED).map(|file| tame(file, false)).collect();
            let more = files.len().saturating_sub(CHANGED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            eprintln!("\nchanged: {}{more}", shown.join(", "));
        }
    }

    /// A line of this program's own log.
    pub fn log(&self, line: &str) {
        match &self.face {
            Face::Live { live, look } => live.print(line.lines().map(|line| tame(line, look.color))),
            Face::Lines { .. } => eprint!("{line}"),
        }
    }

    /// Takes a live view off the terminal until what comes back is dropped.
    pub fn lend_terminal(&self) -> Option<Lent> {
        match &self.face {
            Face::Live { live, .. } => Some(live.lend()),
            Face::Lines { .. } => None,
        }
    }

    /// Something happened to a job as a whole.
    pub fn pipeline(&self, event: &PipelineEvent) {
        match event {
            PipelineEvent::JobStarted { job, attempt } => {
                self.object(|| json!({ "event": "job_started", "at": now(), "job": job, "attempt": attempt }));
                let words = if *attempt > 1 { format!("starts again, try {attempt}") } else { "starts".to_owned() };
                self.text(job, &words);
                if let Face::Live { live, .. } = &self.face {
                    live.show(|board, now| board.started(job, now));
                }
            }
            PipelineEvent::JobWaits { job, delay, reason } => {
                let seconds = delay.as_secs_f64();
                self.object(
                    || json!({ "event": "job_waiting", "at": now(), "job": job, "seconds": seconds, "reason": reason }),
                );
                self.text(job, &format!("{reason}; goes on in {}", in_words(*delay)));
                if let Face::Live { live, .. } = &self.face {
                    live.show(|board, now| board.waits(job, *delay, reason, now));
                }
            }
            PipelineEvent::JobFinished { job, status, reason, took } => {
                let (output, coverage) = {
                    let mut inner = self.lock();
                    let coverage = inner.coverage.remove(job).and_then(|coverage| coverage.found);
                    (inner.tails.remove(job).unwrap_or_default(), coverage)
                };
                self.object(|| {
                    let mut object = json!({
                        "event": "job_finished", "at": now(), "job": job, "status": status.to_string(),
                        "reason": reason, "seconds": took.as_secs_f64(),
                    });
                    if let Some(coverage) = coverage {
                        object["coverage"] = coverage.into();
                    }
                    object
                });
                let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                self.text(job, &format!("{status}{why} ({}){}", seconds(*took), covered(coverage)));
                let (job, status, reason, took) = (job.clone(), *status, reason.clone(), *took);
                let line = Line { job, status, reason, took, output: output.into(), coverage };
                if let Face::Live { live, look } = &self.face {
                    live.show(|board, _| board.ended(&line.job, line.status));
                    live.print(told(&line, *look));
                }
                self.lock().ended.push(line);
            }
        }
    }

    /// Something happened in a job.
    pub fn job(&self, job: &str, event: JobEvent<'_>) {
        match event {
            JobEvent::StepStarted { step, at_us } => {
                self.object(|| json!({ "event": "step_started", "at": at(at_us), "job": job, "step": &*step.name }));
                if let Face::Live { live, .. } = &self.face {
                    live.show(|board, _| board.step_started(job, &step.name));
                }
            }
            JobEvent::Line { step, stream, text, at_us } => {
                self.object(|| {
                    let mut fields = Map::new();
                    fields.insert("event".into(), "log".into());
                    fields.insert("at".into(), at(at_us).into());
                    fields.insert("job".into(), job.into());
                    fields.insert("step".into(), step.map_or(Value::Null, |step| (&*step.name).into()));
                    fields.insert("stream".into(), stream.as_str().into());
                    fields.insert("text".into(), text.into());
                    Value::Object(fields)
                });
                self.text(job, text);
                if let Face::Live { live, .. } = &self.face {
                    live.show(|board, _| board.line(job, text));
                }
                if stream != LineStream::Command {
                    self.keep(job, text);
                }
                self.measure(job, text);
            }
            JobEvent::StepFinished { step, status, exit_code, reason, at_us } => {
                self.object(|| {
                    json!({
                        "event": "step_finished", "at": at(at_us), "job": job, "step": &*step.name,
                        "status": status.as_str(), "exit_code": exit_code, "reason": reason,
                    })
                });
                if let Face::Live { live, .. } = &self.face {
                    live.show(|board, _| board.step_ended(job, &step.name));
                }
            }
        }
    }

    /// Looks for a job's coverage in a line of its log.
    fn measure(&self, job: &str, text: &str) {
        let mut inner = self.lock();
        if let Some(coverage) = inner.coverage.get_mut(job)
            && let Some(found) = coverage.pattern.in_line(text)
        {
            coverage.found = Some(found);
        }
    }

    /// A line of ours about a job, beside what the job itself prints.
    pub fn remark(&self, job: &str, text: &str) {
        self.object(|| {
            json!({
                "event": "log", "at": now(), "job": job, "step": null,
                "stream": LineStream::Command.as_str(), "text": text,
            })
        });
        if let Face::Live { live, look } = &self.face
            && !look.verbose
        {
            live.print([format!("{:<9}  {}  {}", "note", tame(job, false), tame(text, false))]);
        }
        self.text(job, text);
    }

    /// The pipeline has ended.
    pub fn finished(&self, end: PipelineEnd, took: Duration) {
        let status = match end {
            PipelineEnd::Success => "success",
            PipelineEnd::Failed => "failed",
            PipelineEnd::Cancelled => "cancelled",
        };
        self.object(
            || json!({ "event": "pipeline_finished", "at": now(), "status": status, "seconds": took.as_secs_f64() }),
        );
        self.close();
    }

    /// Takes a live view off the terminal for good.
    pub fn close(&self) {
        if let Face::Live { live, .. } = &self.face {
            live.finish();
        }
    }

    /// Keeps a line for reports.
    fn keep(&self, job: &str, text: &str) {
        let mut inner = self.lock();
        let tail = match inner.tails.get_mut(job) {
            Some(tail) => tail,
            None => inner.tails.entry(job.to_owned()).or_default(),
        };
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text.to_owned());
    }

    fn object(&self, value: impl FnOnce() -> Value) {
        if let Face::Lines { style: Style::Json, out } = &self.face {
            write(out, &value().to_string());
        }
    }

    fn text(&self, job: &str, text: &str) {
        match &self.face {
            Face::Lines { style: Style::Plain, out } => write(out, &format!("[{job}] {text}")),
            Face::Lines { style: Style::Tame, out } => {
                write(out, &format!("[{}] {}", tame(job, false), tame(text, false)));
            }
            Face::Live { live, look } if look.verbose => {
                let job = format!("[{}]", tame(job, false));
                live.print([format!("{} {}", paint("36", &job, look.color), tame(text, look.color))]);
            }
            Face::Lines { style: Style::Json, .. } | Face::Live { .. } => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's end above a live view: with the last it printed where it failed.
fn told(line: &Line, look: Look) -> Vec<String> {
    let color = match line.status {
        JobStatus::Success => "32",
        JobStatus::Failed => "31",
        _ => "33",
    };
    let status = paint(color, &format!("{:<9}", line.status.to_string()), look.color);
    let why = line.reason.as_ref().map(|reason| format!("  {}", tame(reason, false))).unwrap_or_default();
    let (job, took, coverage) = (tame(&line.job, false), seconds(line.took), covered(line.coverage));
    let mut lines = vec![format!("{status}  {job}  {took}{coverage}{why}")];
    if line.status == JobStatus::Failed && !look.verbose {
        let hidden = line.output.len().saturating_sub(SHOWN);
        if hidden > 0 {
            lines.push("  | … (all of it with -v)".to_owned());
        }
        lines.extend(line.output.iter().skip(hidden).map(|text| format!("  | {}", tame(text, look.color))));
    }
    lines
}

fn paint(color: &str, text: &str, has_color: bool) -> String {
    if has_color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

fn write(out: &Mutex<Box<dyn Write + Send>>, line: &str) {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever reads may have gone; the jobs go on.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// A job's coverage for people, behind its time.
pub fn covered(coverage: Option<f64>) -> String {
    coverage.map(|coverage| format!("  coverage {coverage}%")).unwrap_or_default()
}

/// A short duration for people.
pub fn seconds(took: Duration) -> String {
    if took < Duration::from_secs(60) { format!("{:.1}s", took.as_secs_f64()) } else { in_words(took) }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn at(us: u64) -> String {
    let time = i64::try_from(us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    time.map(|time| time.to_string()).unwrap_or_else(now)
}
