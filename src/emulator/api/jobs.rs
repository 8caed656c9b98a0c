//! Job updates and the job's log (protocols: GitLab 4 and 5).

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use serde_json::Value;

use super::{Call, JSON_LIMIT, answer_empty, answer_json, refuse, with_header};
use crate::emulator::world::World;
use crate::emulator::world::job::TracePiece;
use crate::emulator::world::trace::Appended;

/// The largest piece of log taken, in bytes. The official runner sends at most 1 MiB.
const PIECE_LIMIT: usize = 32 << 20;

/// `PUT jobs/:id`.
pub async fn update(State(world): State<Arc<World>>, Path(id): Path<u64>, request: Request) -> Response<Body> {
    let call = match Call::read(world, request, JSON_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let body = match call.json().and_then(|body| check_update(&call, id, &body).map(|()| body)) {
        Ok(body) => body,
        Err(response) => return response,
    };
    let world = call.world.clone();
    let updated = tokio::task::spawn_blocking(move || world.update(id, &body)).await;
    let Ok(updated) = updated else { return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the update failed") };
    for violation in updated.violations {
        call.violation(violation);
    }
    let status = StatusCode::from_u16(updated.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = if updated.status < 300 {
        answer_json(status, &Value::Null)
    } else {
        call.violation(format!("refused with {}: {}", updated.status, updated.message));
        refuse(status, &updated.message)
    };
    with_job_headers(&call.world, id, response, updated.wait)
}

fn check_update(call: &Call, id: u64, body: &Value) -> Result<(), Response<Body>> {
    authenticate(call, id, Phase::AcceptedOrNot)?;
    if body["token"].as_str() != Some(call.header("job-token")) {
        call.violation("the body's `token` is not that of the header `JOB-TOKEN`");
        return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden"));
    }
    call.check_info(body);
    if call.header("accept") == "application/json" {
        call.violation("`Accept` asks for JSON, and an update is not answered with any");
    }
    if !body["output"].is_object() {
        call.violation("`output` is always sent, if only as {}");
    }
    Ok(())
}

/// `PATCH jobs/:id/trace`.
pub async fn append_trace(State(world): State<Arc<World>>, Path(id): Path<u64>, request: Request) -> Response<Body> {
    let call = match Call::read(world, request, PIECE_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let start = match authenticate(&call, id, Phase::Accepted).and_then(|()| check_piece(&call)) {
        Ok(start) => start,
        Err(response) => return with_job_headers(&call.world, id, response, None),
    };
    let length = call.body.len() as u64;
    let (trace, looked_for) = {
        let know = call.world.know();
        let Some(job) = know.jobs.get(&id) else { return refuse(StatusCode::NOT_FOUND, "404 Not Found") };
        (job.trace.clone(), job.spec.cancel_on.clone())
    };
    if start.saturating_add(length) > call.world.options().trace_limit {
        return drop_for_size(&call, id);
    }
    let bytes = call.body.clone();
    let appended = tokio::task::spawn_blocking(move || trace.append(start, &bytes, looked_for.as_deref())).await;
    let (status, size, found) = match appended {
        Ok(Ok((Appended::Kept { size }, found))) => (StatusCode::ACCEPTED, size, found),
        Ok(Ok((Appended::Misplaced { size }, _))) => (StatusCode::RANGE_NOT_SATISFIABLE, size, false),
        _ => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be written"),
    };
    if let Some(job) = call.world.know().jobs.get_mut(&id) {
        job.pieces.push(TracePiece { at: Instant::now(), start, length, status: status.as_u16() });
        // Once: what is found again when the log is sent again is the same text.
        job.spec.cancel_on.take_if(|_| found);
    }
    if found {
        call.world.cancel(id);
    }
    call.world.changed();
    let response = with_header(answer_empty(status), "range", &format!("0-{size}"));
    with_job_headers(&call.world, id, response, None)
}

/// Media type, range and length of a piece; where it begins.
fn check_piece(call: &Call) -> Result<u64, Response<Body>> {
    let media_type = call.header("content-type").split(';').next().unwrap_or_default().trim();
    if media_type != "text/plain" {
        call.violation(format!("a piece of log is text/plain, not `{media_type}`"));
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The provided content-type is not supported"));
    }
    if !call.query.iter().any(|(key, value)| key == "debug_trace" && ["true", "false"].contains(&value.as_str())) {
        call.violation("no `debug_trace=true` or `debug_trace=false` in the query");
    }
    let range = call.header("content-range");
    if range.is_empty() {
        call.violation("no `Content-Range`");
        return Err(refuse(StatusCode::BAD_REQUEST, "Missing header Content-Range"));
    }
    let parsed = range.split_once('-').and_then(|(from, to)| Some((number(from)?, number(to)?)));
    let Some((from, to)) = parsed else {
        call.violation(format!("`Content-Range: {range}` is not START-END"));
        return Err(refuse(StatusCode::BAD_REQUEST, "Invalid header Content-Range"));
    };
    if call.body.is_empty() {
        call.violation("a piece of log without any bytes");
        return Err(refuse(StatusCode::BAD_REQUEST, "empty body"));
    }
    // The server takes START and the body's length; END that does not fit is the runner's mistake all the same.
    if to.checked_sub(from).map(|last| last + 1) != Some(call.body.len() as u64) {
        call.violation(format!("`Content-Range: {range}` with {} bytes", call.body.len()));
    }
    Ok(from)
}

fn number(text: &str) -> Option<u64> {
    // No sign, no spaces: `u64::from_str` would take a plus.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn drop_for_size(call: &Call, id: u64) -> Response<Body> {
    {
        let mut know = call.world.know();
        if let Some(job) = know.jobs.get_mut(&id) {
            job.failure_reason = Some("trace_size_exceeded".to_owned());
            // It was running a moment ago; where it ended meanwhile there is nothing to drop.
            let _ = job.change(crate::pipeline::JobChange::Fail);
        }
        know.after_end(id);
    }
    call.world.changed();
    with_job_headers(&call.world, id, refuse(StatusCode::FORBIDDEN, "403 Forbidden - trace size exceeded"), None)
}

/// Which jobs an endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Running ones.
    Accepted,
    /// Those too that their runner has not accepted yet.
    AcceptedOrNot,
}

/// The job's own token in `JOB-TOKEN`, and the job in a state in which its runner is listened to: 404, 403 (with
/// `Job-Status` where the job is known and the token right).
pub fn authenticate(call: &Call, id: u64, phase: Phase) -> Result<(), Response<Body>> {
    let token = call.header("job-token");
    let (known, processing) = {
        let know = call.world.know();
        let Some(job) = know.jobs.get(&id) else { return Err(refuse(StatusCode::NOT_FOUND, "404 Job Not Found")) };
        let running = job.status() == crate::pipeline::JobStatus::Running;
        (job.token == token, running || (job.awaits_ack && phase == Phase::AcceptedOrNot))
    };
    if !known {
        call.violation(if token.is_empty() { "no `JOB-TOKEN`" } else { "`JOB-TOKEN` is not the token of this job" });
        return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden"));
    }
    if !processing {
        let response = refuse(StatusCode::FORBIDDEN, "403 Forbidden - Job is not processing on runner");
        return Err(with_job_headers(&call.world, id, response, None));
    }
    Ok(())
}

fn with_job_headers(world: &World, id: u64, response: Response<Body>, wait: Option<u32>) -> Response<Body> {
    let status = match world.know().jobs.get(&id) {
        Some(job) => job.word(),
        None => return response,
    };
    let interval = wait.unwrap_or(world.options().trace_update_interval).to_string();
    with_header(with_header(response, "job-status", status), "x-gitlab-trace-update-interval", &interval)
}
