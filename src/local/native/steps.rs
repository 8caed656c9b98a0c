//! The steps of one job of a native pipeline.

use std::sync::Arc;

use crate::executor::halt::HaltCause;
use crate::executor::log::{LineStream, StepStatus, Tone};
use crate::executor::steps::{
    Beginning, Heard, JobPlace, Next, ReadyStep, Remark, Script, StepEnd, StepEnded, StepImage, StepNumber,
    StepProgram, StepReport, Work, WorkTree,
};
use crate::local::house::Sandbox;
use crate::parser::native::Leg;
use crate::parser::native::model::{CHECKOUT, WORKSPACE};
use crate::parser::native::run::{Ended, Run, StepSettings};
use crate::pipeline::definition::ImageSpec;
use crate::pipeline::schedule::Backoff;
use crate::pipeline::{FailureReason, JobFailure};

/// Where the shell can, a pipe fails with its first part that does.
const PROLOGUE: &str = "if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi\n";

/// The steps of one job.
pub struct NativeSteps {
    run: Arc<Run>,
    leg: Leg,
    /// How the jobs before it ended.
    ended: Ended,
    /// The image of the job's own container, until a step has had it.
    unused: Option<String>,
    sandbox: Sandbox,
    /// The step that is next, or runs.
    at: usize,
    /// How often it was started before, and how long to wait before it is again.
    attempt: u32,
    pause: std::time::Duration,
    /// What is running.
    current: Option<StepSettings>,
    failed: Option<JobFailure>,
    is_cancelled: bool,
}

impl NativeSteps {
    /// Nothing has run. `image`: of the job's container.
    pub fn new(run: Arc<Run>, leg: Leg, ended: Ended, image: &str, sandbox: Sandbox) -> Self {
        Self {
            run,
            leg,
            ended,
            unused: Some(image.to_owned()),
            sandbox,
            at: 0,
            attempt: 0,
            pause: std::time::Duration::ZERO,
            current: None,
            failed: None,
            is_cancelled: false,
        }
    }

    fn number(&self) -> StepNumber {
        StepNumber(u32::try_from(self.at).unwrap_or(u32::MAX))
    }

    /// The name of the step that is next.
    fn name(&self) -> Option<String> {
        let job = self.run.pipeline().jobs.get(self.leg.job)?;
        job.steps.get(self.at).map(|step| step.name.clone())
    }

    /// The step that is next will not run.
    fn over(&mut self, name: String, status: StepStatus, reason: String) -> Next {
        let number = self.number();
        self.advance();
        let (counts, reason) = (status == StepStatus::Failed, Some(reason));
        Next::Over(StepReport { number, name, status, counts, exit_code: None, reason, remarks: Vec::new() })
    }

    fn advance(&mut self) {
        (self.at, self.attempt, self.pause) = (self.at + 1, 0, std::time::Duration::ZERO);
    }

    fn broken(&mut self, name: String, reason: String) -> Next {
        self.failed = Some(JobFailure::configuration(format!("step `{name}`: {reason}")));
        self.over(name, StepStatus::Failed, reason)
    }

    fn start(&mut self, settings: StepSettings) -> Next {
        let image = self.image(&settings.image);
        let remarks = settings.script.iter().map(|line| Remark::plain(format!("$ {line}"))).collect();
        let ready = ReadyStep {
            number: self.number(),
            attempt: self.attempt,
            tries_left: settings.retry_count.saturating_sub(self.attempt),
            name: settings.name.clone(),
            work: Work::Script(Script {
                text: format!("{PROLOGUE}{}\n", settings.script.join("\n")),
                extension: ".sh".to_owned(),
                programs: ["bash", "sh"].map(str::to_owned).into(),
                arguments: ["-e", "{0}"].map(str::to_owned).into(),
                working_directory: self.working_directory(&settings.working_directory),
            }),
            env: settings.environment.iter().map(|one| (one.key.clone(), one.value.clone())).collect(),
            path: Vec::new(),
            files: Vec::new(),
            timeout: Some(settings.timeout),
            background: false,
            pause: self.pause,
            image,
            remarks,
        };
        self.current = Some(settings);
        Next::Start(Box::new(ready))
    }

    /// A container that nothing has run in yet: the job's own, if it has the right image, else a new one.
    fn image(&mut self, wanted: &str) -> Option<StepImage> {
        if self.sandbox == Sandbox::Host || self.unused.take_if(|unused| unused == wanted).is_some() {
            return None;
        }
        Some(StepImage { image: ImageSpec { name: wanted.to_owned(), ..ImageSpec::default() }, fresh: true })
    }

    /// On the host the work tree lies elsewhere.
    fn working_directory(&self, folder: &str) -> String {
        if self.sandbox == Sandbox::Docker {
            return folder.to_owned();
        }
        match folder.strip_prefix(WORKSPACE) {
            Some("") => String::new(),
            Some(below) if below.starts_with('/') => below.trim_start_matches('/').to_owned(),
            _ => folder.to_owned(),
        }
    }

    /// Whether the step that ended is tried again; the pause is drawn.
    fn tries_again(&mut self, settings: &StepSettings) -> bool {
        if self.is_cancelled || self.attempt >= settings.retry_count {
            return false;
        }
        self.attempt += 1;
        self.pause = Backoff::default().pause(self.attempt, rand::random());
        true
    }
}

impl StepProgram for NativeSteps {
    fn begin(&mut self, _place: &JobPlace) -> Beginning {
        Beginning::default()
    }

    fn next(&mut self, _tree: &WorkTree) -> Next {
        let Some(name) = self.name() else {
            return Next::End(self.failed.clone().map_or(Ok(()), Err));
        };
        if self.is_cancelled {
            return self.over(name, StepStatus::Skipped, "the job was ended".to_owned());
        }
        if self.failed.is_some() {
            return self.over(name, StepStatus::Skipped, "a step before it failed".to_owned());
        }
        match self.run.step(&self.leg, self.at, &self.ended) {
            Err(error) => self.broken(name, error.to_string()),
            Ok(StepSettings { action: Some(action), .. }) if action == CHECKOUT => {
                self.over(name, StepStatus::Success, "the sources are in the workspace already".to_owned())
            }
            Ok(StepSettings { action: Some(action), .. }) => {
                self.broken(name, format!("there is no action `{action}`; write its commands as `script`"))
            }
            Ok(settings) => self.start(settings),
        }
    }

    fn line(&mut self, _step: StepNumber, _stream: LineStream, _line: &str) -> Heard {
        Heard::shown()
    }

    fn ended(&mut self, number: StepNumber, ended: StepEnded) -> StepReport {
        let Some(settings) = self.current.take() else {
            let (status, reason) = (StepStatus::Failed, Some("it was not started".to_owned()));
            let (name, counts, remarks) = (String::new(), true, Vec::new());
            return StepReport { number, name, status, counts, exit_code: None, reason, remarks };
        };
        let (status, failure) = judge(&ended.end, &settings);
        let mut remarks = Vec::new();
        match &failure {
            Some(_) if status == StepStatus::Failed && self.tries_again(&settings) => {
                let text = format!(
                    "it is tried again in {:.1} s ({} of {})",
                    self.pause.as_secs_f64(),
                    self.attempt,
                    settings.retry_count
                );
                remarks.push(Remark { tone: Tone::Warning, text });
            }
            Some(_) if status == StepStatus::Failed && settings.continue_on_failure => {
                remarks.push(Remark { tone: Tone::Warning, text: "it may fail: the steps after it run".to_owned() });
                self.advance();
            }
            Some(failure) => {
                self.failed = Some(failure.clone());
                self.advance();
            }
            None => self.advance(),
        }
        let reason = failure.map(|failure| failure.message);
        let (counts, exit_code) = (self.failed.is_some(), ended.end.code());
        StepReport { number, name: settings.name, status, counts, exit_code, reason, remarks }
    }

    fn cancel(&mut self, _cause: HaltCause, _tree: &WorkTree) -> Vec<StepNumber> {
        self.is_cancelled = true;
        vec![self.number()]
    }
}

fn judge(end: &StepEnd, settings: &StepSettings) -> (StepStatus, Option<JobFailure>) {
    let step = &settings.name;
    let failed = |failure: JobFailure| {
        let message = format!("step `{step}`: {}", failure.message);
        (StepStatus::Failed, Some(JobFailure { message, ..failure }))
    };
    match end {
        StepEnd::Code(0) => (StepStatus::Success, None),
        StepEnd::Code(code) => failed(JobFailure::exit(*code)),
        StepEnd::OutOfMemory => failed(JobFailure {
            message: "exit code 137: it was killed at its memory limit".to_owned(),
            ..JobFailure::exit(137)
        }),
        StepEnd::TimedOut => {
            let words = format!("it took longer than its {} s", settings.timeout.as_secs());
            failed(JobFailure::new(FailureReason::JobExecutionTimeout, words))
        }
        StepEnd::Broken(why) => failed(JobFailure::new(FailureReason::ScriptFailure, why.clone())),
        StepEnd::Cancelled => (
            StepStatus::Cancelled,
            Some(JobFailure::new(FailureReason::JobCanceled, format!("step `{step}` was ended"))),
        ),
    }
}
