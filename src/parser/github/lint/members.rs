//! What the forge puts into its contexts.

use super::names::Finding;
use crate::parser::diagnostics::did_you_mean;
use crate::parser::github::codes;

const GITHUB: [&str; 45] = [
    "action",
    "action_path",
    "action_ref",
    "action_repository",
    "action_status",
    "actor",
    "actor_id",
    "api_url",
    "artifact_cache_size_limit",
    "base_ref",
    "env",
    "event",
    "event_name",
    "event_path",
    "graphql_url",
    "head_ref",
    "job",
    "job_workflow_sha",
    "output",
    "path",
    "ref",
    "ref_name",
    "ref_protected",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repository_visibility",
    "repositoryUrl",
    "retention_days",
    "run_attempt",
    "run_id",
    "run_number",
    "secret_source",
    "server_url",
    "sha",
    "state",
    "step_summary",
    "token",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "workspace",
];
const RUNNER: [&str; 8] = ["arch", "debug", "environment", "name", "os", "temp", "tool_cache", "workspace"];
const JOB: [&str; 8] = [
    "check_run_id",
    "container",
    "services",
    "status",
    "workflow_file_path",
    "workflow_ref",
    "workflow_repository",
    "workflow_sha",
];
const STRATEGY: [&str; 4] = ["fail-fast", "job-index", "job-total", "max-parallel"];

/// A member that the forge does not put into a context; nothing where the context is not one of these.
pub(super) fn unknown(context: &str, key: &str) -> Finding {
    let contexts: [(&str, &[&str]); 4] =
        [("github", &GITHUB), ("runner", &RUNNER), ("job", &JOB), ("strategy", &STRATEGY)];
    let (context, known) = contexts.into_iter().find(|(name, _)| context.eq_ignore_ascii_case(name))?;
    if known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
        return None;
    }
    let help = did_you_mean(key, known.iter().copied()).unwrap_or_else(|| match context {
        "github" => {
            "the payload of the event is below `github.event`; docs.github.com lists the members of `github`".to_owned()
        }
        _ => format!("it has {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    });
    Some((codes::UNKNOWN_NAME, format!("`{context}.{key}` is always empty: `{context}` has no `{key}`"), Some(help)))
}
