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

mod poll;
mod registration;
mod report;
mod transfer;

const JOB: &str = include_str!("../../../../fixtures/gitlab/job.json");

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
