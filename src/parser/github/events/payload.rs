//! What an event brings: `github.event`, made from the facts of the checkout where no payload is given.

use serde_json::{Map, Value, json};

use super::facts::RunFacts;
use super::start::Start;
use crate::parser::expression::Object;

/// The payload of the run. What `--event-path` gives stands; what it lacks of the event's usual parts is added.
///
/// The facts are those that the payload itself [tells](super::told()).
///
/// # Errors
/// The payload that was given is not a JSON object.
pub fn payload(facts: &RunFacts, start: &Start) -> Result<Value, String> {
    let mut made = made(facts, start);
    if let Some(text) = &facts.payload {
        let mut given: Value =
            serde_json::from_str(text).map_err(|error| format!("the event's payload is not JSON: {error}"))?;
        let Some(keys) = given.as_object_mut() else {
            return Err("the event's payload must be a JSON object".into());
        };
        if facts.event == "workflow_dispatch" {
            // They are made of the given ones.
            keys.remove("inputs");
        }
        number(keys);
        overlay(&mut made, given, 0);
    }
    Ok(made)
}

/// A pull request's number stands at two places.
fn number(given: &mut Map<String, Value>) {
    let inner = given.get("pull_request").and_then(|pull| pull.get("number")).cloned();
    match (given.get("number").cloned(), inner, given.get_mut("pull_request")) {
        (None, Some(number), _) => {
            given.insert("number".into(), number);
        }
        (Some(number), None, Some(Value::Object(pull))) => {
            pull.insert("number".into(), number);
        }
        _ => {}
    }
}

/// The deepest that objects are laid over each other; below, the given one replaces.
const OVERLAY_DEPTH: u32 = 4;

fn overlay(base: &mut Value, over: Value, depth: u32) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if depth < OVERLAY_DEPTH => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(known) => overlay(known, value, depth + 1),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn made(facts: &RunFacts, start: &Start) -> Value {
    let mut event = Map::new();
    if let Some(action) = &start.action {
        event.insert("action".into(), action.as_str().into());
    }
    match facts.event.as_str() {
        "push" => push(&mut event, facts),
        "pull_request" | "pull_request_target" | "pull_request_review" | "pull_request_review_comment" => {
            event.insert("number".into(), PULL_REQUEST.into());
            event.insert("pull_request".into(), pull_request(facts));
        }
        "merge_group" => {
            let branch = format!("refs/heads/{}", base_branch(facts));
            event.insert(
                "merge_group".into(),
                json!({"head_sha": facts.sha, "head_ref": facts.git_ref, "base_ref": branch, "base_sha": facts.before}),
            );
        }
        "schedule" => {
            event.insert("schedule".into(), start.schedule.as_deref().unwrap_or_default().into());
        }
        "workflow_dispatch" => {
            // Here all are texts; the context of their name has the types.
            let inputs = start.inputs.as_object().map(Object::entries).unwrap_or_default().iter();
            let inputs: Map<String, Value> =
                inputs.map(|(key, value)| (key.to_string(), value.to_text().to_string().into())).collect();
            event.insert("inputs".into(), if inputs.is_empty() { Value::Null } else { inputs.into() });
            event.insert("ref".into(), facts.git_ref.as_str().into());
        }
        "repository_dispatch" => {
            event.insert("branch".into(), facts.default_branch.as_str().into());
            event.insert("client_payload".into(), json!({}));
        }
        "release" => {
            let tag = facts.git_ref.strip_prefix("refs/tags/").unwrap_or_default();
            event.insert(
                "release".into(),
                json!({"tag_name": tag, "name": tag, "draft": false, "prerelease": false,
                       "target_commitish": facts.default_branch, "author": user(&facts.actor)}),
            );
        }
        "create" | "delete" => {
            event.insert("ref".into(), short_ref(&facts.git_ref).into());
            event.insert("ref_type".into(), ref_type(&facts.git_ref).into());
        }
        "issues" | "issue_comment" => {
            event.insert("issue".into(), json!({"number": 1, "title": "", "body": "", "state": "open", "labels": [], "user": user(&facts.actor)}));
            if facts.event == "issue_comment" {
                event.insert("comment".into(), json!({"id": 1, "body": "", "user": user(&facts.actor)}));
            }
        }
        _ => {}
    }
    event.insert("repository".into(), repository(facts));
    event.insert("sender".into(), user(&facts.actor));
    event.into()
}

/// The number of a pull request that exists here only.
const PULL_REQUEST: u64 = 1;

/// What `before` is where there is no commit before.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

fn push(event: &mut Map<String, Value>, facts: &RunFacts) {
    let before = if facts.before.is_empty() { NO_COMMIT } else { &facts.before };
    let person = json!({"name": facts.author_name, "email": facts.author_email, "username": facts.actor});
    let commit = json!({
        "id": facts.sha, "message": facts.commit_message, "timestamp": facts.commit_time, "distinct": true,
        "url": format!("{}/{}/commit/{}", facts.server_url, facts.repository, facts.sha),
        "author": person, "committer": person,
    });
    let has_commit = !facts.sha.is_empty();
    event.insert("ref".into(), facts.git_ref.as_str().into());
    event.insert("before".into(), before.into());
    event.insert("after".into(), facts.sha.as_str().into());
    event.insert("base_ref".into(), Value::Null);
    event.insert("created".into(), facts.before.is_empty().into());
    event.insert("deleted".into(), false.into());
    event.insert("forced".into(), false.into());
    event.insert("commits".into(), if has_commit { json!([commit]) } else { json!([]) });
    event.insert("head_commit".into(), if has_commit { commit } else { Value::Null });
    event.insert("pusher".into(), json!({"name": facts.actor, "email": facts.author_email}));
}

fn pull_request(facts: &RunFacts) -> Value {
    let repository = repository(facts);
    json!({
        "number": PULL_REQUEST, "state": "open", "draft": false, "merged": false, "labels": [],
        "title": facts.commit_message.lines().next().unwrap_or_default(), "body": "",
        "user": user(&facts.actor),
        "html_url": format!("{}/{}/pull/{PULL_REQUEST}", facts.server_url, facts.repository),
        "head": {"ref": short_ref(&facts.git_ref), "sha": facts.sha, "label": short_ref(&facts.git_ref), "repo": repository},
        "base": {"ref": base_branch(facts), "sha": facts.before, "repo": repository},
    })
}

fn repository(facts: &RunFacts) -> Value {
    let (owner, name) = facts.repository.split_once('/').unwrap_or(("", &facts.repository));
    let url = format!("{}/{}", facts.server_url, facts.repository);
    json!({
        "name": name, "full_name": facts.repository, "owner": {"login": owner, "name": owner},
        "default_branch": facts.default_branch, "html_url": url, "clone_url": format!("{url}.git"),
        "private": false, "fork": false,
    })
}

fn user(login: &str) -> Value {
    json!({"login": login, "type": "User"})
}

/// The branch that a pull request goes into.
pub fn base_branch(facts: &RunFacts) -> &str {
    if facts.base_branch.is_empty() { &facts.default_branch } else { &facts.base_branch }
}

/// A ref without `refs/heads/` and the like.
pub fn short_ref(git_ref: &str) -> &str {
    ["refs/heads/", "refs/tags/", "refs/pull/"]
        .iter()
        .find_map(|prefix| git_ref.strip_prefix(prefix))
        .unwrap_or(git_ref)
}

/// `branch` or `tag`; nothing where there is no ref.
pub fn ref_type(git_ref: &str) -> &'static str {
    match git_ref {
        "" => "",
        tag if tag.starts_with("refs/tags/") => "tag",
        _ => "branch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(event: &str) -> RunFacts {
        RunFacts {
            event: event.into(),
            repository: "o/r".into(),
            git_ref: "refs/heads/topic".into(),
            sha: "abc".into(),
            default_branch: "main".into(),
            actor: "ann".into(),
            commit_message: "Title\n\nBody".into(),
            ..RunFacts::default()
        }
    }

    fn opened() -> Start {
        Start { action: Some("opened".into()), ..Start::default() }
    }

    #[test]
    fn a_push_tells_its_commit() {
        let event = payload(&facts("push"), &Start::default()).unwrap();
        assert_eq!(event["head_commit"]["message"], "Title\n\nBody");
        assert_eq!(event["after"], "abc");
        assert_eq!(event["repository"]["owner"]["login"], "o");
        assert!(event.get("action").is_none());
    }

    #[test]
    fn a_pull_request_goes_into_the_default_branch() {
        let event = payload(&facts("pull_request"), &opened()).unwrap();
        assert_eq!(event["action"], "opened");
        assert_eq!(event["pull_request"]["base"]["ref"], "main");
        assert_eq!(event["pull_request"]["head"]["ref"], "topic");
    }

    #[test]
    fn what_is_given_stands_and_what_it_lacks_is_added() {
        let mut facts = facts("pull_request");
        facts.payload =
            Some(r#"{"pull_request": {"head": {"ref": "x"}, "labels": [1], "number": 7}, "more": 1}"#.into());
        let event = payload(&facts, &opened()).unwrap();
        assert_eq!(event["pull_request"]["head"]["ref"], "x");
        assert_eq!(event["pull_request"]["head"]["sha"], "abc");
        assert_eq!(event["pull_request"]["labels"], json!([1]));
        assert_eq!(event["more"], 1);
        assert_eq!(event["number"], 7);
        facts.payload = Some("[]".into());
        assert!(payload(&facts, &opened()).unwrap_err().contains("object"));
    }
}
