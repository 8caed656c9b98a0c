use super::*;
use crate::emulator::ChecksumPolicy;

#[tokio::test]
async fn a_job_from_request_to_success() {
    let house = House::new(EmulatorOptions { persist_rounds: 1, ..Default::default() }).await;
    let (id, token) = house.running_job(house.script()).await;
    let piece = house.append(id, &token, 0, "one\n").await;
    assert_eq!(
        (piece.status().as_u16(), text(&piece, "range"), text(&piece, "job-status")),
        (202, "0-4".into(), "running".into())
    );
    assert_eq!(house.append(id, &token, 4, "two\n").await.status(), 202);
    let waiting = house.finish(id, &token, "success").await;
    assert_eq!((waiting.status().as_u16(), text(&waiting, "x-gitlab-trace-update-interval")), (202, "1".into()));
    assert_eq!(house.finish(id, &token, "success").await.status(), 200);
    let job = house.forge.job(id).unwrap();
    assert_eq!((job.state, house.forge.log(id)), ("success", b"one\ntwo\n".to_vec()));
    let after = house.finish(id, &token, "success").await;
    assert_eq!((after.status().as_u16(), text(&after, "job-status")), (403, "success".into()));
    assert_eq!(house.rules_broken(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_job_keeps_reason_and_code() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    assert_eq!(house.finish(id, &token, "failed").await.status(), 200);
    let job = house.forge.job(id).unwrap();
    assert_eq!((job.state, job.failure_reason.as_deref(), job.exit_code), ("failed", Some("script_failure"), Some(37)));
}

#[tokio::test]
async fn the_log_is_appended_only_where_it_ends() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    house.append(id, &token, 0, "12345").await;
    for start in [0, 3, 9] {
        let refused = house.append(id, &token, start, "x").await;
        assert_eq!((refused.status().as_u16(), text(&refused, "range")), (416, "0-5".into()));
    }
    assert_eq!(house.rules_broken(), Vec::<String>::new(), "a resend is no violation");
    let pieces: Vec<u16> = house.forge.job(id).unwrap().pieces.iter().map(|piece| piece.status).collect();
    assert_eq!(pieces, [202, 416, 416, 416]);
}

#[tokio::test]
async fn malformed_pieces_of_log_are_refused_and_written_down() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    let path = format!("jobs/{id}/trace?debug_trace=false");
    let piece = || house.call(Method::PATCH, &path).header("JOB-TOKEN", &token);
    let no_range = piece().header("Content-Type", "text/plain").body("x").send().await.unwrap();
    assert_eq!(no_range.status(), 400);
    let json = piece()
        .header("Content-Type", "application/json")
        .header("Content-Range", "0-0")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(json.status(), 415);
    assert_eq!(house.append(id, &token, 0, "").await.status(), 400);
    let odd =
        piece().header("Content-Type", "text/plain").header("Content-Range", "0-7").body("x").send().await.unwrap();
    assert_eq!(odd.status(), 202, "the real server takes the body's length");
    let broken = house.rules_broken();
    for rule in
        ["no `Content-Range`", "not `application/json`", "without any bytes", "`Content-Range: 0-7` with 1 bytes"]
    {
        assert!(broken.iter().any(|seen| seen.contains(rule)), "{rule}: {broken:?}");
    }
}

#[tokio::test]
async fn only_the_jobs_own_token_opens_it() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    assert_eq!(house.append(id, "glcbt-other", 0, "x").await.status(), 403);
    assert_eq!(house.append(id + 1, &token, 0, "x").await.status(), 404);
    let body = json!({ "token": "glcbt-other", "state": "running", "info": info(), "output": {} });
    let mixed =
        house.call(Method::PUT, &format!("jobs/{id}")).header("JOB-TOKEN", &token).json(&body).send().await.unwrap();
    assert_eq!(mixed.status(), 403);
    assert_eq!(house.update(id, &token, json!({ "state": "sleeping" })).await.status(), 400);
}

#[tokio::test]
async fn a_wrong_checksum_is_written_down_or_refused() {
    let house = House::new(EmulatorOptions { checksum: ChecksumPolicy::Refuse, ..Default::default() }).await;
    let (id, token) = house.running_job(house.script()).await;
    house.append(id, &token, 0, "one\n").await;
    let wrong = json!({ "state": "success", "output": { "checksum": "crc32:00000000", "bytesize": 4 } });
    assert_eq!(house.update(id, &token, wrong.clone()).await.status(), 412);
    assert_eq!(house.append(id, &token, 0, "one\n").await.status(), 202, "the whole log is taken again");
    house.forge.set_options(|options| options.checksum = ChecksumPolicy::Record);
    assert_eq!(house.update(id, &token, wrong).await.status(), 200);
    assert!(house.rules_broken().iter().any(|rule| rule.contains("the checksum is crc32:00000000")));
}

#[tokio::test]
async fn a_cancelled_job_is_told_and_ends_cancelled() {
    let house = House::new(EmulatorOptions::default()).await;
    let spec = JobSpec { cancel_on: Some("please-cancel".to_owned()), ..house.script() };
    let (id, token) = house.running_job(spec).await;
    let told = house.append(id, &token, 0, "please-cancel\n").await;
    assert_eq!(text(&told, "job-status"), "canceling");
    assert_eq!(house.append(id, &token, 14, "after\n").await.status(), 202);
    assert_eq!(house.finish(id, &token, "failed").await.status(), 200);
    let job = house.forge.job(id).unwrap();
    assert_eq!((job.state, job.failure_reason), ("canceled", None));
}

#[tokio::test]
async fn a_job_cancelled_by_force_is_over_at_once() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    assert!(house.forge.force_cancel(id));
    let told = house.append(id, &token, 0, "x").await;
    assert_eq!((told.status().as_u16(), text(&told, "job-status")), (403, "canceled".into()));
}

#[tokio::test]
async fn a_log_over_the_limit_drops_the_job() {
    let house = House::new(EmulatorOptions { trace_limit: 5, ..Default::default() }).await;
    let (id, token) = house.running_job(house.script()).await;
    assert_eq!(house.append(id, &token, 0, "123456").await.status(), 403);
    assert_eq!(house.forge.job(id).unwrap().failure_reason.as_deref(), Some("trace_size_exceeded"));
}

#[tokio::test]
async fn two_phase_commit_waits_for_the_runner() {
    let house = House::new(EmulatorOptions { two_phase_commit: true, ..Default::default() }).await;
    let id = house.forge.queue(house.script()).unwrap();
    let mut info = info();
    info["features"]["two_phase_job_commit"] = json!(true);
    let body = json!({ "token": house.token, "system_id": "s_0123456789ab", "info": info });
    let job: Value = house.runner_call(Method::POST, "jobs/request", body).await.json().await.unwrap();
    let token = job["token"].as_str().unwrap();
    assert_eq!(house.forge.job(id).unwrap().state, "waiting_for_runner_ack");
    assert_eq!(house.append(id, token, 0, "x").await.status(), 403, "no log before the job is accepted");
    assert_eq!(house.update(id, token, json!({ "state": "pending" })).await.status(), 200);
    assert_eq!(house.update(id, token, json!({ "state": "success" })).await.status(), 400);
    assert_eq!(house.update(id, token, json!({ "state": "running" })).await.status(), 200);
    assert_eq!(house.update(id, token, json!({ "state": "pending" })).await.status(), 409);
    assert_eq!(house.forge.job(id).unwrap().state, "running");
}

#[tokio::test]
async fn a_job_can_be_delivered_twice() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, _) = house.running_job(house.script()).await;
    house.forge.redeliver(id);
    let again: Value = house.poll("").await.json().await.unwrap();
    assert_eq!(again, house.forge.response(id));
    assert_eq!(house.forge.job(id).unwrap().deliveries, 2);
}

#[tokio::test]
async fn an_overlay_is_merged_as_the_job_cases_want_it() {
    let house = House::new(EmulatorOptions::default()).await;
    let first = house.forge.queue(JobSpec::script(house.project, "a", &["true"])).unwrap();
    let overlay = json!({ "variables": [{ "key": "A", "value": "1" }], "git_info": { "depth": 0 }, "dependencies": ["a"],
        "image": { "name": "x:1" }, "steps": [{ "name": "script", "script": ["b"] }] });
    let id =
        house.forge.queue(JobSpec { runner_variables: false, ..JobSpec::new(house.project, "b", overlay) }).unwrap();
    house.poll("").await;
    let job: Value = house.poll("").await.json().await.unwrap();
    assert_eq!(job["id"], json!(id));
    assert_eq!(job["dependencies"], json!([{ "id": first, "name": "a", "token": job["token"] }]));
    assert_eq!((&job["git_info"]["depth"], &job["git_info"]["ref"]), (&json!(0), &json!("main")));
    let variables = job["variables"].as_array().unwrap();
    assert_eq!(variables.last().unwrap()["key"], "A");
    assert!(variables.iter().all(|variable| variable["key"] != "CI_RUNNER_ID"));
    let token = variables.iter().find(|variable| variable["key"] == "CI_JOB_TOKEN").unwrap();
    assert_eq!((&token["value"], &token["masked"]), (&job["token"], &json!(true)));
}
