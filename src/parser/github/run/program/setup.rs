//! What holds for a whole job: its environment, defaults, contexts, and what is evaluated when it is over.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::{Conclusion, Remark, StepId};
use super::{Phase, Program, StepState};
use crate::parser::expression::{FileHasher, Object, Value};
use crate::parser::github::contexts::{EXPORTED, Names};
use crate::parser::github::workflow::model::{Control, RunDefaults, Step, StepKind, Token};

/// No files: what `hashFiles` sees where it may not be used.
pub(super) struct NoFiles;

impl Program {
    /// Evaluates the job's environment and defaults.
    pub(super) fn set_up(&mut self) -> Result<(), String> {
        let scene = Arc::clone(&self.scene);
        let names = self.job_names();
        for env in scene.environments() {
            self.env.extend(names.pairs(env).map_err(|problem| format!("`env` cannot be evaluated: {problem}"))?);
        }
        let names = names.with("env", self.env_context(&[]));
        if let Some(defaults) = scene.run_defaults() {
            (self.default_shell, self.default_directory) = run_defaults(defaults, &names)
                .map_err(|problem| format!("`defaults.run` cannot be evaluated: {problem}"))?;
        }
        Ok(())
    }

    /// The steps before any of them has run.
    pub(super) fn step_states(&self) -> Vec<StepState> {
        let mut known: HashMap<String, u32> = HashMap::new();
        let state = |step: &Step| StepState {
            phase: Phase::Waiting,
            name: self.name_before(step),
            action: action_name(step, &mut known),
            outcome: Conclusion::Skipped,
            conclusion: Conclusion::Skipped,
            outputs: Vec::new(),
            left: None,
            timeout_minutes: 0.0,
            env: Vec::new(),
        };
        self.scene.job_steps().iter().map(state).collect()
    }

    /// A step's name as far as it is known before it runs.
    fn name_before(&self, step: &Step) -> String {
        let first_line = |text: &str| text.trim_start().lines().next().unwrap_or_default().trim_end().to_owned();
        if let Some(name) = step.name() {
            let name = self.job_names().text(name).unwrap_or_else(|_| name.source().to_string());
            return first_line(&name);
        }
        match step.kind() {
            StepKind::Run(run) => format!("Run {}", first_line(&run.script.source())),
            StepKind::Uses(uses) => format!("Run {}", uses.action),
            StepKind::Control(Control::Wait(ids)) => format!("Wait for {}", ids.join(", ")),
            StepKind::Control(Control::WaitAll) => "Wait for all background steps".to_owned(),
            StepKind::Control(Control::Cancel(ids)) => format!("Cancel {}", ids.join(", ")),
        }
    }

    /// What the job's own values evaluate with.
    fn job_names(&self) -> Names<'static> {
        self.scene.names().with("github", Value::Object(Arc::new(Object::new(self.github.iter().cloned()))))
    }

    /// What a step evaluates with: all there is but the status functions.
    pub(super) fn names_of_step(&self, id: StepId) -> Names<'static> {
        let (env, action) = self.steps.get(id.0 as usize).map_or((&[][..], ""), |step| (&step.env, &step.action));
        let files = self.command_files(id);
        let own: [(&str, &str); 6] = [
            ("action", action),
            ("env", &files.env),
            ("output", &files.output),
            ("path", &files.path),
            ("state", &files.state),
            ("step_summary", &files.summary),
        ];
        self.names_with(env, &own)
    }

    /// What is evaluated with when no step runs.
    pub(super) fn names_of_job(&self) -> Names<'static> {
        self.names_with(&[], &[("action", "")])
    }

    /// `own`: what only this one has in `github`.
    fn names_with(&self, env: &[(String, String)], own: &[(&str, &str)]) -> Names<'static> {
        let own = own.iter().map(|(key, value)| (Arc::from(*key), Value::text(*value)));
        let github = Object::new(self.github.iter().cloned().chain(own));
        self.scene
            .names()
            .with("github", Value::Object(Arc::new(github)))
            .with("env", self.env_context(env))
            .with("steps", self.steps_context())
            .with("job", self.job_context())
            .with("runner", self.runner_context())
    }

    fn env_context(&self, over: &[(String, String)]) -> Value {
        let entries = self.env.iter().chain(over).map(|(key, value)| (key.as_str(), Value::text(value.as_str())));
        Value::Object(Arc::new(Object::exact(entries)))
    }

    fn steps_context(&self) -> Value {
        let seen = self.scene.job_steps().iter().zip(&self.steps);
        let seen = seen.filter(|(_, state)| state.phase == Phase::Published);
        Value::object(seen.filter_map(|(step, state)| Some((step.id()?, step_value(state)))))
    }

    fn job_context(&self) -> Value {
        let mut entries = vec![("status", Value::text(self.status.as_str()))];
        if let Some((id, network)) = &self.place.container {
            let container = [("id", Value::text(id.as_str())), ("network", Value::text(network.as_str()))];
            entries.push(("container", Value::object(container)));
        }
        let services = self.place.services.iter().map(|service| {
            let ports = service.ports.iter().map(|(inner, outer)| (inner.as_str(), Value::text(outer.as_str())));
            let value = Value::object([
                ("id", Value::text(service.id.as_str())),
                ("network", Value::text(service.network.as_str())),
                ("ports", Value::object(ports)),
            ]);
            (service.name.as_str(), value)
        });
        entries.push(("services", Value::object(services)));
        Value::object(entries)
    }

    fn runner_entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![
            ("os", self.place.os.clone()),
            ("arch", self.place.arch.clone()),
            ("name", self.place.runner_name.clone()),
            ("environment", "self-hosted".to_owned()),
            ("tool_cache", self.place.tool_cache.clone()),
            ("temp", self.place.temp.clone()),
            // The folder around the work tree, as the forge's runner has it.
            ("workspace", self.place.workspace.rsplit_once('/').map_or("", |(around, _)| around).to_owned()),
        ];
        if self.scene.is_debug() {
            entries.push(("debug", "1".to_owned()));
        }
        entries
    }

    fn runner_context(&self) -> Value {
        Value::object(self.runner_entries().into_iter().map(|(key, value)| (key, Value::text(value))))
    }

    /// `GITHUB_*` and `RUNNER_*`.
    pub(super) fn exported(&self, action: &str) -> Vec<(String, String)> {
        let github = self.github.iter().filter(|(key, _)| EXPORTED.contains(&&**key));
        let github = github.map(|(key, value)| (format!("GITHUB_{}", key.to_uppercase()), value.to_text().to_string()));
        let runner = self.runner_entries().into_iter();
        let runner = runner.map(|(key, value)| (format!("RUNNER_{}", key.to_uppercase()), value));
        github.chain([("GITHUB_ACTION".to_owned(), action.to_owned())]).chain(runner).collect()
    }

    /// The job's outputs: none that are empty or hold what is to be hidden.
    pub(super) fn outputs(&mut self, remarks: &mut Vec<Remark>) -> Vec<(String, String)> {
        let scene = Arc::clone(&self.scene);
        let Some(outputs) = scene.outputs() else { return Vec::new() };
        let pairs = match self.names_of_job().pairs(outputs) {
            Ok(pairs) => pairs,
            Err(problem) => {
                remarks.push(Remark::Error(format!("`outputs` cannot be evaluated: {problem}")));
                self.worsen(Conclusion::Failure);
                return Vec::new();
            }
        };
        let mut shown = Vec::new();
        for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if self.is_hidden(&value) {
                remarks.push(Remark::Warning(format!("Skip output '{key}' since it may contain secret.")));
            } else {
                shown.push((key, value));
            }
        }
        shown
    }

    /// The address of the deployment environment; none that holds what is to be hidden.
    pub(super) fn environment_url(&mut self, remarks: &mut Vec<Remark>) -> Option<String> {
        let scene = Arc::clone(&self.scene);
        let url = match self.names_of_job().text(scene.environment_url()?) {
            Ok(url) => url,
            Err(problem) => {
                remarks.push(Remark::Error(format!("the url of `environment` cannot be evaluated: {problem}")));
                self.worsen(Conclusion::Failure);
                return None;
            }
        };
        if self.is_hidden(&url) {
            remarks.push(Remark::Warning("Skip the environment's url since it may contain secret.".into()));
            return None;
        }
        Some(url).filter(|url| !url.is_empty())
    }

    /// Whether a text holds a secret or a text that was masked.
    fn is_hidden(&self, text: &str) -> bool {
        let secret =
            |secret: &str| crate::parser::github::commands::mask::texts(secret).iter().any(|part| text.contains(part));
        self.scene.secret_texts().any(secret) || self.masks.iter().any(|mask| text.contains(mask.as_str()))
    }
}

/// The shell and the folder of steps that name none.
fn run_defaults(defaults: &RunDefaults, names: &Names<'_>) -> Result<(String, String), String> {
    let text = |value: Option<&Token>| value.map(|value| names.text(value)).transpose().map(Option::unwrap_or_default);
    let Some(computed) = &defaults.computed else {
        return Ok((text(defaults.shell.as_ref())?, text(defaults.working_directory.as_ref())?));
    };
    let (mut shell, mut directory) = (String::new(), String::new());
    for (key, value) in names.pairs(computed)? {
        match key.as_str() {
            "shell" => shell = value,
            "working-directory" => directory = value,
            _ => return Err(format!("`{key}` is neither `shell` nor `working-directory`")),
        }
    }
    Ok((shell, directory))
}

fn step_value(state: &StepState) -> Value {
    let outputs = state.outputs.iter().map(|(key, value)| (key.as_str(), Value::text(value.as_str())));
    Value::object([
        ("outputs", Value::object(outputs)),
        ("outcome", Value::text(state.outcome.as_str())),
        ("conclusion", Value::text(state.conclusion.as_str())),
    ])
}

/// `github.action`: the step's id, else a name made from what it does, numbered.
fn action_name(step: &Step, known: &mut HashMap<String, u32>) -> String {
    if let Some(id) = step.id() {
        return id.to_owned();
    }
    let base = match step.kind() {
        StepKind::Uses(uses) => {
            let name = uses.action.split('@').next().unwrap_or_default();
            if name.starts_with('.') {
                "self".to_owned()
            } else {
                name.split('/').take(2).collect::<Vec<_>>().join("_")
            }
        }
        StepKind::Run(_) | StepKind::Control(_) => "run".to_owned(),
    };
    let base: String = base.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let count = known.entry(base.clone()).and_modify(|count| *count += 1).or_insert(1);
    if *count == 1 { format!("__{base}") } else { format!("__{base}_{count}") }
}

impl FileHasher for NoFiles {
    fn files(&self) -> Result<Arc<[String]>, String> {
        Err("`hashFiles` cannot be used here".into())
    }

    fn sha256(&self, _: &str) -> Result<Option<[u8; 32]>, String> {
        Err("`hashFiles` cannot be used here".into())
    }
}
