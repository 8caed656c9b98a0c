//! A step whose turn it is, evaluated.
//!
//! The order is the runner's (`StepsRunner.cs`): environment, condition, name and timeout, then what it does.

use std::time::Duration;

use super::super::{
    ActionReference, CommandFilePaths, Conclusion, ReadyKind, ReadyStep, Remark, Script, StepId, StepReport, checkout,
    shell,
};
use super::Program;
use crate::parser::expression::FileHasher;
use crate::parser::github::contexts::Names;
use crate::parser::github::workflow::model::{Step, StepKind};

impl Program {
    /// The step ready to run, or the report that it is over without having run.
    pub(super) fn prepare(
        &mut self,
        id: StepId,
        step: &Step,
        files: &dyn FileHasher,
    ) -> Result<ReadyStep, Box<StepReport>> {
        let env = self.step_env(id, step, files).map_err(|problem| self.failed(id, problem))?;
        if let Some(state) = self.steps.get_mut(id.0 as usize) {
            state.env = env;
        }
        match self.holds(id, step, files) {
            Ok(true) => {}
            Ok(false) => return Err(self.skipped(id, step)),
            Err(problem) => return Err(self.failed(id, problem)),
        }
        let mut remarks = Vec::new();
        let name = self.name(id, step, files);
        let timeout = self.timeout(id, step, files, &mut remarks);
        if let Some(state) = self.steps.get_mut(id.0 as usize) {
            state.name.clone_from(&name);
            state.timeout_minutes = timeout.unwrap_or_default();
        }
        let kind = self.kind(id, step, files).map_err(|problem| self.failed(id, problem))?;
        let files = self.command_files(id);
        Ok(ReadyStep {
            id,
            name,
            kind,
            env: self.environment(id, &files),
            path: self.path.iter().rev().cloned().collect(),
            files,
            timeout: timeout.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
            background: step.background(),
            remarks,
        })
    }

    fn failed(&mut self, id: StepId, problem: String) -> Box<StepReport> {
        // `continue-on-error` does not help a step that cannot be evaluated to say so; the runner asks it all the same.
        let mut remarks = vec![Remark::Error(problem.clone())];
        let conclusion =
            if self.continues_on_error(id, &mut remarks) { Conclusion::Success } else { Conclusion::Failure };
        self.over(id, Conclusion::Failure, conclusion);
        Box::new(StepReport { reason: Some(problem), remarks, ..self.report(id, Conclusion::Failure, conclusion) })
    }

    fn skipped(&mut self, id: StepId, step: &Step) -> Box<StepReport> {
        self.over(id, Conclusion::Skipped, Conclusion::Skipped);
        let reason = match (step.condition_text(), self.status) {
            (Some(condition), _) => format!("its condition `{condition}` does not hold"),
            (None, Conclusion::Cancelled) => "the job was cancelled".to_owned(),
            (None, _) => "a step before it failed".to_owned(),
        };
        Box::new(StepReport { reason: Some(reason), ..self.report(id, Conclusion::Skipped, Conclusion::Skipped) })
    }

    fn over(&mut self, id: StepId, outcome: Conclusion, conclusion: Conclusion) {
        if let Some(state) = self.steps.get_mut(id.0 as usize) {
            (state.outcome, state.conclusion) = (outcome, conclusion);
        }
    }

    /// What a step evaluates with.
    fn names<'a>(&self, id: StepId, files: &'a dyn FileHasher) -> Names<'a> {
        self.names_of_step(id).files(files)
    }

    fn step_env(&self, id: StepId, step: &Step, files: &dyn FileHasher) -> Result<Vec<(String, String)>, String> {
        let Some(env) = step.env() else { return Ok(Vec::new()) };
        self.names(id, files).pairs(env)
    }

    /// Whether the condition of a step holds now.
    pub(super) fn holds(&self, id: StepId, step: &Step, files: &dyn FileHasher) -> Result<bool, String> {
        self.names(id, files).status(self.status.into()).condition(step.condition())
    }

    /// The name the forge shows: its first line; without one, what it does.
    fn name(&self, id: StepId, step: &Step, files: &dyn FileHasher) -> String {
        let names = self.names(id, files);
        let first_line = |text: String| text.trim_start().lines().next().unwrap_or_default().trim_end().to_owned();
        let named = step.name().and_then(|name| names.text(name).ok()).map(first_line).filter(|name| !name.is_empty());
        named.unwrap_or_else(|| match step.kind() {
            StepKind::Run(run) => format!("Run {}", first_line(names.text(&run.script).unwrap_or_default())),
            _ => self.steps.get(id.0 as usize).map(|step| step.name.clone()).unwrap_or_default(),
        })
    }

    /// Minutes; `None` where it may take as long as the job.
    fn timeout(&self, id: StepId, step: &Step, files: &dyn FileHasher, remarks: &mut Vec<Remark>) -> Option<f64> {
        match self.names(id, files).number(step.timeout()?) {
            Ok(minutes) => Some(minutes).filter(|minutes| *minutes > 0.0 && minutes.is_finite()),
            Err(problem) => {
                remarks.push(Remark::Error(format!(
                    "`timeout-minutes` cannot be evaluated, so the step has none: {problem}"
                )));
                None
            }
        }
    }

    /// Whether a failure of this step is none for the job.
    pub(super) fn continues_on_error(&self, id: StepId, remarks: &mut Vec<Remark>) -> bool {
        let Some(value) = self.scene.job_steps().get(id.0 as usize).and_then(Step::continue_on_error) else {
            return false;
        };
        self.names(id, &super::setup::NoFiles).truth(value).unwrap_or_else(|problem| {
            remarks.push(Remark::Error(format!("`continue-on-error` cannot be evaluated, so it is false: {problem}")));
            false
        })
    }

    fn kind(&self, id: StepId, step: &Step, files: &dyn FileHasher) -> Result<ReadyKind, String> {
        let names = self.names(id, files);
        match step.kind() {
            StepKind::Run(run) => {
                let asked = run.shell.as_ref().map(|shell| names.text(shell)).transpose()?;
                let asked =
                    asked.filter(|shell| !shell.trim().is_empty()).unwrap_or_else(|| self.default_shell.clone());
                let shell = shell::command(&asked, self.scene.in_container()).map_err(|problem| problem.to_string())?;
                let directory = run.working_directory.as_ref().map(|directory| names.text(directory)).transpose()?;
                let directory = directory.filter(|directory| !directory.trim().is_empty());
                Ok(ReadyKind::Script(Script {
                    text: shell::script_file(&names.text(&run.script)?, shell.extension),
                    shell,
                    working_directory: directory.unwrap_or_else(|| self.default_directory.clone()),
                }))
            }
            StepKind::Uses(uses) => {
                let with = uses.with.as_ref().map(|with| names.pairs(with)).transpose()?.unwrap_or_default();
                let facts = &self.scene.run.facts;
                let of_run = (facts.git_ref.as_str(), facts.sha.as_str());
                Ok(match checkout::recognise(&uses.action, &with, &facts.repository, of_run) {
                    Some(checkout) => ReadyKind::Checkout(checkout),
                    None => ReadyKind::Action(ActionReference { uses: uses.action.to_string(), with }),
                })
            }
            StepKind::Control(_) => Err("a step that waits has nothing to run".into()),
        }
    }

    pub(super) fn command_files(&self, id: StepId) -> CommandFilePaths {
        let file = |kind: &str| format!("{}/{kind}_{}", self.place.command_files, id.0);
        CommandFilePaths {
            env: file("set_env"),
            output: file("set_output"),
            path: file("add_path"),
            state: file("save_state"),
            summary: file("step_summary"),
        }
    }

    /// The whole environment of a step; later ones of a name count.
    fn environment(&self, id: StepId, files: &CommandFilePaths) -> Vec<(String, String)> {
        let step = self.steps.get(id.0 as usize);
        let mut env = Vec::new();
        if !self.place.has_ci {
            env.push(("CI".to_owned(), "true".to_owned()));
        }
        env.extend(self.env.iter().cloned());
        env.extend(step.map(|step| step.env.clone()).unwrap_or_default());
        env.extend(self.exported(step.map_or("", |step| &step.action)));
        for (name, path) in [
            ("GITHUB_ENV", &files.env),
            ("GITHUB_OUTPUT", &files.output),
            ("GITHUB_PATH", &files.path),
            ("GITHUB_STATE", &files.state),
            ("GITHUB_STEP_SUMMARY", &files.summary),
        ] {
            env.push((name.to_owned(), path.clone()));
        }
        env.push(("GITHUB_ACTIONS".to_owned(), "true".to_owned()));
        env
    }
}
