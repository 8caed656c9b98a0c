use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_runner_is_verified_by_its_token_and_remembered_by_its_machine() {
    let house = House::new(EmulatorOptions::default()).await;
    let body = json!({ "token": house.token, "system_id": "r_0123456789AB", "info": info() });
    let answer = house.runner_call(Method::POST, "runners/verify", body).await;
    assert_eq!(answer.status(), 200);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told, json!({ "id": house.runner, "token": house.token, "token_expires_at": null }));
    assert_eq!(house.forge.managers(house.runner)[0].0, "r_0123456789AB");
    let body = json!({ "token": "glrt-wrong", "system_id": "r_0123456789AB", "info": info() });
    assert_eq!(house.runner_call(Method::POST, "runners/verify", body).await.status(), 403);
    assert_eq!(house.rules_broken(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_in_the_body_only_is_refused() {
    let house = House::new(EmulatorOptions::default()).await;
    let body = json!({ "token": house.token, "info": info() });
    let answer = house.call(Method::POST, "runners/verify").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(house.rules_broken()[0].contains("RUNNER-TOKEN"), "{:?}", house.rules_broken());
}

#[tokio::test]
async fn registration_tokens_make_runners_unless_they_are_switched_off() {
    let house = House::new(EmulatorOptions::default()).await;
    let token = EmulatorOptions::default().registration_token.unwrap();
    let body = json!({ "token": token, "info": info(), "description": "old", "tag_list": "a, b", "run_untagged": true,
        "locked": true, "paused": false });
    let answer = house.runner_call(Method::POST, "runners", body.clone()).await;
    assert_eq!(answer.status(), 201);
    let told: Value = answer.json().await.unwrap();
    assert!(told["token"].as_str().unwrap().starts_with("glrtr-"));
    let mut picky = body.clone();
    (picky["tag_list"], picky["run_untagged"]) = (json!(""), json!(false));
    assert_eq!(house.runner_call(Method::POST, "runners", picky).await.status(), 400);
    house.forge.set_options(|options| options.registration_token = None);
    assert_eq!(house.runner_call(Method::POST, "runners", body).await.status(), 410);
}

#[tokio::test]
async fn a_reset_token_replaces_the_old_one_and_expires() {
    let house =
        House::new(EmulatorOptions { runner_token_lifetime: Some(Duration::from_secs(3600)), ..Default::default() })
            .await;
    let path = "runners/reset_authentication_token";
    let answer = house.runner_call(Method::POST, path, json!({ "token": house.token })).await;
    assert_eq!(answer.status(), 201);
    let told: Value = answer.json().await.unwrap();
    assert!(told["token_expires_at"].is_string());
    assert_eq!(house.runner_call(Method::POST, path, json!({ "token": house.token })).await.status(), 403);
    let by_id = format!("runners/{}/reset_authentication_token", house.runner);
    let answer =
        house.call(Method::POST, &by_id).header("PRIVATE-TOKEN", "glpat-emulator-administrator").send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn managers_and_runners_can_be_unregistered() {
    let house = House::new(EmulatorOptions::default()).await;
    let body = json!({ "token": house.token, "system_id": "s_0123456789ab", "info": info() });
    assert_eq!(house.runner_call(Method::DELETE, "runners/managers", body.clone()).await.status(), 404);
    house.runner_call(Method::POST, "runners/verify", body.clone()).await;
    assert_eq!(house.runner_call(Method::DELETE, "runners/managers", body.clone()).await.status(), 204);
    assert_eq!(house.runner_call(Method::DELETE, "runners", body.clone()).await.status(), 204);
    assert_eq!(house.runner_call(Method::DELETE, "runners", body).await.status(), 403);
}

#[tokio::test]
async fn polls_follow_the_queue_value() {
    let house = House::new(EmulatorOptions::default()).await;
    let nothing = house.poll("").await;
    assert_eq!(nothing.status(), 204);
    let value = text(&nothing, "x-gitlab-last-update");
    assert_eq!(house.poll(&value).await.status(), 204);
    let id = house.forge.queue(house.script()).unwrap();
    let job = house.poll(&value).await;
    assert_eq!(job.status(), 201);
    assert_eq!(text(&job, "x-gitlab-last-update"), "", "a job comes without a new value");
    assert_eq!(job.json::<Value>().await.unwrap()["id"], json!(id));
    assert_eq!(house.rules_broken(), Vec::<String>::new());
}

#[tokio::test]
async fn a_held_poll_ends_when_a_job_is_queued_but_does_not_bring_it() {
    let house = House::new(EmulatorOptions { long_poll: Some(Duration::from_secs(60)), ..Default::default() }).await;
    let first = house.poll("").await;
    let value = text(&first, "x-gitlab-last-update");
    assert_eq!(text(&first, "gitlab-ci-builds-polling"), "yes");
    let (held, _) = tokio::join!(house.poll(&value), async {
        house.forge.wait_for(Duration::from_secs(20), |forge| (forge.requests().len() == 2).then_some(())).await;
        house.forge.queue(house.script()).unwrap();
    });
    assert_eq!(held.status(), 204);
    assert_eq!(text(&held, "x-gitlab-last-update"), "");
    assert_eq!(house.poll(&value).await.status(), 201);
}

#[tokio::test]
async fn a_request_larger_than_the_server_reads_is_refused() {
    let house = House::new(EmulatorOptions::default()).await;
    let body = json!({ "token": house.token, "info": info(), "padding": "x".repeat(40_000) });
    assert_eq!(house.runner_call(Method::POST, "jobs/request", body).await.status(), 413);
}

#[tokio::test]
async fn a_paused_runner_gets_nothing_and_another_projects_runner_neither() {
    let house = House::new(EmulatorOptions::default()).await;
    house.forge.queue(house.script()).unwrap();
    house.forge.pause_runner(house.runner, true);
    assert_eq!(house.poll("").await.status(), 204);
    house.forge.pause_runner(house.runner, false);
    assert_eq!(house.poll("").await.status(), 201);
    let (_, other) = house.forge.add_runner(RunnerSpec { projects: vec![1], ..RunnerSpec::default() });
    house.forge.queue(house.script()).unwrap();
    let body = json!({ "token": other, "system_id": "s_0123456789ab", "info": info() });
    assert_eq!(house.runner_call(Method::POST, "jobs/request", body).await.status(), 204);
}
