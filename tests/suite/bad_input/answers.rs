//! What a forge can answer to the request for a job, or hand out as one.

use std::time::Duration;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, RecordedRequest};
use serde_json::{Value, json};

use super::house::House;

fn answered_with(body: impl Into<Vec<u8>>, code: Option<u16>, media_type: &str) -> FaultAction {
    let body = body.into();
    match code {
        None => FaultAction::Garbage { body, content_type: media_type.to_owned() },
        Some(code) => FaultAction::Status {
            code,
            headers: vec![("Content-Type".to_owned(), media_type.to_owned())],
            body: String::from_utf8(body).expect("a text"),
        },
    }
}

#[test]
fn a_forge_that_answers_nonsense_to_the_request_for_a_job_is_asked_again() {
    let mut house = House::quick();
    let huge = "x".repeat(40 << 20);
    let json = "application/json";
    let answers = [
        ("a page for people", FaultAction::html()),
        ("no JSON", answered_with("{\"id\": 12, \"tok", Some(201), json)),
        ("an empty body", answered_with("", Some(201), json)),
        ("a list", answered_with("[]", Some(201), json)),
        ("null", answered_with("null", Some(201), json)),
        ("no id", answered_with("{\"token\": \"abc\"}", Some(201), json)),
        ("an id below zero", answered_with("{\"id\": -4, \"token\": \"abc\"}", Some(201), json)),
        ("no token", answered_with("{\"id\": 12}", Some(201), json)),
        ("40 MiB", answered_with(huge, Some(201), json)),
        ("deep", answered_with("[".repeat(100_000), Some(201), json)),
        ("bytes", answered_with(vec![0xff, 0, 0x80, b'\n'], None, "application/octet-stream")),
        ("401", FaultAction::status(401)),
        ("403", FaultAction::status(403)),
        ("404", FaultAction::status(404)),
        ("a redirect", FaultAction::status(302)),
        ("418", FaultAction::status(418)),
        ("nothing, cut", FaultAction::Reset),
        ("half an answer", FaultAction::CutBody),
    ];
    for (name, action) in answers {
        let before = spoiled(&house);
        let rule = house.forge.fail(FaultRule::first(1, Endpoint::RequestJob, action));
        let House { forge, agent, .. } = &mut house;
        agent.wait_until(Duration::from_secs(60), name, || {
            (forge.requests().iter().filter(|request| request.faulted).count() > before).then_some(())
        });
        let id = house.queue(&["echo after-the-nonsense"], json!({}));
        house.end(id).succeeded().said("after-the-nonsense");
        house.forge.heal(rule);
    }
    house.close();
}

fn spoiled(house: &House) -> usize {
    house.forge.requests().iter().filter(|request| request.faulted).count()
}

#[test]
fn a_server_in_trouble_is_asked_less_often_and_served_when_it_is_back() {
    let mut house = House::quick();
    let mut rules = Vec::new();
    for (code, headers) in [(500, vec![]), (502, vec![]), (503, vec![]), (429, vec![("Retry-After", "1")])] {
        let headers = headers.into_iter().map(|(name, value): (&str, &str)| (name.to_owned(), value.to_owned()));
        let action = FaultAction::Status { code, headers: headers.collect(), body: String::new() };
        rules.push(house.forge.fail(FaultRule::first(2, Endpoint::RequestJob, action)));
    }
    rules.push(house.forge.fail(FaultRule::first(1, Endpoint::RequestJob, FaultAction::Delay(Duration::from_secs(4)))));
    house.assert_goes_on();
    for rule in rules {
        house.forge.heal(rule);
    }
    house.close();
}

/// A job with something spoiled in it, and what must come of it.
struct Spoiled {
    name: &'static str,
    spoil: fn(&mut Value),
    /// `None`: it succeeds.
    reason: Option<&'static str>,
    said: &'static str,
}

#[test]
fn a_job_with_absurd_values_fails_with_their_names_or_runs() {
    let mut house = House::quick();
    let system = Some("runner_system_failure");
    let configuration = Some("runner_configuration_error");
    let cases = [
        Spoiled { name: "steps-number", spoil: |j| j["steps"] = json!(7), reason: system, said: "cannot be read" },
        Spoiled {
            name: "variables-text",
            spoil: |j| j["variables"] = json!("no"),
            reason: system,
            said: "cannot be read",
        },
        Spoiled { name: "git-text", spoil: |j| j["git_info"] = json!("no"), reason: system, said: "cannot be read" },
        Spoiled {
            name: "script-object",
            spoil: |j| j["steps"][0]["script"] = json!({ "a": "b" }),
            reason: system,
            said: "cannot be read",
        },
        Spoiled {
            name: "run",
            spoil: |j| j["run"] = json!("[{\"name\":\"x\",\"script\":\"echo\"}]"),
            reason: system,
            said: "keyword `run`",
        },
        Spoiled {
            name: "secrets",
            spoil: |j| j["secrets"] = json!({ "DATABASE": { "vault": { "path": "p" } } }),
            reason: system,
            said: "keyword `secrets` (for `DATABASE`)",
        },
        Spoiled {
            name: "when",
            spoil: |j| j["artifacts"] = json!([{ "paths": ["x"], "when": "tomorrow" }]),
            reason: configuration,
            said: "`when: tomorrow`",
        },
        Spoiled {
            name: "nulls",
            spoil: |j| {
                for key in
                    ["services", "artifacts", "cache", "credentials", "dependencies", "hooks", "inputs", "secrets"]
                {
                    j[key] = Value::Null;
                }
            },
            reason: None,
            said: "",
        },
        Spoiled {
            name: "timeout-huge",
            spoil: |j| j["runner_info"]["timeout"] = json!(u64::MAX),
            reason: None,
            said: "",
        },
        Spoiled {
            name: "timeout-negative",
            spoil: |j| j["runner_info"]["timeout"] = json!(-5),
            reason: None,
            said: "",
        },
        Spoiled {
            name: "numbers-as-texts",
            spoil: |j| {
                j["git_info"]["depth"] = json!("20");
                j["job_info"]["project_id"] = json!("12");
            },
            reason: None,
            said: "",
        },
        Spoiled { name: "depth-huge", spoil: |j| j["git_info"]["depth"] = json!(u64::MAX), reason: None, said: "" },
        Spoiled { name: "unknown-keys", spoil: |j| j["quantum"] = json!({ "a": [[[1]]] }), reason: None, said: "" },
        Spoiled {
            name: "many-variables",
            spoil: |j| {
                let many = (0..2000).map(|n| json!({ "key": format!("V{n}"), "value": "x", "public": true }));
                j["variables"].as_array_mut().expect("a list").extend(many);
            },
            reason: None,
            said: "",
        },
        Spoiled {
            name: "odd-variables",
            spoil: |j| {
                let odd = [
                    ("", "empty"),
                    ("A=B", "c"),
                    ("NUL\0", "x"),
                    ("WITH\nLINE", "y"),
                    ("VALUE", "nul\0inside"),
                    ("\u{1f600}", "z"),
                ];
                let odd = odd.iter().map(|(key, value)| json!({ "key": key, "value": value, "public": true }));
                j["variables"].as_array_mut().expect("a list").extend(odd);
            },
            reason: None,
            said: "",
        },
        Spoiled {
            name: "names",
            spoil: |j| {
                j["job_info"]["name"] = json!("../../etc/\u{1b}[31m\n\"'`$(x)\0");
                j["job_info"]["project_full_path"] = json!("../../../../etc");
                j["job_info"]["stage"] = json!("x".repeat(100_000));
            },
            reason: None,
            said: "",
        },
        Spoiled { name: "no-steps", spoil: |j| j["steps"] = json!([]), reason: None, said: "" },
    ];
    let usual = usual(&mut house);
    let mut running = Vec::new();
    for case in cases {
        // An ordinary job's response, spoiled and handed out as another's.
        let mut job = usual.clone();
        let id = house.queue_verbatim(|id, token| {
            job["id"] = json!(id);
            job["token"] = json!(token);
            job["job_info"]["id"] = json!(id);
            (case.spoil)(&mut job);
            job.to_string()
        });
        running.push((case, id));
    }
    for (case, id) in running {
        let ended = house.end(id);
        eprintln!("{}: {:?}", case.name, ended.view.failure_reason); // shown where the test fails
        match case.reason {
            Some(reason) => ended.failed(reason).said(case.said),
            None => ended.succeeded(),
        };
    }
    house.close();
}

/// The response of an ordinary job.
fn usual(house: &mut House) -> Value {
    let id = house.queue(&["echo usual"], json!({}));
    house.end(id).succeeded();
    house.forge.response(id)
}

#[test]
fn the_same_id_with_another_token_is_another_job() {
    let mut house = House::quick();
    let first = house.queue(&["echo first; sleep 3"], json!({}));
    house.wait_for_output(first, "first");
    // The job as it was handed out, and again under the token of another: as after a restored backup of the server.
    let mut copy = house.forge.response(first);
    let second = house.queue_verbatim(|_, token| {
        copy["token"] = json!(token);
        copy["steps"][0]["script"] = json!(["echo second; exit 9"]);
        copy.to_string()
    });
    house.end(first).succeeded().kept_quiet_about("second");
    // The forge knows the second by its own id only, so its runner is refused there. Here it must not be mixed up.
    let House { forge, agent, .. } = &mut house;
    agent.wait_until(Duration::from_secs(60), "the second job is told of", || {
        let told = |r: &RecordedRequest| r.job() == Some(first) && r.status == Some(403);
        forge.requests().iter().any(told).then_some(())
    });
    assert!(house.forge.force_cancel(second));
    house.assert_goes_on();
    house.agent.stop();
    house.agent.assert_nothing_left();
}
