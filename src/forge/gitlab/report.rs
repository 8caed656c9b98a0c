//! How one job tells its GitLab what happens. (protocols: GitLab 4, 5.)

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::client::{Answer, Api, Call, Caller};
use super::flags::Flags;
use super::info::Info;
use super::settings::GitLabSettings;
use super::wire::{JobHead, JobOutput, JobResponse, JobUpdate};
use super::{convert, transfer};
use crate::forge::{
    ArchiveFile, Assignment, Demand, FinishAck, LogAck, LogDigest, ReportError, Reporter, TransferError,
};
use crate::pipeline::definition::{ArtifactSpec, DependencySpec};
use crate::pipeline::{FailureReason, JobFailure, JobOutcome, Secret};

/// How long log is collected until the server says otherwise: people who watch see a line within a second, the way to the
/// server included.
const FIRST_UPDATE_INTERVAL: Duration = Duration::from_millis(800);
/// No server makes us wait longer. (4.2)
const LONGEST_UPDATE_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// A server that hears nothing for longer begins to wonder. (4.3)
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The longest silence with FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL. (4.3)
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(30 * 60);
/// The largest piece of log in one request. (4.3)
const LARGEST_PIECE: usize = 1024 * 1024;

/// The way back for one job.
pub struct GitLabReporter {
    pub(super) settings: Arc<GitLabSettings>,
    info: Arc<Info>,
    pub(super) api: Api,
    pub(super) id: i64,
    pub(super) token: Secret,
    pub(super) direct_download: bool,
    known_reasons: Vec<String>,
    debug_trace: bool,
    dynamic_keep_alive: bool,
    /// As the server wishes, in seconds; 0 until it says so.
    update_seconds: AtomicU64,
}

impl GitLabReporter {
    /// From the payload; as little as possible of it, so that a job that cannot be understood can be reported failed.
    pub(super) fn new(
        settings: Arc<GitLabSettings>,
        info: Arc<Info>,
        api: Api,
        assignment: &Assignment,
    ) -> Result<Self, JobFailure> {
        let head: JobHead = serde_json::from_slice(&assignment.payload)
            .map_err(|error| JobFailure::system(format!("the job's payload cannot be read: {error}")))?;
        let payload: JobResponse = convert::parse(&assignment.payload).unwrap_or_default();
        let flags = Flags::resolve(&settings.feature_flags, &payload.variables, &mut Vec::new());
        let debug = |name: &str| {
            let last = payload.variables.iter().rev().find(|variable| variable.key == name);
            last.is_some_and(|variable| convert::parse_bool(variable.value.expose()) == Some(true))
        };
        Ok(Self {
            debug_trace: !settings.debug_trace_disabled && (debug("CI_DEBUG_TRACE") || debug("CI_DEBUG_SERVICES")),
            direct_download: flags.is_on("FF_USE_DIRECT_DOWNLOAD"),
            dynamic_keep_alive: flags.is_on("FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL"),
            known_reasons: payload.features.failure_reasons,
            update_seconds: AtomicU64::new(0),
            settings,
            info,
            api,
            id: head.id,
            token: head.token,
        })
    }

    async fn put(&self, update: JobUpdate<'_>, once: bool) -> Result<Answer, ReportError> {
        let mut call = Call::new(Method::PUT, format!("jobs/{}", self.id), Caller::Job(&self.token)).json(&update);
        if once {
            call.patience = call.patience.once();
        }
        let answer = self.api.send(call).await.map_err(|error| ReportError::Transient(error.to_string()))?;
        self.heed_interval(&answer);
        Ok(answer)
    }

    fn update<'a>(&'a self, state: &'static str, log: LogDigest) -> JobUpdate<'a> {
        let checksum = (log.size > 0).then(|| format!("crc32:{:08x}", log.crc32));
        let bytesize = (log.size > 0).then_some(log.size);
        JobUpdate {
            info: &self.info,
            token: self.token.expose(),
            state,
            failure_reason: None,
            exit_code: None,
            checksum: checksum.clone(),
            output: JobOutput { checksum, bytesize },
        }
    }

    fn heed_interval(&self, answer: &Answer) {
        let wish = answer.header("X-GitLab-Trace-Update-Interval").and_then(|text| text.parse::<u64>().ok());
        if let Some(seconds) = wish.filter(|seconds| *seconds > 0) {
            self.update_seconds.store(seconds.min(LONGEST_UPDATE_INTERVAL.as_secs()), Ordering::Relaxed);
        }
    }

    fn failed(&self, what: &str, answer: &Answer) -> ReportError {
        let message = format!("{} answered {} to {what}", self.api.remote(), answer.said());
        match answer.status {
            StatusCode::NOT_FOUND => ReportError::NotFound(message),
            _ => ReportError::Transient(message),
        }
    }

    /// The reason in words that this server knows. (5.3)
    pub(super) fn reason_on_wire(&self, reason: FailureReason) -> &'static str {
        let mut reason = reason.as_str();
        for _ in 0..10 {
            let always = matches!(reason, "script_failure" | "runner_system_failure" | "job_execution_timeout");
            if always || self.known_reasons.iter().any(|known| known == reason) {
                return reason;
            }
            reason = match reason {
                "image_pull_failure" | "runner_external_dependency_failure" => "runner_system_failure",
                "runner_configuration_error" => "script_failure",
                _ => return "unknown_failure",
            };
        }
        "unknown_failure"
    }
}

/// What the server wants of the job, looked at before the status. (4.2)
fn demand_of(answer: &Answer) -> Demand {
    match answer.header("Job-Status") {
        Some("canceled" | "failed") => Demand::Abort,
        _ if answer.status == StatusCode::FORBIDDEN => Demand::Abort,
        Some("canceling") => Demand::CancelGracefully,
        _ => Demand::Wanted,
    }
}

/// The number after the dash of `Range`: what the server has. (4.2)
fn size_at_server(answer: &Answer) -> u64 {
    let range = answer.header("Range").unwrap_or_default();
    range.rsplit('-').next().and_then(|size| size.trim().parse().ok()).unwrap_or(0)
}

impl Reporter for GitLabReporter {
    async fn accept(&self) -> Result<Demand, ReportError> {
        let answer = self.put(self.update("running", LogDigest::default()), false).await?;
        let demand = demand_of(&answer);
        if demand == Demand::Abort {
            return Ok(demand);
        }
        match answer.status {
            status if status.is_success() => Ok(demand),
            StatusCode::NOT_FOUND => Ok(Demand::Abort),
            // Two-phase commit: the assignment is gone, or another manager has the job. (5.5)
            StatusCode::BAD_REQUEST | StatusCode::CONFLICT => Err(ReportError::Final(format!(
                "{} does not give us this job any more ({})",
                self.api.remote(),
                answer.said()
            ))),
            _ => Err(self.failed("the news that the job begins", &answer)),
        }
    }

    async fn append_log(&self, at: u64, bytes: Bytes) -> Result<LogAck, ReportError> {
        let piece = bytes.slice(..bytes.len().min(LARGEST_PIECE));
        let end = at + piece.len() as u64;
        if piece.is_empty() {
            return Ok(LogAck { next: at, demand: Demand::Wanted });
        }
        let path = format!("jobs/{}/trace?debug_trace={}", self.id, self.debug_trace);
        let mut call = Call::new(Method::PATCH, path, Caller::Job(&self.token));
        let range = HeaderValue::from_str(&format!("{at}-{}", end - 1))
            .map_err(|error| ReportError::Transient(error.to_string()))?; // digits and a dash: always a header
        call.headers.insert(header::CONTENT_RANGE, range);
        call.body = Some(("text/plain", piece));
        let answer = self.api.send(call).await.map_err(|error| ReportError::Transient(error.to_string()))?;
        self.heed_interval(&answer);
        let demand = demand_of(&answer);
        match answer.status {
            StatusCode::ACCEPTED => Ok(LogAck { next: end, demand }),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(LogAck { next: size_at_server(&answer), demand }),
            _ if demand == Demand::Abort => Ok(LogAck { next: at, demand }),
            _ => Err(self.failed("a piece of the log", &answer)),
        }
    }

    async fn keep_alive(&self, so_far: LogDigest) -> Result<Demand, ReportError> {
        let answer = self.put(self.update("running", so_far), false).await?;
        match demand_of(&answer) {
            Demand::Abort => Ok(Demand::Abort),
            _ if answer.status == StatusCode::NOT_FOUND => Ok(Demand::Abort),
            demand if answer.status.is_success() => Ok(demand),
            // A wish to cancel counts even in an answer that is an error otherwise.
            Demand::CancelGracefully => Ok(Demand::CancelGracefully),
            Demand::Wanted => Err(self.failed("a sign of life", &answer)),
        }
    }

    async fn finish(&self, outcome: &JobOutcome, log: LogDigest) -> Result<FinishAck, ReportError> {
        let (state, failure) = match outcome {
            JobOutcome::Success => ("success", None),
            JobOutcome::Failed(failure) => ("failed", Some((failure.reason, failure.exit_code))),
            JobOutcome::Cancelled => ("failed", Some((FailureReason::JobCanceled, None))),
        };
        let mut update = self.update(state, log);
        if let Some((reason, exit_code)) = failure {
            update.failure_reason = Some(self.reason_on_wire(reason));
            update.exit_code = exit_code.filter(|code| *code != 0);
        }
        let aborted = matches!(outcome, JobOutcome::Cancelled);
        let answer = match self.put(update, aborted).await {
            Ok(answer) => answer,
            // The forge ended the job itself; it is told once, and what it makes of that does not matter. (5.6)
            Err(_unheard) if aborted => return Ok(FinishAck::Done),
            Err(error) => return Err(error),
        };
        if aborted || demand_of(&answer) == Demand::Abort {
            return Ok(FinishAck::Done);
        }
        match answer.status {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(FinishAck::Done),
            StatusCode::ACCEPTED => Ok(FinishAck::Again { pause: self.update_interval() }),
            StatusCode::PRECONDITION_FAILED => Ok(FinishAck::ResendLog),
            _ => Err(self.failed("the job's end", &answer)),
        }
    }

    fn update_interval(&self) -> Duration {
        match self.update_seconds.load(Ordering::Relaxed) {
            0 => FIRST_UPDATE_INTERVAL,
            seconds => Duration::from_secs(seconds),
        }
    }

    fn keep_alive_interval(&self) -> Duration {
        if self.dynamic_keep_alive {
            return (self.update_interval() * 4).clamp(KEEP_ALIVE, LONGEST_KEEP_ALIVE);
        }
        KEEP_ALIVE
    }

    async fn upload_artifact(
        &self,
        artifact: &ArtifactSpec,
        file_name: &str,
        file: &ArchiveFile,
    ) -> Result<(), TransferError> {
        transfer::upload(self, artifact, file_name, file).await
    }

    async fn download_artifact(&self, dependency: &DependencySpec, to: &Path) -> Result<(), TransferError> {
        transfer::download(self, dependency, to).await
    }
}
