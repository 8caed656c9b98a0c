//! `POST jobs/request`: handing out jobs, with and without long polling (protocols: GitLab 2).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::runners::{authenticate, check_system_id};
use super::{Call, answer_empty, with_header};
use crate::emulator::world::World;

/// The largest body of a job request, in bytes (2.1).
const REQUEST_LIMIT: usize = 32 * 1024;

/// Answers a job request.
pub async fn request(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let call = match Call::read(world, request, REQUEST_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let body = match call.json() {
        Ok(body) => body,
        Err(response) => return response,
    };
    let Some(hold) = call.world.options().long_poll else { return from_queue(&call, &body) };
    let last_update = body["last_update"].as_str().unwrap_or_default();
    let token = body["token"].as_str().unwrap_or_default();
    let mut response = if last_update.is_empty() || token.is_empty() {
        from_queue(&call, &body)
    } else {
        match watch(&call.world, token, last_update, hold).await {
            Watched::Differs => from_queue(&call, &body),
            // Whether the value changed or the time is up: an answer without a job and without a new value (2.4).
            Watched::Changed | Watched::Same => answer_empty(StatusCode::NO_CONTENT),
        }
    };
    response.headers_mut().insert("gitlab-ci-builds-polling", HeaderValue::from_static("yes"));
    response
}

enum Watched {
    /// The value was another one already.
    Differs,
    /// It changed while the request waited.
    Changed,
    /// It did not change in time.
    Same,
}

/// Waits for the queue value of the runner with `token` to differ from `last_update`.
async fn watch(world: &World, token: &str, last_update: &str, hold: Duration) -> Watched {
    let mut changes = world.changes();
    let value = || world.know().runner_by_token(token).map(|runner| runner.queue_value());
    // An unknown token is the application's to refuse.
    if value().is_none_or(|value| value != last_update) {
        return Watched::Differs;
    }
    let changed = async {
        while value().is_some_and(|value| value == last_update) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    match tokio::time::timeout(hold, changed).await {
        Ok(()) => Watched::Changed,
        Err(_) => Watched::Same,
    }
}

fn from_queue(call: &Call, body: &Value) -> Response<Body> {
    let runner = match authenticate(call, body) {
        Ok(runner) => runner,
        Err(response) => return response,
    };
    call.check_info(body);
    check_system_id(call, body);
    if call.header("accept") != "application/json" {
        call.violation("a JSON body is expected back, but `Accept` does not say so");
    }
    let system_id = body["system_id"].as_str().unwrap_or_default();
    let (value, paused) = {
        let mut know = call.world.know();
        know.heard_of(runner, system_id, &body["info"]);
        let Some(runner) = know.runners.get(&runner) else { return answer_empty(StatusCode::FORBIDDEN) };
        (runner.queue_value(), runner.spec.paused)
    };
    let nothing = || with_header(answer_empty(StatusCode::NO_CONTENT), "x-gitlab-last-update", &value);
    if paused || body["last_update"].as_str() == Some(value.as_str()) {
        return nothing();
    }
    // The value was read before the search: a job queued in between is found by the next request.
    match call.world.hand_out(runner, system_id, &body["info"]) {
        None => nothing(),
        Some(job) => {
            let mut response = Response::new(Body::from(job.body));
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let correlation = uuid::Uuid::new_v4().simple().to_string();
            with_header(response, "x-request-id", &correlation)
        }
    }
}
