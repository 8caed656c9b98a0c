//! The variables of one job, made when the job is about to run.
//!
//! Source: gitlabhq `app/models/ci/build.rb` and `lib/gitlab/ci/variables/builder.rb`.

use super::create::{CreatedJob, Pipeline, variables};
use super::predefined::slug;
use super::response::JobFacts;
use super::scope::group_name;
use super::variables::{Collection, Variable};
use crate::parser::gitlab::config::model::{Environment, Job, When};

/// All variables of a job in the server's order, later ones stronger, not expanded yet.
pub fn of_job(pipeline: &Pipeline, created: &CreatedJob, job: &Job, facts: &JobFacts) -> Collection {
    let mut first = persisted(pipeline, facts);
    first.extend(predefined(created, job));
    with_environment(pipeline, created, job, &mut first);
    first.push(Variable::public("CI_PAGES_URL", pages_url(pipeline)));
    variables(&pipeline.shared, job, created, first, &facts.dotenv)
}

/// All variables of a job that starts a pipeline, in the server's order. `reports`: those of the jobs that it is given.
pub fn of_trigger(pipeline: &Pipeline, created: &CreatedJob, job: &Job, reports: &[Variable]) -> Collection {
    let mut first = of_ids(pipeline);
    first.extend(predefined(created, job));
    with_environment(pipeline, created, job, &mut first);
    variables(&pipeline.shared, job, created, first, reports)
}

fn with_environment(pipeline: &Pipeline, created: &CreatedJob, job: &Job, all: &mut Vec<Variable>) {
    let name = pipeline.scope(created).and_then(|scope| scope.environment());
    if let Some((environment, name)) = job.environment.as_ref().zip(name) {
        of_environment(environment, &name, all);
    }
}

fn of_ids(pipeline: &Pipeline) -> Vec<Variable> {
    let context = &pipeline.context;
    let url = format!("{}/{}/-", context.server.url, context.project.path);
    vec![
        Variable::public("CI_PIPELINE_ID", context.ids.id.to_string()),
        Variable::public("CI_PIPELINE_URL", format!("{url}/pipelines/{}", context.ids.id)),
    ]
}

fn pages_url(pipeline: &Pipeline) -> String {
    let context = &pipeline.context;
    let (root, rest) = context.project.path.split_once('/').unwrap_or((&context.project.path, ""));
    let host = format!("{}.{}", slug(root), context.server.pages_domain);
    if rest == host { format!("https://{host}") } else { format!("https://{host}/{}", rest.to_lowercase()) }
}

fn persisted(pipeline: &Pipeline, facts: &JobFacts) -> Vec<Variable> {
    let context = &pipeline.context;
    let url = format!("{}/{}/-", context.server.url, context.project.path);
    let secret = |key: &'static str| Variable::masked(key, facts.token.as_str());
    let mut list = of_ids(pipeline);
    list.extend([
        Variable::public("CI_JOB_ID", facts.id.to_string()),
        Variable::public("CI_JOB_URL", format!("{url}/jobs/{}", facts.id)),
        secret("CI_JOB_TOKEN"),
        Variable::public("CI_JOB_STARTED_AT", facts.started_at.as_str()),
        Variable::public("CI_JOB_STARTED_AT_SLUG", slug(&facts.started_at)),
        Variable::public("CI_REGISTRY_USER", "gitlab-ci-token"),
        secret("CI_REGISTRY_PASSWORD"),
        Variable { public: false, ..Variable::public("CI_REPOSITORY_URL", facts.repo_url.as_str()) },
        Variable::public("CI_DEPENDENCY_PROXY_USER", "gitlab-ci-token"),
        secret("CI_DEPENDENCY_PROXY_PASSWORD"),
    ]);
    list
}

fn predefined(created: &CreatedJob, job: &Job) -> Vec<Variable> {
    let mut list = vec![
        Variable::public("CI_JOB_NAME", created.name.clone()),
        Variable::public("CI_JOB_NAME_SLUG", slug(&created.name)),
        Variable::public("CI_JOB_GROUP_NAME", group_name(&created.name)),
        Variable::public("CI_JOB_STAGE", job.stage.value.clone()),
    ];
    if matches!(created.when, When::Manual | When::Delayed) {
        list.push(Variable::public("CI_JOB_MANUAL", "true"));
    }
    if let Some(instance) = &created.instance {
        list.push(Variable::public("CI_NODE_INDEX", instance.index.to_string()));
    }
    let total = created.instance.as_ref().map_or(1, |instance| instance.total);
    list.push(Variable::public("CI_NODE_TOTAL", total.to_string()));
    if let Some(image) = &job.image {
        list.push(Variable::public("CI_JOB_IMAGE", image.name.value.clone()));
    }
    list
}

fn of_environment(environment: &Environment, name: &str, all: &mut Vec<Variable>) {
    let tier = environment.deployment_tier.as_deref().unwrap_or_else(|| tier(name));
    all.push(Variable::public("CI_ENVIRONMENT_NAME", name));
    all.push(Variable::public("CI_ENVIRONMENT_ACTION", environment.action.clone()));
    all.push(Variable::public("CI_ENVIRONMENT_TIER", tier));
    all.push(Variable::public("CI_ENVIRONMENT_ID", "1"));
    all.push(Variable::public("CI_ENVIRONMENT_SLUG", environment_slug(name)));
    if let Some(url) = &environment.url {
        all.push(Variable::public("CI_ENVIRONMENT_URL", url.clone()));
    }
}

/// The tier that a name tells (gitlabhq `app/models/environment.rb`).
fn tier(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["dev", "review", "trunk"]) {
        "development"
    } else if has(&["test", "tst", "int", "acc", "acpt", "qa", "qc", "control", "quality"]) {
        "testing"
    } else if has(&["st", "model", "pre", "demo", "non"]) {
        "staging"
    } else if has(&["pr", "live"]) {
        "production"
    } else {
        "other"
    }
}

/// A name as part of a host name: at most 24 characters, a letter first; with a hash where it had to be changed.
pub(super) fn environment_slug(name: &str) -> String {
    use sha2::Digest;
    let mut slug = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if !(c == '-' && slug.ends_with('-')) {
            slug.push(c);
        }
    }
    if !slug.starts_with(|c: char| c.is_ascii_lowercase()) {
        slug.insert_str(0, "env-");
    }
    if slug.len() <= 24 && slug == name {
        return slug.trim_end_matches('-').to_owned();
    }
    slug.truncate(17);
    if !slug.ends_with('-') {
        slug.push('-');
    }
    // The server takes six base-36 digits of the digest, read as a number.
    let digest = sha2::Sha256::digest(name.as_bytes());
    let suffix = base36(&digest);
    let tail = suffix.get(suffix.len().saturating_sub(6)..).unwrap_or(&suffix);
    slug + tail
}

/// The last digits in base 36 of a big number.
fn base36(number: &[u8]) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = String::new();
    let mut number = number.to_vec();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            // Below 36, so the quotient is below 256.
            *byte = (value / 36) as u8;
            rest = value % 36;
        }
        digits.insert(0, DIGITS.get(rest as usize).copied().map_or('0', char::from));
    }
    digits
}
