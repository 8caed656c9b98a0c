//! What a run tells whoever watches: one JSON object a line, or lines with the job's name before them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::executor::halt::in_words;
use crate::executor::log::{JobEvent, LineStream};
use crate::executor::pipeline::PipelineEvent;
use crate::pipeline::JobStatus;
use crate::pipeline::schedule::PipelineEnd;

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For programs.
    Json,
    /// For people, without colours.
    Plain,
}

/// A job as it ended, for the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Tells what happens, whole lines, as they come. A reader that is gone is no reason to stop.
pub struct Narrator {
    style: Style,
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    ended: Vec<Line>,
    tails: BTreeMap<String, Vec<String>>,
}

/// How many lines of a job's output are kept for reports.
const TAIL: usize = 200;

impl Narrator {
    /// Tells `out`.
    pub fn new(style: Style, out: Box<dyn Write + Send>) -> Self {
        Self { style, inner: Mutex::new(Inner { out, ended: Vec::new(), tails: BTreeMap::new() }) }
    }

    /// The jobs that have ended, in that order.
    pub fn ended(&self) -> Vec<Line> {
        self.lock().ended.clone()
    }

    /// Something happened to a job as a whole.
    pub fn pipeline(&self, event: &PipelineEvent) {
        match event {
            PipelineEvent::JobStarted { job, attempt } => {
                self.object(json!({ "event": "job_started", "at": now(), "job": job, "attempt": attempt }));
                self.text(
                    job,
                    &if *attempt > 1 { format!("starts again, try {attempt}") } else { "starts".to_owned() },
                );
            }
            PipelineEvent::JobWaits { job, delay, reason } => {
                let seconds = delay.as_secs_f64();
                self.object(
                    json!({ "event": "job_waiting", "at": now(), "job": job, "seconds": seconds, "reason": reason }),
                );
                self.text(job, &format!("{reason}; goes on in {}", in_words(*delay)));
            }
            PipelineEvent::JobFinished { job, status, reason, took } => {
                self.object(json!({
                    "event": "job_finished", "at": now(), "job": job, "status": status.to_string(), "reason": reason,
                    "seconds": took.as_secs_f64(),
                }));
                let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                self.text(job, &format!("{status}{why} ({})", seconds(*took)));
                let mut inner = self.lock();
                let output = inner.tails.remove(job).unwrap_or_default();
                let (job, status, reason, took) = (job.clone(), *status, reason.clone(), *took);
                inner.ended.push(Line { job, status, reason, took, output });
            }
        }
    }

    /// Something happened in a job.
    pub fn job(&self, job: &str, event: JobEvent<'_>) {
        match event {
            JobEvent::StepStarted { step, at_us } => {
                self.object(json!({ "event": "step_started", "at": at(at_us), "job": job, "step": &*step.name }));
            }
            JobEvent::Line { step, stream, text, at_us } => {
                if self.style == Style::Json {
                    let mut fields = Map::new();
                    fields.insert("event".into(), "log".into());
                    fields.insert("at".into(), at(at_us).into());
                    fields.insert("job".into(), job.into());
                    fields.insert("step".into(), step.map_or(Value::Null, |step| (&*step.name).into()));
                    fields.insert("stream".into(), stream.as_str().into());
                    fields.insert("text".into(), text.into());
                    self.object(Value::Object(fields));
                } else {
                    self.text(job, text);
                }
                if stream != LineStream::Command {
                    let mut inner = self.lock();
                    let tail = inner.tails.entry(job.to_owned()).or_default();
                    if tail.len() == TAIL {
                        tail.remove(0);
                    }
                    tail.push(text.to_owned());
                }
            }
            JobEvent::StepFinished { step, status, exit_code, reason, at_us } => {
                self.object(json!({
                    "event": "step_finished", "at": at(at_us), "job": job, "step": &*step.name, "status": status.as_str(),
                    "exit_code": exit_code, "reason": reason,
                }));
            }
        }
    }

    /// A line of ours about a job that runs nothing.
    pub fn remark(&self, job: &str, text: &str) {
        self.object(json!({
            "event": "log", "at": now(), "job": job, "step": null, "stream": LineStream::Command.as_str(), "text": text,
        }));
        self.text(job, text);
    }

    /// The pipeline has ended.
    pub fn finished(&self, end: PipelineEnd, took: Duration) {
        let status = match end {
            PipelineEnd::Success => "success",
            PipelineEnd::Failed => "failed",
            PipelineEnd::Cancelled => "cancelled",
        };
        self.object(json!({
            "event": "pipeline_finished", "at": now(), "status": status, "seconds": took.as_secs_f64(),
        }));
    }

    fn object(&self, value: Value) {
        if self.style == Style::Json {
            self.write(&value.to_string());
        }
    }

    fn text(&self, job: &str, text: &str) {
        if self.style == Style::Plain {
            self.write(&format!("[{job}] {text}"));
        }
    }

    fn write(&self, line: &str) {
        let out = &mut self.lock().out;
        // Whoever reads may have gone; the jobs go on.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
