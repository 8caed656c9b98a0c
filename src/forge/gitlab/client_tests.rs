//! The whole adapter against a server whose answers are written by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::register::{self, RegisterOptions, Unregister, Verified};
use super::{GitLab, GitLabReporter, GitLabSettings};
use crate::forge::{Demand, FinishAck, Forge, LogAck, LogDigest, PollError, Polled, ReportError, Reporter};
use crate::outbound::test_server::{NoWaiting, Received, Reply, TestServer};
use crate::outbound::{Outbound, OutboundSettings};
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec, DependencySpec, FileSelection, When};
use crate::pipeline::{FailureReason, JobFailure, JobId, JobOutcome, Secret};

const JOB: &str = include_str!("../../../fixtures/gitlab/job.json");

fn settings(url: Url) -> GitLabSettings {
    GitLabSettings::new("runner", url, Secret::new("glrt-secret"), "s_c2d22f638c25")
}

fn outbound() -> Outbound {
    Outbound::with_pace(OutboundSettings::default(), Arc::new(NoWaiting::default())).unwrap()
}

fn forge(server: &TestServer) -> GitLab {
    GitLab::new(settings(server.url()), outbound()).unwrap()
}

async fn poll(forge: &GitLab) -> Result<Polled, PollError> {
    forge.poll(&CancellationToken::new()).await
}

async fn with_job(answer: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> (TestServer, GitLabReporter) {
    let server = TestServer::start(move |number, request| match number {
        0 => Reply::json(201, &serde_json::from_str(JOB).unwrap()),
        _ => answer(number - 1, request),
    })
    .await;
    let forge = forge(&server);
    let Ok(Polled::Job(assignment)) = poll(&forge).await else { panic!("no job") };
    let reporter = forge.reporter(&assignment).unwrap();
    (server, reporter)
}

fn script_failure(code: i32) -> JobOutcome {
    JobOutcome::Failed(JobFailure::exit(code))
}

const LOG: LogDigest = LogDigest { crc32: 0x1a2b, size: 12 };

// === asking for jobs ===

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

#[tokio::test]
async fn a_job_is_accepted_by_saying_that_it_runs() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(200, &[("Job-Status", "running")], ""),
        1 => Reply::new(200, &[("Job-Status", "canceling")], ""),
        2 => Reply::new(403, &[("Job-Status", "canceled")], ""),
        3 => Reply::new(404, &[], ""),
        4 => Reply::new(409, &[], ""),
        _ => Reply::new(500, &[], ""),
    })
    .await;
    assert_eq!(reporter.accept().await.unwrap(), Demand::Wanted);
    assert_eq!(reporter.accept().await.unwrap(), Demand::CancelGracefully);
    assert_eq!(reporter.accept().await.unwrap(), Demand::Abort);
    assert_eq!(reporter.accept().await.unwrap(), Demand::Abort);
    assert!(matches!(reporter.accept().await, Err(ReportError::Final(_))));
    assert!(matches!(reporter.accept().await, Err(ReportError::Transient(_))));
    let request = &server.seen()[1];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/api/v4/jobs/987654"));
    assert_eq!(request.header("job-token"), Some("glcbt-64_examplejobtoken"));
    let body = request.json();
    assert_eq!((&body["state"], &body["output"]), (&json!("running"), &json!({})));
}

#[tokio::test]
async fn log_is_appended_and_sent_again_from_where_the_server_is() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(202, &[("Range", "0-5"), ("X-GitLab-Trace-Update-Interval", "60")], ""),
        1 => Reply::new(416, &[("Range", "0-3")], ""),
        2 => Reply::new(416, &[("Range", "nonsense")], ""),
        3 => Reply::new(202, &[("Job-Status", "canceling")], ""),
        4 => Reply::new(403, &[("Job-Status", "failed")], ""),
        5 => Reply::new(404, &[], ""),
        _ => Reply::new(202, &[("Job-Status", "canceled")], ""),
    })
    .await;
    assert_eq!(reporter.update_interval(), Duration::from_millis(800));
    let hello = || Bytes::from_static(b"hello");
    let ack = |next, demand| LogAck { next, demand };
    assert_eq!(reporter.append_log(0, hello()).await.unwrap(), ack(5, Demand::Wanted));
    assert_eq!(reporter.update_interval(), Duration::from_secs(60));
    assert_eq!(reporter.append_log(5, hello()).await.unwrap(), ack(3, Demand::Wanted));
    assert_eq!(reporter.append_log(5, hello()).await.unwrap(), ack(0, Demand::Wanted));
    assert_eq!(reporter.append_log(5, hello()).await.unwrap(), ack(10, Demand::CancelGracefully));
    assert_eq!(reporter.append_log(5, hello()).await.unwrap(), ack(5, Demand::Abort));
    assert!(matches!(reporter.append_log(5, hello()).await, Err(ReportError::NotFound(_))), "404: later");
    assert_eq!(reporter.append_log(5, hello()).await.unwrap().demand, Demand::Abort);
    let request = &server.seen()[2];
    assert_eq!(request.target, "/api/v4/jobs/987654/trace?debug_trace=false");
    assert_eq!(request.header("content-range"), Some("5-9"));
    assert_eq!(request.header("content-type"), Some("text/plain"));
    assert_eq!(request.body, b"hello");
}

#[tokio::test]
async fn a_large_piece_of_log_goes_in_parts() {
    let (server, reporter) = with_job(|_, _| Reply::new(202, &[], "")).await;
    let big = Bytes::from(vec![b'x'; 3 * 1024 * 1024]);
    let ack = reporter.append_log(10, big).await.unwrap();
    assert_eq!(ack.next, 10 + 1024 * 1024);
    assert_eq!(server.seen()[1].header("content-range"), Some("10-1048585"));
}

#[tokio::test]
async fn errors_of_a_moment_are_survived() {
    let (server, reporter) = with_job(|number, _| match number {
        0..3 => Reply::new(500, &[], ""),
        _ => Reply::new(202, &[], ""),
    })
    .await;
    assert_eq!(reporter.append_log(0, Bytes::from_static(b"x")).await.unwrap().next, 1);
    assert_eq!(server.seen().len(), 1 + 4);
}

#[tokio::test]
async fn a_sign_of_life_carries_the_log_so_far() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(200, &[], ""),
        _ => Reply::new(503, &[("Job-Status", "canceling")], ""),
    })
    .await;
    assert_eq!(reporter.keep_alive(LOG).await.unwrap(), Demand::Wanted);
    assert_eq!(server.seen()[1].json()["output"], json!({"checksum": "crc32:00001a2b", "bytesize": 12}));
    assert_eq!(reporter.keep_alive(LOG).await.unwrap(), Demand::CancelGracefully, "counts in an error, too");
    assert_eq!(reporter.keep_alive_interval(), Duration::from_secs(30));
}

#[tokio::test]
async fn the_last_word_is_said_as_the_server_wishes() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(202, &[("X-GitLab-Trace-Update-Interval", "4")], ""),
        1 => Reply::new(412, &[], ""),
        2 => Reply::new(500, &[], ""),
        3..=6 => Reply::new(500, &[], ""),
        7 => Reply::new(403, &[], ""),
        8 => Reply::new(404, &[], ""),
        _ => Reply::new(200, &[], ""),
    })
    .await;
    let outcome = script_failure(37);
    assert_eq!(reporter.finish(&outcome, LOG).await.unwrap(), FinishAck::Again { pause: Duration::from_secs(4) });
    assert_eq!(reporter.finish(&outcome, LOG).await.unwrap(), FinishAck::ResendLog);
    assert!(matches!(reporter.finish(&outcome, LOG).await, Err(ReportError::Transient(_))));
    assert_eq!(reporter.finish(&outcome, LOG).await.unwrap(), FinishAck::Done);
    assert_eq!(reporter.finish(&outcome, LOG).await.unwrap(), FinishAck::Done);
    assert_eq!(reporter.finish(&JobOutcome::Success, LOG).await.unwrap(), FinishAck::Done);
    let body = server.seen()[1].json();
    assert_eq!((&body["state"], &body["failure_reason"]), (&json!("failed"), &json!("script_failure")));
    assert_eq!((&body["exit_code"], &body["checksum"]), (&json!(37), &json!("crc32:00001a2b")));
    let last = server.seen().last().unwrap().json();
    assert_eq!(last["state"], "success");
    assert!(last.get("failure_reason").is_none() && last.get("exit_code").is_none());
}

#[tokio::test]
async fn an_aborted_job_is_told_once_and_no_more() {
    let (server, reporter) = with_job(|_, _| Reply::new(500, &[], "")).await;
    assert_eq!(reporter.finish(&JobOutcome::Cancelled, LOG).await.unwrap(), FinishAck::Done);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn reasons_are_translated_for_servers_that_do_not_know_them() {
    let (_server, reporter) = with_job(|_, _| Reply::new(200, &[], "")).await;
    for (reason, want) in [
        (FailureReason::ImagePullFailure, "image_pull_failure"),
        (FailureReason::RunnerConfigurationError, "script_failure"),
        (FailureReason::RunnerExternalDependencyFailure, "runner_system_failure"),
        (FailureReason::RunnerInterrupted, "unknown_failure"),
        (FailureReason::JobCanceled, "unknown_failure"),
        (FailureReason::JobExecutionTimeout, "job_execution_timeout"),
    ] {
        assert_eq!(reporter.reason_on_wire(reason), want);
    }
}

// === artifacts ===

fn artifact(expire_in: &str) -> ArtifactSpec {
    ArtifactSpec {
        name: "a".into(),
        files: FileSelection::default(),
        when: When::Always,
        kind: "archive".into(),
        format: ArtifactFormat::Zip,
        format_on_wire: "zip".into(),
        expire_in: expire_in.into(),
    }
}

fn packed() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"the archive's bytes").unwrap();
    file
}

#[tokio::test]
async fn an_upload_is_one_part_with_a_known_length() {
    let (server, reporter) = with_job(|_, _| Reply::new(201, &[], "")).await;
    reporter.upload_artifact(&artifact("1 week"), "a.zip", packed().path()).await.unwrap();
    let request = &server.seen()[1];
    let query = "artifact_format=zip&artifact_type=archive&expire_in=1+week";
    assert_eq!(request.target, format!("/api/v4/jobs/987654/artifacts?{query}"));
    assert!(request.header("content-length").is_some());
    let body = String::from_utf8_lossy(&request.body);
    assert!(body.contains("name=\"file\"; filename=\"a.zip\"") && body.contains("the archive's bytes"), "{body}");
    assert_eq!(body.matches("Content-Disposition").count(), 1);
    reporter.upload_artifact(&artifact(""), "a.zip", packed().path()).await.unwrap();
    assert!(!server.seen()[2].target.contains("expire_in"));
}

#[tokio::test]
async fn an_upload_follows_to_another_host_and_keeps_its_path() {
    let other = TestServer::start(|_, _| Reply::new(201, &[], "")).await;
    let location = format!("{}some/path?x=y", other.url());
    let (_server, reporter) = with_job(move |_, _| Reply::new(307, &[("Location", &location)], "")).await;
    reporter.upload_artifact(&artifact(""), "a.zip", packed().path()).await.unwrap();
    let request = &other.seen()[0];
    assert!(request.target.starts_with("/api/v4/jobs/987654/artifacts?"), "{}", request.target);
    assert_eq!(request.header("job-token"), Some("glcbt-64_examplejobtoken"));
}

#[tokio::test]
async fn uploads_that_cannot_succeed_are_not_repeated() {
    for (status, tries) in [(403_u16, 1), (413, 1), (400, 3), (503, 6 * 5)] {
        let (server, reporter) = with_job(move |_, _| Reply::new(status, &[], "")).await;
        let error = reporter.upload_artifact(&artifact(""), "a.zip", packed().path()).await.unwrap_err();
        assert_eq!((server.seen().len() - 1, error.is_own_disk), (tries, false), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_success_counts_whatever_its_body_is() {
    let endless = "x".repeat(3 << 20);
    let cut = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\n{{").into_bytes();
    let (server, reporter) = with_job(move |number, request| match (number % 2, request.method.as_str()) {
        (0, "POST") => Reply::new(201, &[], endless.as_str()),
        (0, "PATCH") => Reply::new(202, &[], endless.as_str()),
        (0, _) => Reply::new(200, &[], endless.as_str()),
        (_, "POST") => Reply::Bytes(cut("201 Created")),
        (_, "PATCH") => Reply::Bytes(cut("202 Accepted")),
        (_, _) => Reply::Bytes(cut("200 OK")),
    })
    .await;
    for _ in 0..2 {
        reporter.upload_artifact(&artifact(""), "a.zip", packed().path()).await.unwrap();
    }
    for _ in 0..2 {
        let ack = reporter.append_log(0, Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(ack.next, 3);
    }
    for _ in 0..2 {
        assert_eq!(reporter.keep_alive(LogDigest::default()).await.unwrap(), Demand::Wanted);
    }
    assert_eq!(server.seen().len(), 1 + 6, "nothing was sent twice");
}

#[tokio::test]
async fn json_is_asked_for_where_it_is_read() {
    let (server, reporter) = with_job(|_, _| Reply::new(200, &[], "")).await;
    reporter.keep_alive(LogDigest::default()).await.unwrap();
    let accepted: Vec<_> = server.seen().iter().map(|request| request.header("accept").map(str::to_owned)).collect();
    assert_eq!(accepted[0].as_deref(), Some("application/json"), "the request for a job");
    assert_ne!(accepted[1].as_deref(), Some("application/json"), "news of a job");
}

#[tokio::test]
async fn an_upload_without_a_file_says_so() {
    let (_server, reporter) = with_job(|_, _| Reply::new(201, &[], "")).await;
    let error = reporter.upload_artifact(&artifact(""), "a.zip", "/nonexistent/a".as_ref()).await.unwrap_err();
    assert!(error.is_own_disk && error.message.contains("a.zip"), "{error}");
}

fn dependency() -> DependencySpec {
    DependencySpec {
        id: JobId::new("987600"),
        name: "build".into(),
        token: Secret::new("glcbt-dependency"),
        file_name: "artifacts.zip".into(),
        size: 7,
    }
}

#[tokio::test]
async fn a_download_follows_to_object_storage_without_the_token() {
    let storage = TestServer::start(|_, _| Reply::new(200, &[], "archive")).await;
    let location = format!("{}bucket/key?signature=1", storage.url());
    let (server, reporter) = with_job(move |_, _| Reply::new(302, &[("Location", &location)], "")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "archive");
    let first = &server.seen()[1];
    assert_eq!(first.target, "/api/v4/jobs/987600/artifacts?direct_download=true");
    assert_eq!(first.header("job-token"), Some("glcbt-dependency"));
    let second = &storage.seen()[0];
    assert_eq!(second.target, "/bucket/key?signature=1");
    assert!(second.header("job-token").is_none());
}

#[tokio::test]
async fn a_download_that_fails_is_tried_again_without_the_short_cut() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(400, &[], ""),
        1 => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\narc".to_vec()),
        _ => Reply::new(200, &[], "archive"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "archive");
    let targets: Vec<_> =
        server.seen().iter().skip(1).map(|request| request.target.contains("direct_download")).collect();
    assert_eq!(targets, [true, false, false]);
}

#[tokio::test]
async fn downloads_that_cannot_succeed_say_why() {
    let xml = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>expired</Message></Error>";
    for (status, body, word) in
        [(401_u16, "", "may not read"), (403, xml, "AccessDenied: expired"), (404, "", "expired or were deleted")]
    {
        let (server, reporter) = with_job(move |_, _| Reply::new(status, &[], body)).await;
        let folder = tempfile::tempdir().unwrap();
        let error = reporter.download_artifact(&dependency(), &folder.path().join("a")).await.unwrap_err();
        assert!(!error.is_own_disk && error.message.contains(word), "{status}: {error}");
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_download_in_circles_ends() {
    let (server, reporter) = with_job(|_, _| Reply::new(302, &[("Location", "/again")], "")).await;
    let folder = tempfile::tempdir().unwrap();
    let error = reporter.download_artifact(&dependency(), &folder.path().join("a")).await.unwrap_err();
    assert!(error.message.contains("without end"), "{error}");
    assert!(server.seen().len() < 20);
}

// === registration ===

async fn register(token: &str, options: &RegisterOptions, server: &TestServer) -> Result<register::Registered, String> {
    let mut settings = settings(server.url());
    settings.token = Secret::new(token);
    register::register(&outbound(), &settings, options).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_contact_is_a_call_of_the_runners_api_and_tells_the_time() {
    let headers = [("Date", "Thu, 26 Nov 2026 10:00:00 GMT")];
    let server = TestServer::start(move |_, _| Reply::new(403, &headers, "")).await;
    let told = register::contact(&outbound(), &settings(server.url()), Duration::from_secs(5)).await.unwrap();
    assert_eq!(told.map(|time| time.to_string()).as_deref(), Some("2026-11-26T10:00:00Z"));
    let seen: Vec<_> = server.seen().iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    assert_eq!(seen, ["POST /api/v4/runners/verify"]);
}

#[tokio::test]
async fn the_user_agent_has_the_shape_that_the_official_runners_has() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    poll(&forge(&server)).await.unwrap();
    let agent = server.seen()[0].header("user-agent").unwrap().to_owned();
    let details =
        agent.strip_prefix(&format!("forgehand {} (", crate::VERSION)).and_then(|rest| rest.strip_suffix(')'));
    let details: Vec<_> = details.unwrap_or_default().split("; ").collect();
    assert!(details.len() == 3 && details[2].starts_with("linux/"), "{agent}");
}

#[tokio::test]
async fn a_runner_token_is_verified_and_kept() {
    let server = TestServer::start(|_, _| {
        Reply::json(200, &json!({"id": 9, "token": "glrt-x", "token_expires_at": "2027-01-01T00:00:00Z"}))
    })
    .await;
    let registered = register("glrt-x", &RegisterOptions::default(), &server).await.unwrap();
    assert_eq!(registered.runner_id, Some(9));
    assert_eq!(registered.token.token.expose(), "glrt-x");
    assert!(registered.token.expires_at.is_some());
    let request = &server.seen()[0];
    assert_eq!(request.target, "/api/v4/runners/verify");
    assert_eq!(request.json()["info"]["features"]["cancel_gracefully"], true);
    let options = RegisterOptions { tags: vec!["a".into()], ..RegisterOptions::default() };
    assert!(register("glrt-x", &options, &server).await.unwrap_err().contains("--labels"));
}

#[tokio::test]
async fn a_registration_token_makes_a_runner() {
    let server =
        TestServer::start(|_, _| Reply::json(201, &json!({"id": 9, "token": "new", "token_expires_at": null}))).await;
    let options = RegisterOptions { description: "box".into(), tags: vec!["a".into(), "b".into()] };
    let registered = register("GR1348941x", &options, &server).await.unwrap();
    assert_eq!(registered.token.token.expose(), "new");
    assert!(registered.token.expires_at.is_none());
    let body = server.seen()[0].json();
    assert_eq!(
        (&body["tag_list"], &body["run_untagged"], &body["description"]),
        (&json!("a,b"), &json!(false), &json!("box"))
    );
}

#[tokio::test]
async fn an_old_token_is_tried_as_both() {
    let server = TestServer::start(|_, request| match request.target.as_str() {
        "/api/v4/runners/verify" => Reply::json(403, &json!({"message": "403 Forbidden"})),
        _ => Reply::json(201, &json!({"id": 1, "token": "new"})),
    })
    .await;
    assert_eq!(register("plain", &RegisterOptions::default(), &server).await.unwrap().token.token.expose(), "new");
}

#[tokio::test]
async fn very_old_servers_answer_plain_text_and_web_pages_are_no_answer() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::new(200, &[("Content-Type", "text/plain")], "200"),
        _ => Reply::new(200, &[("Content-Type", "text/html")], "<html>"),
    })
    .await;
    assert_eq!(register("glrt-x", &RegisterOptions::default(), &server).await.unwrap().token.token.expose(), "glrt-x");
    assert!(
        register("glrt-x", &RegisterOptions::default(), &server)
            .await
            .unwrap_err()
            .contains("is this the address of a GitLab")
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (token, status, word) in [
        ("glrt-x", 403_u16, "create a runner"),
        ("GR1348941x", 410, "registration tokens"),
        ("glrt-x", 502, "try again later"),
    ] {
        let server = TestServer::start(move |_, _| Reply::json(status, &json!({"message": "no"}))).await;
        let error = register(token, &RegisterOptions::default(), &server).await.unwrap_err();
        assert!(error.contains(word) && !error.contains(token), "{status}: {error}");
    }
    let server = TestServer::start(|_, _| Reply::json(422, &json!({"message": "orphaned"}))).await;
    assert!(matches!(register::verify(&outbound(), &settings(server.url())).await, Ok(Verified::Orphaned(_))));
}

#[tokio::test]
async fn unregistering_takes_away_the_machine_or_the_runner() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    let settings = settings(server.url());
    register::unregister(&outbound(), &settings, Unregister::ThisMachine).await.unwrap();
    register::unregister(&outbound(), &settings, Unregister::Runner).await.unwrap();
    let seen = server.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("DELETE", "/api/v4/runners/managers"));
    assert_eq!(seen[0].json(), json!({"token": "glrt-secret", "system_id": "s_c2d22f638c25"}));
    assert_eq!(seen[1].json(), json!({"token": "glrt-secret"}));
}

#[tokio::test]
async fn a_token_is_renewed_and_its_new_life_is_known() {
    let server = TestServer::start(|_, _| {
        Reply::json(201, &json!({"token": "glrt-new", "token_expires_at": "2027-01-01T00:00:00Z"}))
    })
    .await;
    let settings = settings(server.url());
    let renewed = register::reset_token(&outbound(), &settings, &Secret::new("glrt-secret")).await.unwrap();
    assert_eq!(renewed.token.expose(), "glrt-new");
    assert_eq!(renewed.expires_at, Some("2027-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(server.seen()[0].header("runner-token"), Some("glrt-secret"));
}
