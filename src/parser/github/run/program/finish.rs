//! What a step left, taken over.

use super::super::{Conclusion, Remark, StepEnded, StepExit, StepId, StepReport};
use super::{Phase, Program};
use crate::parser::github::commands::files::{self, FileProblem};
use crate::parser::github::commands::{Effects, Level, Matchers, WrittenFiles, is_refused_env, refused_env};

/// What a step set for those that follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    env: Vec<(String, String)>,
    path: Vec<String>,
    matchers: Option<Matchers>,
}

impl Program {
    /// A step that was started has ended.
    pub fn ended(&mut self, id: StepId, ended: StepEnded) -> StepReport {
        let mut remarks = Vec::new();
        let is_running = self.steps.get(id.0 as usize).is_some_and(|step| step.phase == Phase::Running);
        if !is_running {
            return self.report(id, Conclusion::Skipped, Conclusion::Skipped);
        }
        let (mut outcome, mut reason) = self.outcome(id, &ended.exit, &mut remarks);
        let StepEnded { effects, files, exit } = ended;
        if effects.failed && outcome == Conclusion::Success {
            let last = effects.issues.iter().rev().find(|issue| issue.level == Level::Error);
            reason =
                Some(last.map_or_else(|| "a command in its output failed".to_owned(), |issue| issue.message.clone()));
            outcome = Conclusion::Failure;
        }
        let mut outputs = Vec::new();
        let (left, summary, problem) = self.gather(effects, &files, &mut outputs, &mut remarks);
        if let (Some(problem), Conclusion::Success) = (problem, outcome) {
            reason = Some(problem);
            outcome = Conclusion::Failure;
        }
        let conclusion = match outcome {
            Conclusion::Failure if self.continues_on_error(id, &mut remarks) => Conclusion::Success,
            outcome => outcome,
        };
        if let Some(step) = self.steps.get_mut(id.0 as usize) {
            step.phase = Phase::Ended;
            (step.outcome, step.conclusion) = (outcome, conclusion);
            step.outputs = outputs;
            step.left = Some(left);
        }
        if !self.is_background(id) {
            self.publish(id);
        }
        let exit_code = match exit {
            StepExit::Code(code) => Some(code),
            _ => None,
        };
        StepReport { exit_code, reason, remarks, summary, ..self.report(id, outcome, conclusion) }
    }

    fn outcome(&self, id: StepId, exit: &StepExit, remarks: &mut Vec<Remark>) -> (Conclusion, Option<String>) {
        let state = self.steps.get(id.0 as usize);
        match exit {
            StepExit::Code(0) => (Conclusion::Success, None),
            StepExit::Code(code) => {
                let message = format!("Process completed with exit code {code}.");
                remarks.push(Remark::Error(message));
                (Conclusion::Failure, Some(format!("exit code {code}")))
            }
            StepExit::TimedOut => {
                let (name, minutes) = state.map_or(("", 0.0), |step| (&step.name, step.timeout_minutes));
                let message = format!("The action '{name}' has timed out after {minutes} minutes.");
                remarks.push(Remark::Error(message.clone()));
                (Conclusion::Failure, Some(message))
            }
            StepExit::Cancelled => {
                remarks.push(Remark::Error("The operation was canceled.".into()));
                (Conclusion::Cancelled, Some("it was cancelled".into()))
            }
            StepExit::Broken(why) => {
                remarks.push(Remark::Error(why.clone()));
                (Conclusion::Failure, Some(why.clone()))
            }
        }
    }

    /// What output and command files say together: files come after commands. An error in one file does not stop the others.
    fn gather(
        &mut self,
        effects: Effects,
        files: &WrittenFiles,
        outputs: &mut Vec<(String, String)>,
        remarks: &mut Vec<Remark>,
    ) -> (Left, Option<String>, Option<String>) {
        let mut problem = None;
        let mut read = |name: &str, bytes: &[u8], remarks: &mut Vec<Remark>| {
            let (pairs, error) = files::pairs(bytes);
            if let Some(error) = error {
                let message = file_error(name, &error);
                remarks.push(Remark::Error(message.clone()));
                problem.get_or_insert(message);
            }
            pairs
        };
        for name in &effects.deprecated {
            if !self.told.contains(name) {
                self.told.push(name);
                remarks.push(Remark::Warning(deprecated(name)));
            }
        }
        self.masks.extend(effects.masks);
        let mut left = Left { env: effects.env, path: effects.path, matchers: effects.matchers };
        left.path.extend(files::paths(&files.path));
        for (key, value) in read("env", &files.env, remarks) {
            if is_refused_env(&key) {
                remarks.push(Remark::Error(refused_env(&key)));
            } else {
                left.env.push((key, value));
            }
        }
        let summary = files::summary(&files.summary).unwrap_or_else(|error| {
            remarks.push(Remark::Error(error));
            None
        });
        // State is for the later stages of the same action; a script has none, but what cannot be read is an error all the same.
        read("state", &files.state, remarks);
        outputs.extend(effects.outputs);
        outputs.extend(read("output", &files.output, remarks));
        (left, summary, problem)
    }

    /// Lets others see what a step left.
    pub(super) fn publish(&mut self, id: StepId) {
        let Some(step) = self.steps.get_mut(id.0 as usize).filter(|step| step.phase == Phase::Ended) else { return };
        step.phase = Phase::Published;
        let conclusion = step.conclusion;
        if let Some(left) = step.left.take() {
            self.env.extend(left.env);
            for folder in left.path {
                self.path.retain(|known| *known != folder);
                self.path.push(folder);
            }
            if let Some(matchers) = left.matchers {
                self.matchers = matchers;
            }
        }
        if conclusion == Conclusion::Failure {
            self.worsen(Conclusion::Failure);
        }
    }
}

fn file_error(name: &str, error: &FileProblem) -> String {
    let file = if name == "output" {
        "GITHUB_OUTPUT"
    } else if name == "env" {
        "GITHUB_ENV"
    } else {
        "GITHUB_STATE"
    };
    format!("Unable to process file command '{name}' successfully. ${file}: {error}")
}

fn deprecated(name: &str) -> String {
    let file = if name == "set-output" { "GITHUB_OUTPUT" } else { "GITHUB_STATE" };
    format!("The `{name}` command is deprecated: write NAME=VALUE to the file ${file} instead")
}
