//! Registration and management of runners (protocols: GitLab 1).

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Call, JSON_LIMIT, answer_empty, answer_json, refuse};
use crate::emulator::world::World;
use crate::emulator::world::runner::RunnerSpec;

type Shared = State<Arc<World>>;

/// `POST runners`: the legacy registration with a registration token (1.3).
pub async fn register(State(world): Shared, request: Request) -> Response<Body> {
    respond(world, request, |call, body| {
        let token = call.runner_token(&body)?;
        let Some(expected) = call.world.options().registration_token else {
            return Err(refuse(StatusCode::GONE, "410 Gone"));
        };
        if token != expected {
            return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden - invalid token supplied"));
        }
        call.check_info(&body);
        for field in ["run_untagged", "locked", "paused"] {
            if !body[field].is_boolean() {
                call.violation(format!("`{field}` is always sent, as true or false"));
            }
        }
        let tags = body["tag_list"].as_str().unwrap_or_default();
        let tags: Vec<String> =
            tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        if tags.is_empty() && body["run_untagged"] == json!(false) {
            return Err(invalid("tags_list", "can not be empty when runner is not allowed to pick untagged jobs"));
        }
        if body["maintenance_note"].as_str().is_some_and(|note| note.chars().count() > 1024) {
            return Err(invalid("maintenance_note", "is too long (maximum is 1024 characters)"));
        }
        let spec = RunnerSpec {
            description: body["description"].as_str().unwrap_or_default().to_owned(),
            tags,
            paused: body["paused"] == json!(true),
            token: Some(format!("glrtr-{}", crate::emulator::world::random_text(20))),
            lifetime: call.world.options().runner_token_lifetime,
            ..RunnerSpec::default()
        };
        let (id, _) = call.world.know().add_runner(spec);
        Ok(told(&call.world, id, StatusCode::CREATED, true))
    })
    .await
}

fn invalid(field: &str, problem: &str) -> Response<Body> {
    let mut fields = serde_json::Map::new();
    fields.insert(field.to_owned(), json!([problem]));
    answer_json(StatusCode::BAD_REQUEST, &json!({ "message": fields }))
}

/// `POST runners/verify`.
pub async fn verify(State(world): Shared, request: Request) -> Response<Body> {
    respond(world, request, |call, body| {
        let id = authenticate(call, &body)?;
        call.check_info(&body);
        check_system_id(call, &body);
        call.world.know().heard_of(id, body["system_id"].as_str().unwrap_or_default(), &body["info"]);
        Ok(told(&call.world, id, StatusCode::OK, true))
    })
    .await
}

/// `DELETE runners`.
pub async fn unregister(State(world): Shared, request: Request) -> Response<Body> {
    respond(world, request, |call, body| {
        let id = authenticate(call, &body)?;
        call.world.know().runners.remove(&id);
        Ok(answer_empty(StatusCode::NO_CONTENT))
    })
    .await
}

/// `DELETE runners/managers`.
pub async fn unregister_manager(State(world): Shared, request: Request) -> Response<Body> {
    respond(world, request, |call, body| {
        let id = authenticate(call, &body)?;
        let Some(system_id) = body["system_id"].as_str().filter(|id| !id.is_empty()) else {
            call.violation("no `system_id`");
            return Err(refuse(StatusCode::BAD_REQUEST, "system_id is missing"));
        };
        let mut know = call.world.know();
        let known = know.runners.get_mut(&id).and_then(|runner| runner.managers.remove(system_id)).is_some();
        if known {
            Ok(answer_empty(StatusCode::NO_CONTENT))
        } else {
            Err(refuse(StatusCode::NOT_FOUND, "404 Not Found"))
        }
    })
    .await
}

/// `POST runners/reset_authentication_token`: a runner resets its own token.
pub async fn reset(State(world): Shared, request: Request) -> Response<Body> {
    respond(world, request, |call, body| {
        let Some(token) = body["token"].as_str() else {
            call.violation("no `token` in the body");
            return Err(refuse(StatusCode::BAD_REQUEST, "token is missing"));
        };
        let id = call.world.know().runner_by_token(token).map(|runner| runner.id);
        let Some(id) = id else { return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden")) };
        Ok(reset_and_tell(&call.world, id))
    })
    .await
}

/// `POST runners/:id/reset_authentication_token`, with a personal access token.
pub async fn reset_by_id(State(world): Shared, Path(id): Path<u64>, request: Request) -> Response<Body> {
    let call = match Call::read(world, request, JSON_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    if call.header("private-token") != call.world.options().admin_token {
        return refuse(StatusCode::FORBIDDEN, "403 Forbidden");
    }
    if !call.world.know().runners.contains_key(&id) {
        return refuse(StatusCode::NOT_FOUND, "404 Not Found");
    }
    reset_and_tell(&call.world, id)
}

/// `GET runners/router/discovery`: there is no job router here.
pub async fn discovery() -> Response<Body> {
    refuse(StatusCode::NOT_IMPLEMENTED, "501 Not Implemented")
}

async fn respond(
    world: Arc<World>,
    request: Request,
    handle: impl FnOnce(&Call, Value) -> Result<Response<Body>, Response<Body>>,
) -> Response<Body> {
    let call = match Call::read(world, request, JSON_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let response = match call.json().and_then(|body| handle(&call, body)) {
        Ok(response) | Err(response) => response,
    };
    call.world.changed();
    response
}

/// The runner whose valid token came with the request; 403 when there is none.
pub fn authenticate(call: &Call, body: &Value) -> Result<u64, Response<Body>> {
    let token = call.runner_token(body)?;
    let id = call.world.know().runner_by_token(token).map(|runner| runner.id);
    id.ok_or_else(|| refuse(StatusCode::FORBIDDEN, "403 Forbidden"))
}

/// Checks the machine's id (1.5).
pub fn check_system_id(call: &Call, body: &Value) {
    let id = body["system_id"].as_str().unwrap_or_default();
    let well_formed = id.len() == 14
        && (id.starts_with("s_") || id.starts_with("r_"))
        && id.bytes().skip(2).all(|byte| byte.is_ascii_alphanumeric());
    if !well_formed {
        call.violation(format!("`system_id` is `{id}`, not s_ or r_ and twelve letters or digits"));
    }
}

fn told(world: &World, id: u64, status: StatusCode, with_id: bool) -> Response<Body> {
    let know = world.know();
    let Some(runner) = know.runners.get(&id) else { return refuse(StatusCode::NOT_FOUND, "404 Not Found") };
    let mut body = json!({ "token": runner.token, "token_expires_at": runner.expiry_text() });
    if with_id {
        body["id"] = json!(runner.id);
    }
    answer_json(status, &body)
}

fn reset_and_tell(world: &World, id: u64) -> Response<Body> {
    let lifetime = world.options().runner_token_lifetime.or_else(|| {
        // Without a configured lifetime the new token lives as long as the old one was to live still.
        let know = world.know();
        let expires = know.runners.get(&id).and_then(|runner| runner.expires_at)?;
        expires.duration_since(SystemTime::now()).ok()
    });
    world.know().reset_token(id, lifetime);
    told(world, id, StatusCode::CREATED, false)
}
