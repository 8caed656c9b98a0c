//! What the forge puts into its contexts.

use super::names::Finding;
use crate::parser::diagnostics::did_you_mean;
use crate::parser::github::codes;
use crate::parser::github::contexts::github;

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
    let contexts: [(&str, &[&str], &[&str]); 4] = [
        ("github", &github::EXPORTED, &github::NOT_EXPORTED),
        ("runner", &RUNNER, &[]),
        ("job", &JOB, &[]),
        ("strategy", &STRATEGY, &[]),
    ];
    let (context, some, more) = contexts.into_iter().find(|(name, ..)| context.eq_ignore_ascii_case(name))?;
    let known = || some.iter().chain(more).copied();
    if known().any(|name| name.eq_ignore_ascii_case(key)) {
        return None;
    }
    let help = did_you_mean(key, known()).unwrap_or_else(|| match context {
        "github" => {
            "the payload of the event is below `github.event`; docs.github.com lists the members of `github`".to_owned()
        }
        _ => format!("it has {}", known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    });
    Some((codes::UNKNOWN_NAME, format!("`{context}.{key}` is always empty: `{context}` has no `{key}`"), Some(help)))
}
