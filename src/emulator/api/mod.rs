//! The runner API, `/api/v4/` (protocols: GitLab 1, 2, 4, 5, 6). One file a family of endpoints; this one holds what
//! they share.

pub mod artifacts;
pub mod jobs;
pub mod request;
pub mod runners;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::{any, delete, get, patch, post, put};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::record::KEPT_BODY;
use super::server::RequestIndex;
use super::world::World;

/// The largest JSON body taken, in bytes. `jobs/request` has a smaller limit of its own.
pub const JSON_LIMIT: usize = 1 << 20;

/// All routes of the API port. What is none of them is tried as a repository.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/api/v4/runners", post(runners::register).delete(runners::unregister))
        .route("/api/v4/runners/verify", post(runners::verify))
        .route("/api/v4/runners/managers", delete(runners::unregister_manager))
        .route("/api/v4/runners/reset_authentication_token", post(runners::reset))
        .route("/api/v4/runners/{id}/reset_authentication_token", post(runners::reset_by_id))
        .route("/api/v4/runners/router/discovery", get(runners::discovery))
        .route("/api/v4/jobs/request", post(request::request))
        .route("/api/v4/jobs/{id}", put(jobs::update))
        .route("/api/v4/jobs/{id}/trace", patch(jobs::append_trace))
        .route("/api/v4/jobs/{id}/artifacts", post(artifacts::upload).get(artifacts::download))
        .route("/oauth/discovery/keys", get(keys))
        .route("/api/{*rest}", any(not_found))
        .fallback(super::git::serve)
        .layer(DefaultBodyLimit::disable())
        .with_state(world)
}

/// The keys that the jobs' `id_tokens` are signed with.
async fn keys(State(world): State<Arc<World>>) -> Response<Body> {
    answer_json(StatusCode::OK, &world.signer.keys())
}

async fn not_found() -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, "404 Not Found")
}

/// A request whose body is in memory.
#[derive(Debug)]
pub struct Call {
    /// All that is known.
    pub world: Arc<World>,
    /// Its number in the record.
    pub index: usize,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Call {
    /// Reads a request's body, up to `limit` bytes (413 beyond), and checks what every request must have.
    pub async fn read(world: Arc<World>, request: Request, limit: usize) -> Result<Self, Response<Body>> {
        let (head, body) = request.into_parts();
        let index = head.extensions.get::<RequestIndex>().map_or(0, |index| index.0);
        let query = decode_query(head.uri.query());
        let mut call = Self { world, index, headers: head.headers, query, body: Bytes::new() };
        call.body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                call.violation(format!("the body is larger than {limit} bytes"));
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "413 Request Entity Too Large"));
            }
            Err(error) => return Err(refuse(StatusCode::BAD_REQUEST, &error.to_string())),
        };
        call.world.recorder.amend(index, |record| {
            record.body_size = call.body.len() as u64;
            record.body = call.body.slice(..call.body.len().min(KEPT_BODY));
        });
        call.check_common_headers();
        Ok(call)
    }

    /// Writes down that this request broke a rule.
    pub fn violation(&self, rule: impl Into<String>) {
        self.world.recorder.violation(self.index, rule);
    }

    /// A header's text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as a JSON object; 415 or 400 when it is none.
    pub fn json(&self) -> Result<Value, Response<Body>> {
        let media_type = self.header("content-type").split(';').next().unwrap_or_default().trim().to_owned();
        if media_type != "application/json" {
            self.violation(format!("the body is JSON, but `Content-Type` is `{media_type}`"));
            return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The provided content-type is not supported"));
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) if value.is_object() => Ok(value),
            _ => {
                self.violation("the body is no JSON object");
                Err(refuse(StatusCode::BAD_REQUEST, "message body does not match declared format"))
            }
        }
    }

    /// The runner's token: the body's, which the header `RUNNER-TOKEN` has to repeat (section 0).
    pub fn runner_token<'a>(&self, body: &'a Value) -> Result<&'a str, Response<Body>> {
        let Some(token) = body["token"].as_str().filter(|token| !token.is_empty()) else {
            self.violation("no `token` in the body");
            return Err(refuse(StatusCode::BAD_REQUEST, "token is missing"));
        };
        if self.header("runner-token") != token {
            self.violation("the header `RUNNER-TOKEN` does not repeat the token of the body");
            return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden"));
        }
        Ok(token)
    }

    /// Checks the `info` object a runner sends about itself (section 1.6).
    pub fn check_info(&self, body: &Value) {
        let info = &body["info"];
        for field in ["name", "version", "platform", "architecture", "executor"] {
            if info[field].as_str().is_none_or(str::is_empty) {
                self.violation(format!("`info.{field}` is missing"));
            }
        }
        let missing: Vec<&str> = FEATURES.into_iter().filter(|key| !info["features"][*key].is_boolean()).collect();
        if !missing.is_empty() {
            self.violation(format!(
                "`info.features` must name every feature, true or false; missing: {}",
                missing.join(", ")
            ));
        }
    }

    fn check_common_headers(&self) {
        let agent = self.header("user-agent");
        if !names_itself(agent) {
            self.violation(format!("`User-Agent` is `{agent}`, not `NAME VERSION (BRANCH; LANGUAGE; OS/ARCH)`"));
        }
        let id = self.header("x-request-id");
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.violation(format!("`X-Request-Id` is `{id}`, not 32 hexadecimal digits"));
        }
    }
}

/// `NAME VERSION (BRANCH; LANGUAGE; OS/ARCH)`.
fn names_itself(agent: &str) -> bool {
    let Some((program, rest)) = agent.strip_suffix(')').and_then(|agent| agent.split_once(" (")) else { return false };
    let details: Vec<&str> = rest.split("; ").collect();
    program.split(' ').filter(|word| !word.is_empty()).count() == 2
        && details.len() == 3
        && details.iter().all(|detail| !detail.is_empty())
        && details[2].split_once('/').is_some_and(|(os, arch)| !os.is_empty() && !arch.is_empty())
}

/// The features of section 1.6 that are always named.
pub const FEATURES: [&str; 30] = [
    "variables",
    "image",
    "services",
    "artifacts",
    "cache",
    "fallback_cache_keys",
    "shared",
    "upload_multiple_artifacts",
    "upload_raw_artifacts",
    "session",
    "terminal",
    "refspecs",
    "masking",
    "proxy",
    "raw_variables",
    "artifacts_exclude",
    "multi_build_steps",
    "trace_reset",
    "trace_checksum",
    "trace_size",
    "vault_secrets",
    "cancelable",
    "return_exit_code",
    "service_variables",
    "service_multiple_aliases",
    "image_executor_opts",
    "service_executor_opts",
    "cancel_gracefully",
    "native_steps_integration",
    "two_phase_job_commit",
];

/// The pairs of a query.
pub fn decode_query(query: Option<&str>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A refusal as the API words it.
pub fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    answer_json(status, &json!({ "message": message }))
}

/// An answer with a JSON body.
pub fn answer_json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
pub fn answer_empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds a header; a value that cannot be one is left out.
pub fn with_header(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
