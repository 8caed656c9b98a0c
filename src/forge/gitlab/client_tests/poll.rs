//! Asking for jobs.

use super::*;

#[tokio::test]
async fn a_job_is_taken_with_the_id_of_its_request() {
    let server = TestServer::start(|_, _| {
        let body: serde_json::Value = serde_json::from_str(JOB).unwrap();
        let headers = [("Content-Type", "application/json; charset=utf-8"), ("X-Request-Id", "from-the-server")];
        Reply::new(201, &headers, &body.to_string())
    })
    .await;
    let Ok(Polled::Job(job)) = poll(&forge(&server)).await else { panic!("no job") };
    assert_eq!((job.name.as_str(), job.project_path.as_str()), ("test:unit", "acme/shop"));
    assert_eq!(job.correlation_id, "from-the-server");
    let request = &server.seen()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/v4/jobs/request"));
    assert_eq!(request.header("runner-token"), Some("glrt-secret"));
    assert_eq!(request.header("x-request-id").unwrap().len(), 32);
    let body = request.json();
    assert_eq!(body["system_id"], "s_c2d22f638c25");
    assert_eq!(body["info"]["features"]["two_phase_job_commit"], true);
    assert!(body.get("last_update").is_none());
}

/// Whether each of so many polls is to be followed by another at once.
async fn asked_again_at_once(forge: &GitLab, times: usize) -> Vec<bool> {
    let mut at_once = Vec::new();
    for _ in 0..times {
        let Ok(Polled::Nothing { pause }) = poll(forge).await else { panic!("an answer without a job") };
        at_once.push(pause.is_zero());
    }
    at_once
}

#[tokio::test]
async fn the_queue_version_is_sent_back_until_another_comes() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::new(204, &[("X-GitLab-Last-Update", "v1")], ""),
        1 => Reply::new(204, &[("X-GitLab-Last-Update", "")], ""),
        2 => Reply::json(409, &json!({"message": "409 Conflict"})),
        3 => Reply::new(204, &[("X-GitLab-Last-Update", "v2")], ""),
        _ => Reply::new(204, &[], ""),
    })
    .await;
    let forge = forge(&server);
    asked_again_at_once(&forge, 5).await;
    let sent: Vec<_> = server.seen().iter().map(|request| request.json()["last_update"].clone()).collect();
    assert_eq!(sent, [json!(null), json!("v1"), json!("v1"), json!("v1"), json!("v2")]);
}

#[tokio::test]
async fn a_server_that_does_not_hold_polls_is_asked_again_at_once_while_its_queue_changes() {
    let server = TestServer::start(move |number, _| {
        let update = if number < 2 { "v1" } else { "v2" };
        Reply::new(204, &[("X-GitLab-Last-Update", update)], "")
    })
    .await;
    assert_eq!(asked_again_at_once(&forge(&server), 5).await, [true, false, true, false, false]);
}

#[tokio::test]
async fn a_server_that_holds_polls_is_asked_again_at_once_unless_it_does_not_hold_them() {
    let holds = ("Gitlab-Ci-Builds-Polling", "yes");
    let server = TestServer::start(move |number, _| match number {
        0 | 1 => Reply::new(204, &[holds, ("X-GitLab-Last-Update", "v1")], ""),
        _ => Reply::new(204, &[holds], ""),
    })
    .await;
    // The second is the queue's own word that nothing has changed; the last two were not held once too often.
    let expected = [true, false, true, true, true, true, true, false, false];
    assert_eq!(asked_again_at_once(&forge(&server), 9).await, expected);
}

#[tokio::test]
async fn a_server_that_says_nothing_of_its_queue_is_asked_at_the_usual_pace() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    assert_eq!(asked_again_at_once(&forge(&server), 3).await, [false, false, false]);
}

#[tokio::test]
async fn a_job_that_another_runner_got_is_followed_by_another_question_at_once() {
    let server = TestServer::start(|_, _| Reply::json(409, &json!({"message": "409 Conflict"}))).await;
    let expected = [true, true, true, true, true, false, false];
    assert_eq!(asked_again_at_once(&forge(&server), 7).await, expected);
}

#[tokio::test]
async fn only_a_refusal_counts_as_one() {
    let server =
        TestServer::start(|number, _| Reply::json([403, 401, 503, 422, 403][number], &json!({"message": "no"}))).await;
    let forge = forge(&server);
    let mut refused = Vec::new();
    for _ in 0..5 {
        refused.push(matches!(poll(&forge).await, Err(PollError::Refused(_))));
    }
    assert_eq!(refused, [true, false, false, false, true]);
    assert_eq!(server.seen().len(), 5, "the poll loop, not the client, asks a busy server again");
}

#[tokio::test]
async fn strange_answers_are_trouble_and_not_the_end() {
    const HTML: &[(&str, &str)] = &[("Content-Type", "text/html")];
    const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
    for (status, headers, body, word) in [
        (200_u16, HTML, "<html>Welcome</html>", "200"),
        (201, HTML, "<html>Welcome</html>", "web page"),
        (201, HTML, "", "not JSON"),
        (201, JSON, "{\"id\": ", "cannot be read"),
        (201, JSON, "{\"id\": 0}", "without an id"),
        (404, HTML, "<html>", "404"),
        (413, HTML, "", "labels"),
        (422, HTML, "", "owner"),
        (500, HTML, "boom", "500"),
    ] {
        let server = TestServer::start(move |_, _| Reply::new(status, headers, body)).await;
        match poll(&forge(&server)).await {
            Err(PollError::Unavailable { message, .. }) => assert!(message.contains(word), "{status}: {message}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_token_nobody_is_asked() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    let mut settings = settings(server.url());
    settings.token = Secret::new(" ");
    let forge = GitLab::new(settings, outbound()).unwrap();
    assert!(matches!(poll(&forge).await, Err(PollError::Refused(_))));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_wants_rest_says_how_long() {
    let server = TestServer::start(|_, _| Reply::new(429, &[("Retry-After", "600")], "")).await;
    let answer = poll(&forge(&server)).await;
    assert!(
        matches!(answer, Err(PollError::Unavailable { retry_after: Some(wait), .. }) if wait == Duration::from_secs(600))
    );
}

#[tokio::test]
async fn a_job_whose_details_cannot_be_read_is_taken_and_can_be_reported() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::json(201, &json!({"id": 5, "token": "t", "steps": "not a list"})),
        _ => Reply::new(200, &[], ""),
    })
    .await;
    let forge = forge(&server);
    let Ok(Polled::Job(job)) = poll(&forge).await else { panic!("no job") };
    let facts = crate::forge::RunnerFacts {
        concurrent_id: 0,
        concurrent_project_id: 0,
        builds_dir: "/builds".into(),
        shared_environment: false,
    };
    let failure = forge.define(&job, &facts).unwrap_err();
    let reporter = forge.reporter(&job).unwrap();
    assert_eq!(reporter.finish(&JobOutcome::Failed(failure), LOG).await.unwrap(), FinishAck::Done);
    assert_eq!(server.seen()[1].json()["failure_reason"], "runner_system_failure");
}

#[tokio::test]
async fn a_held_poll_ends_when_told_to_stop() {
    let server = TestServer::start(|_, _| Reply::Silence).await;
    let forge = forge(&server);
    let stop = CancellationToken::new();
    let waiting = forge.poll(&stop);
    let stopping = async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (polled, ()) = tokio::join!(waiting, stopping);
    assert!(matches!(polled, Ok(Polled::Nothing { .. })), "{polled:?}");
}

// === the way back ===
