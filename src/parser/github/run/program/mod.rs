//! The steps of one leg, decided one by one.
//!
//! - [`prepare`]: a step whose turn it is, evaluated. [`finish`]: what a step left, taken over. [`background`]: steps beside others.
//! - [`setup`]: what holds for the whole job, evaluated before the first step.

mod background;
mod finish;
mod prepare;
mod setup;

use std::sync::Arc;

use super::{Conclusion, LegEnd, Next, Place, Remark, StepId, StepReport};
use crate::parser::expression::{FileHasher, Value};
use crate::parser::github::commands::{Matchers, Reader, ReaderSettings, mask};
use crate::parser::github::contexts::JobScene;
use crate::parser::github::workflow::model::{Step, StepKind};
use crate::pipeline::Secret;

/// The steps of one leg. Owned and `Send`: it lives where the job runs.
pub struct Program {
    scene: Arc<JobScene>,
    place: Place,
    github: Vec<(Arc<str>, Value)>,
    /// Whether the job's own values are evaluated.
    is_set_up: bool,
    /// The job's environment and what `GITHUB_ENV` added; the last of a name counts.
    env: Vec<(String, String)>,
    /// Folders for PATH in the order in which they were added.
    path: Vec<String>,
    /// `defaults.run`.
    default_shell: String,
    default_directory: String,
    matchers: Matchers,
    steps: Vec<StepState>,
    /// The step whose turn it is.
    at: usize,
    status: Conclusion,
    /// What is hidden beside the secrets.
    masks: Vec<String>,
    remarks: Vec<Remark>,
    /// Commands that were told to be deprecated.
    told: Vec<&'static str>,
}

/// What is known of a step.
#[derive(Clone, Debug)]
struct StepState {
    phase: Phase,
    name: String,
    /// `github.action`.
    action: String,
    outcome: Conclusion,
    conclusion: Conclusion,
    outputs: Vec<(String, String)>,
    /// What it set, not yet taken over.
    left: Option<finish::Left>,
    timeout_minutes: f64,
    /// Its environment, for what is evaluated after it.
    env: Vec<(String, String)>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    /// Over, and others do not see what it left: a background step that nobody waited for.
    Ended,
    /// Over, and others see it.
    Published,
}

impl Program {
    /// The program of a leg that runs at `place`.
    pub(super) fn new(scene: Arc<JobScene>, place: Place) -> Self {
        let github = scene.github(&place);
        let mut program = Self {
            github,
            is_set_up: false,
            env: Vec::new(),
            path: Vec::new(),
            default_shell: String::new(),
            default_directory: String::new(),
            matchers: Matchers::default(),
            steps: Vec::new(),
            at: 0,
            status: Conclusion::Success,
            masks: Vec::new(),
            remarks: Vec::new(),
            told: Vec::new(),
            scene,
            place,
        };
        program.steps = program.step_states();
        program
    }

    /// The place is known, where it was not when the program was made. Before the first [`Program::next`].
    pub fn settle(&mut self, place: Place) {
        self.github = self.scene.github(&place);
        self.place = place;
    }

    /// What is to be hidden before the first line: the secrets, whole and line by line.
    pub fn masks(&self) -> Vec<Secret> {
        self.scene.secret_texts().flat_map(mask::texts).map(Secret::new).collect()
    }

    /// The content of [`Place::event_path`].
    pub fn event_json(&self) -> String {
        self.scene.run.event_json()
    }

    /// The names of the steps as far as they can be known before.
    pub fn step_names(&self) -> Vec<String> {
        self.steps.iter().map(|step| step.name.clone()).collect()
    }

    /// What to do now.
    pub fn next(&mut self, files: &dyn FileHasher) -> Next {
        if !self.is_set_up {
            self.is_set_up = true;
            if let Err(problem) = self.set_up() {
                self.fail(problem);
                self.at = self.steps.len();
            }
        }
        let running = self.running();
        if let Some(foreground) = running.iter().find(|id| !self.is_background(**id)) {
            return Next::Wait(vec![*foreground]);
        }
        let scene = Arc::clone(&self.scene);
        match scene.job_steps().get(self.at) {
            Some(step) => self.turn(step, running, files),
            None if !running.is_empty() => Next::Wait(running),
            None => {
                self.publish_all();
                Next::End(Box::new(self.end()))
            }
        }
    }

    /// The turn of one step.
    fn turn(&mut self, step: &Step, running: Vec<StepId>, files: &dyn FileHasher) -> Next {
        let id = StepId(u32::try_from(self.at).unwrap_or(u32::MAX));
        if let StepKind::Control(control) = step.kind() {
            return self.control(id, control, running);
        }
        if step.background() && running.len() >= background::LIMIT {
            return Next::Wait(running);
        }
        self.at += 1;
        match self.prepare(id, step, files) {
            Ok(ready) => {
                self.set_phase(id, Phase::Running);
                Next::Start(Box::new(ready))
            }
            Err(report) => {
                self.set_phase(id, Phase::Published);
                if report.conclusion == Conclusion::Failure {
                    self.worsen(Conclusion::Failure);
                }
                Next::Over(*report)
            }
        }
    }

    /// Hears the lines of a step that was started.
    pub fn reader(&self, _step: StepId) -> Reader {
        let is_yes = |name: &str| self.env_value(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let settings = ReaderSettings {
            debug: self.scene.is_debug(),
            unsecure_commands: is_yes("ACTIONS_ALLOW_UNSECURE_COMMANDS"),
            unsecure_tokens: is_yes("ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS"),
            workspace: self.place.workspace.clone(),
        };
        Reader::new(settings, self.matchers.clone())
    }

    /// The job is cancelled. The running steps that are to be ended; those whose condition still holds go on. Steps that follow are
    /// asked for as ever: those that run in any case still do.
    pub fn cancel(&mut self, files: &dyn FileHasher) -> Vec<StepId> {
        self.status = Conclusion::Cancelled;
        let scene = Arc::clone(&self.scene);
        let steps = scene.job_steps();
        let is_unwanted = |id: &StepId| {
            let step = steps.get(id.0 as usize);
            !step.is_some_and(|step| self.holds(*id, step, files).unwrap_or(false))
        };
        self.running().into_iter().filter(is_unwanted).collect()
    }

    /// Something other than a step failed the job: steps that follow see `failure()`.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.remarks.push(Remark::Error(why.into()));
        self.worsen(Conclusion::Failure);
    }

    fn worsen(&mut self, status: Conclusion) {
        if self.status == Conclusion::Success {
            self.status = status;
        }
    }

    fn running(&self) -> Vec<StepId> {
        let running = self.steps.iter().enumerate().filter(|(_, step)| step.phase == Phase::Running);
        running.map(|(at, _)| StepId(u32::try_from(at).unwrap_or(u32::MAX))).collect()
    }

    fn is_background(&self, id: StepId) -> bool {
        self.scene.job_steps().get(id.0 as usize).is_some_and(Step::background)
    }

    fn set_phase(&mut self, id: StepId, phase: Phase) {
        if let Some(step) = self.steps.get_mut(id.0 as usize) {
            step.phase = phase;
        }
    }

    /// A value of the job's environment.
    fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn report(&self, id: StepId, outcome: Conclusion, conclusion: Conclusion) -> StepReport {
        let name = self.steps.get(id.0 as usize).map(|step| step.name.clone()).unwrap_or_default();
        StepReport { id, name, outcome, conclusion, exit_code: None, reason: None, remarks: Vec::new(), summary: None }
    }

    /// The leg's end: its outputs and the address of its environment.
    fn end(&mut self) -> LegEnd {
        let mut remarks = std::mem::take(&mut self.remarks);
        let outputs = self.outputs(&mut remarks);
        let environment_url = self.environment_url(&mut remarks);
        LegEnd { conclusion: self.status, outputs, environment_url, remarks }
    }
}
