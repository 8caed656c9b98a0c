//! On whose behalf a job runs.

use crate::forge::gitlab::wire::JobResponse;
use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

/// The owner of a job.
///
/// A variable can be overridden by what a fork commits, so every occurrence of a name is looked at, not the last: one
/// that names another project makes the job a fork's. Whether a ref is protected comes from the repository's data, on
/// old servers from the first variable of the name, which is the server's own. (3.3)
pub(in crate::forge::gitlab) fn owner(forge: &ForgeInstance, payload: &JobResponse) -> Owner {
    Owner {
        forge: forge.clone(),
        project: ProjectId::new(payload.job_info.project_id.to_string()),
        trust: if is_of_fork(payload) {
            Trust::Fork
        } else if is_protected(payload) {
            Trust::Protected
        } else {
            Trust::Member
        },
    }
}

fn is_of_fork(payload: &JobResponse) -> bool {
    let info = &payload.job_info;
    let id = info.project_id.to_string();
    let mut source_is_known = false;
    for variable in &payload.variables {
        let here = match variable.key.as_str() {
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID" => {
                source_is_known = true;
                &id
            }
            "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH" if !info.project_full_path.is_empty() => &info.project_full_path,
            _ => continue,
        };
        let source = variable.value.expose();
        if !source.is_empty() && !source.eq_ignore_ascii_case(here) {
            return true;
        }
    }
    // A merge request whose source nobody names is not trusted.
    payload.git_info.ref_name.starts_with("refs/merge-requests/") && !source_is_known
}

fn is_protected(payload: &JobResponse) -> bool {
    payload.git_info.protected.unwrap_or_else(|| {
        let first = payload.variables.iter().find(|variable| variable.key == "CI_COMMIT_REF_PROTECTED");
        first.is_some_and(|variable| super::parse_bool(variable.value.expose()) == Some(true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(json: serde_json::Value) -> Trust {
        owner(&ForgeInstance::new("https://g"), &serde_json::from_value(json).unwrap()).trust
    }

    fn variable(key: &str, value: &str) -> serde_json::Value {
        serde_json::json!({"key": key, "value": value})
    }

    #[test]
    fn protected_refs_forks_and_the_rest() {
        let info = serde_json::json!({"project_id": 42, "project_full_path": "a/b"});
        let own = variable("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "42");
        let other = variable("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "43");
        let merge = "refs/merge-requests/1/head";
        for (git, variables, want) in [
            (serde_json::json!({"protected": true}), vec![], Trust::Protected),
            (serde_json::json!({"protected": false}), vec![variable("CI_COMMIT_REF_PROTECTED", "true")], Trust::Member),
            (
                serde_json::json!({"protected": null}),
                vec![variable("CI_COMMIT_REF_PROTECTED", "true")],
                Trust::Protected,
            ),
            (
                serde_json::json!({}),
                vec![variable("CI_COMMIT_REF_PROTECTED", "false"), variable("CI_COMMIT_REF_PROTECTED", "true")],
                Trust::Member,
            ),
            (serde_json::json!({"ref": merge}), vec![own.clone()], Trust::Member),
            (serde_json::json!({"ref": merge, "protected": true}), vec![other.clone()], Trust::Fork),
            // The fork's file says that it is none; the server's own variable stands before it.
            (serde_json::json!({"ref": merge}), vec![other, own], Trust::Fork),
            (serde_json::json!({"ref": merge}), vec![], Trust::Fork),
        ] {
            let json = serde_json::json!({"job_info": info, "git_info": git, "variables": variables});
            assert_eq!(trust(json.clone()), want, "{json}");
        }
    }
}
