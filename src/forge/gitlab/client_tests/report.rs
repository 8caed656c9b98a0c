//! What a server is told of a job.

use super::*;

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
