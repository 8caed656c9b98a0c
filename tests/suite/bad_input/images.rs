//! Images that are not there, names that are none, services that do not come up.

use serde_json::{Value, json};

use super::house::{House, several};

#[test]
fn an_image_that_cannot_be_had_ends_the_job_with_its_name() {
    let mut house = House::quick();
    let image = |name: &str| json!({ "image": { "name": name } });
    let cases: [(Value, &str, &str); 7] = [
        // Nobody listens there: no registry is asked outside of this machine.
        (image("127.0.0.1:9/no/such:1"), "*", "127.0.0.1:9/no/such:1"),
        (image("Not A Name!"), "*", "Not A Name!"),
        (image("case/bash:1@sha256:zz"), "*", "case/bash:1@sha256:zz"),
        (image("--privileged"), "*", "--privileged"),
        (image(&"a/".repeat(3000)), "*", "a/a/"),
        (json!({ "image": { "name": "case/bash:1", "entrypoint": ["/no/such/program"] } }), "*", "/no/such/program"),
        (
            json!({ "image": { "name": "case/bash:1", "executor_opts": { "docker": { "user": "nobody-known" } } } }),
            "runner_configuration_error",
            "nobody-known",
        ),
    ];
    let jobs: Vec<_> =
        cases.into_iter().map(|(over, reason, said)| (house.queue(&["true"], over), reason, said)).collect();
    for (id, reason, said) in jobs {
        let ended = house.end(id);
        ended.said(said);
        let seen = ended.view.failure_reason.clone().unwrap_or_default();
        assert!(
            ended.view.state == "failed" && (reason == "*" || reason.split('|').any(|r| r == seen)),
            "{said}: {seen}"
        );
        eprintln!("{said:.40}: {seen}: {}", ended.log.text.lines().last().unwrap_or_default());
    }
    house.close();
}

#[test]
fn a_missing_service_image_ends_the_job_with_its_name() {
    let mut house = House::with(several());
    let missing = house.run(&["echo never"], json!({ "services": [{ "name": "127.0.0.1:9/no/service:1" }] }));
    assert_eq!(missing.view.state, "failed");
    missing.said("127.0.0.1:9/no/service:1").kept_quiet_about("never\n");
    house.close();
}
