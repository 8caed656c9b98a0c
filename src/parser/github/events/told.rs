//! What a given payload says of the run: the ref, the branches, who did it, the inputs. It is what happened, so that the checkout's
//! own facts step back.

use serde_json::Value;

use super::facts::RunFacts;

/// The facts as the payload that they hold has them.
///
/// # Errors
/// The payload is not a JSON object.
pub fn told(mut facts: RunFacts) -> Result<RunFacts, String> {
    let Some(text) = &facts.payload else { return Ok(facts) };
    let payload: Value =
        serde_json::from_str(text).map_err(|error| format!("the event's payload is not JSON: {error}"))?;
    if !payload.is_object() {
        return Err("the event's payload must be a JSON object".into());
    }
    let says = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    set(&mut facts.repository, says("/repository/full_name"));
    set(&mut facts.default_branch, says("/repository/default_branch"));
    set(&mut facts.actor, says("/sender/login"));
    match facts.event.as_str() {
        "push" => {
            set(&mut facts.git_ref, says("/ref"));
            set(&mut facts.sha, says("/after").filter(|sha| !is_none(sha)));
            if let Some(before) = says("/before") {
                facts.before = if is_none(before) { String::new() } else { before.to_owned() };
            }
            if let Some(files) = changed(&payload) {
                facts.changed_files = Some(files);
            }
        }
        "workflow_run" => set(&mut facts.head_branch, says("/workflow_run/head_branch")),
        "merge_group" => {
            set(&mut facts.git_ref, says("/merge_group/head_ref"));
            let base = says("/merge_group/base_ref");
            set(&mut facts.base_branch, base.map(|base| base.strip_prefix("refs/heads/").unwrap_or(base)));
        }
        "create" | "delete" => {
            let folder = if says("/ref_type") == Some("tag") { "tags" } else { "heads" };
            set(&mut facts.git_ref, says("/ref").map(|name| full(name, folder)).as_deref());
        }
        "workflow_dispatch" => set(&mut facts.git_ref, says("/ref").map(|name| full(name, "heads")).as_deref()),
        "release" => set(&mut facts.git_ref, says("/release/tag_name").map(|name| full(name, "tags")).as_deref()),
        event if event.starts_with("pull_request") => {
            set(&mut facts.base_branch, says("/pull_request/base/ref"));
            set(&mut facts.git_ref, says("/pull_request/head/ref").map(|name| full(name, "heads")).as_deref());
        }
        _ => {}
    }
    if matches!(facts.event.as_str(), "workflow_dispatch" | "workflow_call") {
        inputs(&mut facts, payload.get("inputs"));
    }
    Ok(facts)
}

/// The files that the commits of a push changed, where they say so.
fn changed(payload: &Value) -> Option<Vec<String>> {
    let commits = payload.get("commits")?.as_array()?;
    let lists = commits
        .iter()
        .flat_map(|commit| ["added", "modified", "removed"].into_iter().filter_map(|key| commit.get(key)?.as_array()));
    let mut files: Option<Vec<String>> = None;
    for list in lists {
        files.get_or_insert_default().extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    files
}

/// Inputs that were given beside the payload stand.
fn inputs(facts: &mut RunFacts, told: Option<&Value>) {
    for (key, value) in told.and_then(Value::as_object).into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !facts.inputs.iter().any(|(known, _)| known.eq_ignore_ascii_case(key)) {
            facts.inputs.push((key.clone(), text));
        }
    }
}

fn set(fact: &mut String, told: Option<&str>) {
    if let Some(told) = told {
        told.clone_into(fact);
    }
}

fn full(name: &str, folder: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/{folder}/{name}") }
}

/// Whether a commit is none: all zeros.
fn is_none(sha: &str) -> bool {
    sha.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event: &str, payload: &str) -> RunFacts {
        let facts = RunFacts {
            event: event.into(),
            payload: Some(payload.into()),
            git_ref: "refs/heads/main".into(),
            default_branch: "main".into(),
            inputs: vec![("given".into(), "flag".into())],
            ..RunFacts::default()
        };
        told(facts).unwrap()
    }

    #[test]
    fn the_payload_says_what_happened() {
        let pull = of("pull_request", r#"{"pull_request": {"base": {"ref": "dev"}, "head": {"ref": "topic"}}}"#);
        assert_eq!((pull.base_branch.as_str(), pull.git_ref.as_str()), ("dev", "refs/heads/topic"));
        let push =
            of("push", r#"{"ref": "refs/tags/v1", "after": "00", "before": "0000", "sender": {"login": "eve"}}"#);
        assert_eq!((push.git_ref.as_str(), push.sha.as_str(), push.actor.as_str()), ("refs/tags/v1", "", "eve"));
        assert_eq!(of("merge_group", r#"{"merge_group": {"base_ref": "refs/heads/rel"}}"#).base_branch, "rel");
        assert_eq!(of("workflow_run", r#"{"workflow_run": {"head_branch": "x"}}"#).head_branch, "x");
        assert_eq!(of("release", r#"{"release": {"tag_name": "v2"}}"#).git_ref, "refs/tags/v2");
        assert_eq!(of("create", r#"{"ref": "v2", "ref_type": "tag"}"#).git_ref, "refs/tags/v2");
    }

    #[test]
    fn inputs_of_the_command_line_stand() {
        let facts = of("workflow_dispatch", r#"{"inputs": {"s": "x", "b": true, "n": 1.5, "z": null, "given": "y"}}"#);
        let pairs: Vec<(&str, &str)> = facts.inputs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("given", "flag"), ("s", "x"), ("b", "true"), ("n", "1.5")]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let facts = |text: &str| RunFacts { payload: Some(text.into()), ..RunFacts::default() };
        assert!(told(facts("[]")).unwrap_err().contains("object"));
        assert!(told(facts("{")).unwrap_err().contains("not JSON"));
    }
}
