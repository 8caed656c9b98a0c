//! Repositories that cannot be cloned.

use forgehand::emulator::{Endpoint, FaultAction, FaultRule};
use serde_json::{Value, json};

use super::house::House;

fn fetching(git_info: Value) -> Value {
    json!({ "variables": [{ "key": "GIT_DEPTH", "value": "20" }], "git_info": git_info })
}

#[test]
fn a_repository_that_cannot_be_had_ends_the_job_with_git_s_own_words() {
    let mut house = House::quick();
    let base = house.forge.url().trim_start_matches("http://").to_owned();
    let secret = "hunter2-in-the-url";
    let cases = [
        ("missing", json!({ "repo_url": format!("http://gitlab-ci-token:{secret}@{base}/team/gone.git") }), "gone.git"),
        (
            "wrong sha",
            json!({ "sha": "1234567890123456789012345678901234567890" }),
            "1234567890123456789012345678901234567890",
        ),
        ("no sha", json!({ "sha": "not-a-sha" }), "not-a-sha"),
        ("an option", json!({ "sha": "--upload-pack=/bin/true" }), "--upload-pack"),
        ("refspec", json!({ "refspecs": ["+refs/heads/nowhere:refs/remotes/origin/nowhere"] }), "nowhere"),
        ("no url", json!({ "repo_url": "::::" }), "the repository's address"),
        ("a program", json!({ "repo_url": "ext::sh -c touch% /tmp/forgehand-was-here" }), "the repository's address"),
        ("a file", json!({ "repo_url": "file:///etc" }), "the repository's address"),
        (
            "nobody there",
            json!({ "repo_url": format!("http://gitlab-ci-token:{secret}@127.0.0.1:9/a/b.git") }),
            "127.0.0.1",
        ),
    ];
    let jobs: Vec<_> =
        cases.map(|(name, git, said)| (name, house.queue(&["echo never-reached"], fetching(git)), said)).into();
    for (name, id, said) in jobs {
        let ended = house.end(id);
        eprintln!("{name}: {:?}: {}", ended.view.failure_reason, ended.log.text.lines().last().unwrap_or_default());
        assert_eq!(ended.view.state, "failed", "{name}: {}", ended.log.text);
        ended.said(said).kept_quiet_about("$ echo never-reached").kept_quiet_about(secret);
    }
    assert!(!std::path::Path::new("/tmp/forgehand-was-here").exists());
    house.assert_goes_on();
    // The forge complains of the foreign password; that is the case's own.
    house.agent.stop();
    house.agent.assert_nothing_left();
}

#[test]
fn a_git_server_that_refuses_fails_or_hangs_ends_the_job_with_its_status() {
    let mut house = House::quick();
    for code in [401, 403, 404, 500, 503] {
        let rule = house.forge.fail(FaultRule::all(Endpoint::Git, FaultAction::status(code)));
        let ended = house.run(&["echo never-reached"], fetching(json!({})));
        assert_eq!(ended.view.state, "failed", "{code}: {}", ended.log.text);
        ended.kept_quiet_about("$ echo never-reached").kept_quiet_about(&ended.view.token);
        eprintln!("{code}: {:?}: {}", ended.view.failure_reason, ended.log.text.lines().last().unwrap_or_default());
        house.forge.heal(rule);
    }
    for action in [FaultAction::html(), FaultAction::Reset, FaultAction::CutBody] {
        let rule = house.forge.fail(FaultRule::all(Endpoint::Git, action));
        let ended = house.run(&["echo never-reached"], fetching(json!({})));
        assert_eq!(ended.view.state, "failed", "{}", ended.log.text);
        eprintln!("{:?}: {}", ended.view.failure_reason, ended.log.text.lines().last().unwrap_or_default());
        house.forge.heal(rule);
    }
    let hang = house.forge.fail(FaultRule::all(Endpoint::Git, FaultAction::Hang));
    let mut over = fetching(json!({}));
    over["runner_info"] = json!({ "timeout": 5 });
    house.run(&["echo never-reached"], over).failed("job_execution_timeout").said("took longer than 5s");
    house.forge.heal(hang);
    house.run(&["cat README.md >/dev/null || ls", "echo cloned"], fetching(json!({}))).succeeded().said("cloned");
    house.close();
}
