//! The `github` context.
//!
//! Source: GitHub's documentation of contexts, actions/runner `GitHubContext.cs` for what becomes `GITHUB_*`.

use std::sync::Arc;

use crate::parser::expression::Value;
use crate::parser::github::events::RunFacts;
use crate::parser::github::events::payload::{base_branch, ref_type, short_ref};

/// Keys and values of a context.
pub type Entries = Vec<(Arc<str>, Value)>;

/// What all jobs of a run see.
pub(super) fn of_run(facts: &RunFacts, event: &Value, workflow: &str, file: &str, token: &str) -> Entries {
    let is_pull = facts.event.starts_with("pull_request");
    let (owner, _) = facts.repository.split_once('/').unwrap_or(("", &facts.repository));
    let number = event.as_object().and_then(|event| event.get("number")).map(|number| number.to_text());
    let git_ref = match (is_pull && facts.event != "pull_request_target", number) {
        (true, Some(number)) => format!("refs/pull/{number}/merge"),
        // It runs with the base's powers, from the default branch whatever branch is proposed.
        (false, _) if is_pull => format!("refs/heads/{}", facts.default_branch),
        _ => facts.git_ref.clone(),
    };
    let (head, base) = if is_pull { (short_ref(&facts.git_ref), base_branch(facts)) } else { ("", "") };
    let server = facts.server_url.trim_end_matches('/');
    let api = api_url(server);
    let is_protected = git_ref == format!("refs/heads/{}", facts.default_branch);
    let text = |text: &str| Value::text(text);
    [
        ("actor", text(&facts.actor)),
        ("actor_id", text("1")),
        ("api_url", text(&api)),
        ("base_ref", text(base)),
        ("event", event.clone()),
        ("event_name", text(&facts.event)),
        ("graphql_url", text(&format!("{api}/graphql"))),
        ("head_ref", text(head)),
        ("ref", text(&git_ref)),
        ("ref_name", text(short_ref(&git_ref))),
        ("ref_protected", Value::Bool(is_protected)),
        ("ref_type", text(ref_type(&git_ref))),
        ("repository", text(&facts.repository)),
        ("repository_id", text("1")),
        ("repository_owner", text(owner)),
        ("repository_owner_id", text("1")),
        ("repositoryUrl", text(&format!("git://{}/{}.git", host(server), facts.repository))),
        ("retention_days", text("90")),
        ("run_attempt", text("1")),
        ("run_id", text(&facts.run_id.max(1).to_string())),
        ("run_number", text(&facts.run_number.max(1).to_string())),
        ("secret_source", text("Actions")),
        ("server_url", text(server)),
        ("sha", text(&facts.sha)),
        ("token", text(token)),
        ("triggering_actor", text(&facts.actor)),
        ("workflow", text(workflow)),
        ("workflow_ref", text(&format!("{}/{file}@{git_ref}", facts.repository))),
        ("workflow_sha", text(&facts.sha)),
    ]
    .into_iter()
    .map(|(key, value)| (Arc::from(key), value))
    .collect()
}

fn host(server: &str) -> &str {
    server.split_once("://").map_or(server, |(_, host)| host)
}

/// The API of a server: GitHub's own has a host of its own, others a path.
fn api_url(server: &str) -> String {
    match server {
        "" => String::new(),
        "https://github.com" => "https://api.github.com".to_owned(),
        other => format!("{other}/api/v3"),
    }
}

/// Keys of the context that become `GITHUB_*` variables.
pub const EXPORTED: [&str; 30] = [
    "action",
    "actor",
    "actor_id",
    "api_url",
    "base_ref",
    "event_name",
    "event_path",
    "graphql_url",
    "head_ref",
    "job",
    "ref",
    "ref_name",
    "ref_protected",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "retention_days",
    "run_attempt",
    "run_id",
    "run_number",
    "server_url",
    "sha",
    "step_summary",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "workspace",
];

/// Its other keys.
pub const NOT_EXPORTED: [&str; 15] = [
    "action_path",
    "action_ref",
    "action_repository",
    "action_status",
    "artifact_cache_size_limit",
    "env",
    "event",
    "job_workflow_sha",
    "output",
    "path",
    "repository_visibility",
    "repositoryUrl",
    "secret_source",
    "state",
    "token",
];
