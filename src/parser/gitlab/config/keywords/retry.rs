//! `retry` and `allow_failure`.

use std::sync::Arc;

use super::super::codes;
use super::super::model::{AllowFailure, Retry};
use super::super::place::At;
use super::super::values::{Checker, as_int, is_null, key_text, shown};
use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Node, Schema, Typed};

const MOST: u32 = 2;
/// Why a job may fail, in GitLab's words, and `always`.
const REASONS: [&str; 45] = [
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "missing_dependency_failure",
    "forward_deployment_failure",
    "protected_environment_failure",
    "insufficient_bridge_permissions",
    "downstream_bridge_project_not_found",
    "invalid_bridge_trigger",
    "upstream_bridge_project_not_found",
    "insufficient_upstream_permissions",
    "bridge_pipeline_is_child_pipeline",
    "downstream_pipeline_creation_failed",
    "secrets_provider_not_found",
    "reached_max_descendant_pipelines_depth",
    "reached_max_pipeline_hierarchy_size",
    "reached_downstream_pipeline_trigger_rate_limit",
    "ip_restriction_failure",
    "project_deleted",
    "no_matching_runner",
    "trace_size_exceeded",
    "builds_disabled",
    "environment_creation_failure",
    "deployment_rejected",
    "failed_outdated_deployment_job",
    "user_blocked",
    "ci_quota_exceeded",
    "pipeline_loop_detected",
    "runner_provisioning_timeout",
    "job_token_expired",
    "duo_workflow_not_allowed",
    "runner_interrupted",
    "runner_external_dependency_failure",
    "runner_configuration_error",
    "image_pull_failure",
];

impl Checker<'_> {
    /// `retry`.
    pub fn retry(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Retry>> {
        let mut retry = Retry { max: MOST, when: Vec::new(), exit_codes: Vec::new(), span: node.span };
        match node.typed(Schema::Ruby) {
            Some(Typed::Null) => return None,
            Some(Typed::Int(_)) => retry.max = self.retry_max(node, at)?,
            None if node.as_mapping().is_some() => {
                for entry in node.as_mapping().map(|mapping| mapping.entries()).unwrap_or_default() {
                    let key = key_text(&entry.key);
                    let (below, value) = (at.key(key), &entry.value);
                    match key {
                        "max" if is_null(value) => {}
                        "max" => retry.max = self.retry_max(value, below).unwrap_or(MOST),
                        "when" => {
                            retry.when = self.texts_or_text(value, below).map(|when| when.to_vec()).unwrap_or_default();
                            self.reasons(value, below);
                        }
                        "exit_codes" => retry.exit_codes = self.integers(value, below).unwrap_or_default(),
                        _ => self.unknown_key(entry, at, &["max", "when", "exit_codes"]),
                    }
                }
            }
            _ => {
                self.wrong_type(node, at, "a whole number or a mapping");
                return None;
            }
        }
        Some(Arc::new(retry))
    }

    fn retry_max(&mut self, node: &Node, at: At<'_>) -> Option<u32> {
        let max = as_int(node).and_then(|max| u32::try_from(max).ok()).filter(|max| *max <= MOST);
        if max.is_none() {
            let what = format!("should be a whole number from 0 to {MOST}, not {}", shown(node));
            self.error(codes::WRONG_VALUE, node.span, at, what);
        }
        max
    }

    fn reasons(&mut self, node: &Node, at: At<'_>) {
        for item in node.as_sequence().unwrap_or(std::slice::from_ref(node)) {
            let Some(Typed::Text(text)) = item.typed(Schema::Ruby) else { continue };
            if !REASONS.contains(&text) {
                let help =
                    did_you_mean(text, REASONS).unwrap_or_else(|| format!("mostly used: {}", REASONS[..13].join(", ")));
                let what = format!("has the unknown value `{text}`");
                self.error_help(codes::WRONG_VALUE, item.span, at, what, Some(help));
            }
        }
    }

    /// `allow_failure`; `exit_codes`: whether they may be said.
    pub fn allow_failure(&mut self, node: &Node, at: At<'_>, exit_codes: bool) -> Option<AllowFailure> {
        match node.typed(Schema::Ruby) {
            Some(Typed::Null) => None,
            Some(Typed::Bool(is)) => Some(AllowFailure::Is(is)),
            None if exit_codes && node.as_mapping().is_some() => {
                let mapping = self.mapping_of(node, at, &["exit_codes"])?;
                let codes = mapping.get("exit_codes").and_then(|codes| self.integers(codes, at.key("exit_codes")));
                Some(AllowFailure::ExitCodes(codes.unwrap_or_default().into()))
            }
            _ => {
                let or = if exit_codes { ", or a mapping with `exit_codes`" } else { "" };
                let what = format!("should be true or false{or}, not {}", shown(node));
                self.error(codes::WRONG_TYPE, node.span, at, what);
                None
            }
        }
    }
}
