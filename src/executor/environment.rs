//! What the processes of a job find in their environment.

use std::collections::BTreeMap;

use super::script::is_shell_name;
use crate::pipeline::{PipelineJob, Secret};

/// By this file a command hands variables to later scripts of its job.
pub const ENV_FILE: &str = "gitlab_runner_env";

/// What became of the main steps, for the after-step. The runner has one in every job, before those of the job.
const JOB_STATUS: &str = "CI_JOB_STATUS";

/// The environment of a job's steps, and the files it refers to.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Name and value of each variable, once.
    pub variables: BTreeMap<String, Secret>,
    /// Name and content of each file variable.
    pub files: BTreeMap<String, Secret>,
    /// Where `ENV_FILE` lies, as the job sees it.
    pub env_file: String,
    /// The job has a variable of that name, which stands before the runner's own `CI_JOB_STATUS`.
    pub has_own_status: bool,
    /// What was left out and why.
    pub warnings: Vec<String>,
}

/// The environment of `job`. A name that no shell can hold, or a value that no environment can, is left out.
pub fn of(job: &PipelineJob) -> Environment {
    let env_file = format!("{}/{ENV_FILE}", job.dirs.temp);
    let mut environment = Environment { env_file: env_file.clone(), ..Environment::default() };
    for variable in job.variables.iter() {
        let key = &variable.key;
        if !is_shell_name(key) {
            environment.warnings.push(format!(
                "The variable {key:?} is left out: shells know names of letters, digits and underscores only."
            ));
            continue;
        }
        if variable.value.expose().contains('\0') {
            environment.warnings.push(format!("The variable {key:?} is left out: it holds a NUL byte."));
            continue;
        }
        if variable.file {
            environment.files.insert(key.clone(), variable.value.clone());
            environment.variables.insert(key.clone(), Secret::new(job.variables.file_path(key)));
        } else {
            environment.files.remove(key);
            environment.variables.insert(key.clone(), variable.value.clone());
        }
    }
    environment.has_own_status = job.variables.iter().filter(|variable| variable.key == JOB_STATUS).count() > 1;
    environment.variables.insert("GITLAB_ENV".into(), Secret::new(env_file));
    environment
}

impl Environment {
    /// As the shim takes it, with `status` as `CI_JOB_STATUS` unless the job says what that is.
    pub fn for_step(&self, status: &str) -> Vec<(String, Secret)> {
        let mut variables = self.variables.clone();
        if !self.has_own_status {
            variables.insert(JOB_STATUS.into(), Secret::new(status));
        }
        variables.into_iter().collect()
    }

    /// The job's variables alone, for languages that know nothing of `GITLAB_ENV` and `CI_JOB_STATUS`.
    pub fn without_gitlab(&self) -> Vec<(String, Secret)> {
        let mut variables = self.variables.clone();
        variables.remove("GITLAB_ENV");
        variables.into_iter().collect()
    }

    /// As it is for names and paths that are expanded after the scripts: with `status`, what they handed on, and the work
    /// tree as the current folder.
    pub fn after_scripts(&self, status: &str, project: &str, handed_on: Vec<(String, String)>) -> Self {
        let mut variables: BTreeMap<String, Secret> = self.for_step(status).into_iter().collect();
        variables.extend(handed_on.into_iter().map(|(name, value)| (name, Secret::new(value))));
        variables.insert("PWD".into(), Secret::new(project));
        Self { variables, ..self.clone() }
    }

    /// The value of `name`, as a command of the job would see it.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(Secret::expose)
    }
}
