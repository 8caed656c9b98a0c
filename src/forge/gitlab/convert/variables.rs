//! The variables of a job. (protocols: GitLab 10.1, 10.2.)

use crate::forge::RunnerFacts;
use crate::forge::gitlab::flags::{self, Flags};
use crate::forge::gitlab::settings::GitLabSettings;
use crate::forge::gitlab::wire::{JobResponse, JobVariable};
use crate::outbound::go_arch;
use crate::pipeline::definition::JobDirs;
use crate::pipeline::{Secret, Variable, Variables};

/// The variables before the folders are known, expanded: enough to find the folders. Says which ones are left out.
pub(super) fn base(
    settings: &GitLabSettings,
    payload: &JobResponse,
    facts: &RunnerFacts,
    flags: &Flags,
    warnings: &mut Vec<String>,
) -> Variables {
    for variable in payload.variables.iter().filter(|variable| !variable.key.is_empty()) {
        if let Some(why) = unfit(variable) {
            warnings.push(format!("the variable {:?} is left out: {why}", variable.key));
        }
    }
    collect(settings, payload, facts, flags, None).expanded()
}

/// All variables of the job, expanded.
pub(super) fn all(
    settings: &GitLabSettings,
    payload: &JobResponse,
    facts: &RunnerFacts,
    flags: &Flags,
    dirs: &JobDirs,
) -> Variables {
    collect(settings, payload, facts, flags, Some(dirs)).expanded()
}

fn collect(
    settings: &GitLabSettings,
    payload: &JobResponse,
    facts: &RunnerFacts,
    flags: &Flags,
    dirs: Option<&JobDirs>,
) -> Variables {
    let mut all = Variables::new(Vec::new(), dirs.map(|dirs| dirs.temp.clone()));
    for (name, value) in flags.iter() {
        all.push(Variable::plain(name, value.to_string()));
    }
    if !payload.image.name.is_empty() {
        all.push(expandable("CI_JOB_IMAGE", &payload.image.name));
    }
    all.push(Variable::plain("CI_RUNNER_SHORT_TOKEN", settings.short_token()));
    if let Some(tools) = dirs.and_then(|dirs| dirs.tool_cache.as_deref()) {
        all.push(Variable::plain("RUNNER_TOOL_CACHE", tools));
    }
    for (name, value) in &settings.proxy_environment {
        all.push(Variable { value: value.clone(), ..Variable::plain(name, "") }); // its password is masked by `log`
    }
    for (name, value) in &settings.environment {
        all.push(expandable(name, value));
    }
    all.push(Variable::plain("CI_BUILDS_DIR", &facts.builds_dir));
    if let Some(dirs) = dirs {
        all.push(Variable::plain("CI_PROJECT_DIR", &dirs.project));
    }
    all.push(Variable::plain("CI_CONCURRENT_ID", facts.concurrent_id.to_string()));
    all.push(Variable::plain("CI_CONCURRENT_PROJECT_ID", facts.concurrent_project_id.to_string()));
    all.push(Variable::plain("CI_SERVER", "yes"));
    all.push(Variable::plain("CI_JOB_STATUS", "running"));
    all.push(Variable::plain("CI_JOB_TIMEOUT", super::timeouts::job_timeout(payload).as_secs().to_string()));
    if let Some(pem) = &settings.ca_pem {
        all.push(Variable { file: true, ..Variable::plain("CI_SERVER_TLS_CA_FILE", pem) });
    }
    for variable in payload.variables.iter().filter(|v| unfit(v).is_none() && !flags::is_flag(&v.key)) {
        all.push(from_wire(variable));
    }
    let place = if facts.shared_environment { "CI_SHARED_ENVIRONMENT" } else { "CI_DISPOSABLE_ENVIRONMENT" };
    all.push(Variable::plain(place, "true"));
    all.push(Variable::plain("CI_RUNNER_VERSION", crate::VERSION));
    all.push(Variable::plain("CI_RUNNER_REVISION", crate::VERSION));
    all.push(Variable::plain("CI_RUNNER_EXECUTABLE_ARCH", format!("{}/{}", std::env::consts::OS, go_arch())));
    if let Some(dirs) = dirs {
        all.push(Variable::plain("RUNNER_TEMP_PROJECT_DIR", &dirs.temp));
    }
    all
}

/// A variable as the server sent it.
pub(super) fn from_wire(variable: &JobVariable) -> Variable {
    Variable {
        key: variable.key.clone(),
        value: variable.value.clone(),
        public: variable.public,
        masked: variable.masked,
        file: variable.file,
        raw: variable.raw,
    }
}

fn expandable(name: &str, value: &str) -> Variable {
    Variable { value: Secret::new(value), raw: false, ..Variable::plain(name, "") }
}

/// Why no process can be given the variable.
pub(super) fn unfit(variable: &JobVariable) -> Option<&'static str> {
    let mut characters = variable.key.chars();
    let starts_well = characters.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    if !starts_well || !characters.all(|c| c == '_' || c.is_ascii_alphanumeric()) {
        return Some("a shell cannot hold a variable of this name");
    }
    variable.value.expose().contains('\0').then_some("its value holds a zero byte")
}
