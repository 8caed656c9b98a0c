//! What `PUT jobs/:id` does to a job (protocols: GitLab 5).

use std::time::Instant;

use serde_json::Value;

use super::World;
use super::job::{Job, Update};
use crate::emulator::options::{ChecksumPolicy, EmulatorOptions};
use crate::pipeline::{JobChange, JobStatus};

/// The answer to an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// The status code.
    pub status: u16,
    /// The message of a refusal.
    pub message: String,
    /// How long to wait, for 202 (seconds).
    pub wait: Option<u32>,
    /// What a well-made runner would not have done.
    pub violations: Vec<String>,
}

impl Updated {
    fn ok() -> Self {
        Self { status: 200, ..Self::default() }
    }

    fn refused(status: u16, message: &str) -> Self {
        Self { status, message: message.to_owned(), ..Self::default() }
    }
}

/// The states a runner may send.
const FINAL: [&str; 2] = ["success", "failed"];

impl World {
    /// Takes an update of a job that is running, or waits to be accepted. Blocking: may remove the log's file.
    pub fn update(&self, id: u64, body: &Value) -> Updated {
        let options = self.options();
        let mut know = self.know();
        let Some(job) = know.jobs.get_mut(&id) else { return Updated::refused(404, "404 Job Not Found") };
        let answer = if job.awaits_ack { acknowledge(job, body) } else { take(job, body, &options) };
        job.updates.push(Update { at: Instant::now(), body: body.clone(), status: answer.status });
        if job.has_ended() {
            know.after_end(id);
        }
        drop(know);
        self.changed();
        answer
    }
}

/// Section 5.5: a job that was handed out but not accepted.
fn acknowledge(job: &mut Job, body: &Value) -> Updated {
    match body["state"].as_str() {
        Some("pending") => Updated::ok(),
        Some("running") => {
            job.awaits_ack = false;
            match job.change(JobChange::Start) {
                Ok(()) => Updated::ok(),
                Err(_) => Updated::refused(400, "the job is not waiting for its runner any more"),
            }
        }
        _ => Updated::refused(400, "Invalid state for two-phase commit"),
    }
}

fn take(job: &mut Job, body: &Value, options: &EmulatorOptions) -> Updated {
    match body["state"].as_str() {
        Some("running") => {
            let mut answer = Updated::ok();
            for field in ["failure_reason", "exit_code"] {
                if !body[field].is_null() {
                    answer.violations.push(format!("`{field}` belongs to a failed job, not to a running one"));
                }
            }
            answer
        }
        Some("pending") => Updated::refused(409, "Job is already assigned to a runner"),
        Some(state) if FINAL.contains(&state) => end(job, body, state == "success", options),
        _ => Updated::refused(400, "Invalid state"),
    }
}

fn end(job: &mut Job, body: &Value, success: bool, options: &EmulatorOptions) -> Updated {
    let mut violations = check_end(job, body, success);
    let checksum = checksum_of(body);
    if let Some(difference) = check_log(job, body, checksum) {
        violations.push(difference);
        if options.checksum == ChecksumPolicy::Refuse {
            // Whatever stays of the file is overwritten by the resend: its offsets begin at 0 again.
            let _ = job.trace.restart();
            let message = "log validation failed".to_owned();
            return Updated { status: 412, message, wait: None, violations };
        }
    }
    if checksum.is_some() && job.persisting < options.persist_rounds {
        job.persisting += 1;
        return Updated { status: 202, wait: Some(1), violations, ..Updated::default() };
    }
    let change = match (job.is_canceling, success) {
        (true, _) => JobChange::Cancel,
        (false, true) => JobChange::Succeed,
        (false, false) => JobChange::Fail,
    };
    if job.change(change).is_err() {
        return Updated::refused(403, "Job is not processing");
    }
    if job.status() == JobStatus::Failed {
        job.failure_reason = Some(body["failure_reason"].as_str().unwrap_or("unknown_failure").to_owned());
        job.exit_code = body["exit_code"].as_i64();
    }
    Updated { status: 200, violations, ..Updated::default() }
}

/// What is wrong with a last update in itself.
fn check_end(job: &Job, body: &Value, success: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if success && !body["failure_reason"].is_null() {
        wrong.push("`failure_reason` of a job that succeeded".to_owned());
    }
    if !success && body["failure_reason"].as_str().is_none_or(str::is_empty) {
        wrong.push("a failed job without `failure_reason`".to_owned());
    }
    if !success && !is_accepted_reason(job, &body["failure_reason"]) {
        wrong.push(format!("this server did not list the failure reason {}", body["failure_reason"]));
    }
    match &body["exit_code"] {
        Value::Null => {}
        Value::Number(code) if code.as_i64().is_some_and(|c| c != 0 && i32::try_from(c).is_ok()) => {}
        other => wrong.push(format!("`exit_code` is {other}: left out when 0, else a signed 32-bit number")),
    }
    wrong
}

/// Section 5.3: what the payload listed, and three that every server knows.
fn is_accepted_reason(job: &Job, reason: &Value) -> bool {
    let Some(reason) = reason.as_str() else { return true };
    if ["script_failure", "runner_system_failure", "job_execution_timeout"].contains(&reason) {
        return true;
    }
    // `unknown_failure` is what the mapping ends in.
    let response: Value = job.response.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let listed = response["features"]["failure_reasons"].as_array();
    reason == "unknown_failure" || listed.is_some_and(|list| list.iter().any(|known| known == reason))
}

fn checksum_of(body: &Value) -> Option<&str> {
    body["output"]["checksum"].as_str().or_else(|| body["checksum"].as_str())
}

/// How the log the server has differs from the one the runner means.
fn check_log(job: &Job, body: &Value, checksum: Option<&str>) -> Option<String> {
    let (size, crc) = job.trace.digest();
    let own = format!("crc32:{crc:08x}");
    let Some(theirs) = checksum else {
        return (size > 0).then(|| "a last update without a checksum of the log".to_owned());
    };
    if theirs != own {
        return Some(format!("the checksum is {theirs}, but the log that was sent has {own}"));
    }
    match body["output"]["bytesize"].as_u64() {
        Some(theirs) if theirs == size => None,
        Some(theirs) => Some(format!("`bytesize` is {theirs}, but {size} bytes of log were sent")),
        None => Some("a checksum without `output.bytesize`".to_owned()),
    }
}
