//! The record of every request, and of everything a well-made runner would not have sent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;

/// Bodies up to this many bytes are kept in the record.
pub const KEPT_BODY: usize = 64 * 1024;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST runners`.
    RegisterRunner,
    /// `POST runners/verify`.
    VerifyRunner,
    /// `DELETE runners`.
    UnregisterRunner,
    /// `DELETE runners/managers`.
    UnregisterManager,
    /// `POST runners/reset_authentication_token`, with or without an id.
    ResetToken,
    /// `POST jobs/request`.
    RequestJob,
    /// `PUT jobs/:id`.
    UpdateJob,
    /// `PATCH jobs/:id/trace`.
    PatchTrace,
    /// `POST jobs/:id/artifacts`.
    UploadArtifact,
    /// `GET jobs/:id/artifacts`.
    DownloadArtifact,
    /// Anything under a repository's address.
    Git,
    /// The object storage.
    Storage,
    /// None of these.
    Other,
}

impl Endpoint {
    /// What `method` and `path` of the API port are about.
    pub fn of(method: &Method, path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/api/v4/") else {
            return if path.contains(".git/") { Endpoint::Git } else { Endpoint::Other };
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["runners"]) => Endpoint::RegisterRunner,
            ("POST", ["runners", "verify"]) => Endpoint::VerifyRunner,
            ("DELETE", ["runners"]) => Endpoint::UnregisterRunner,
            ("DELETE", ["runners", "managers"]) => Endpoint::UnregisterManager,
            ("POST", ["runners", "reset_authentication_token"] | ["runners", _, "reset_authentication_token"]) => {
                Endpoint::ResetToken
            }
            ("POST", ["jobs", "request"]) => Endpoint::RequestJob,
            ("PUT", ["jobs", _]) => Endpoint::UpdateJob,
            ("PATCH", ["jobs", _, "trace"]) => Endpoint::PatchTrace,
            ("POST", ["jobs", _, "artifacts"]) => Endpoint::UploadArtifact,
            ("GET", ["jobs", _, "artifacts"]) => Endpoint::DownloadArtifact,
            _ => Endpoint::Other,
        }
    }
}

/// One request as it came in and what became of it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its number, from 0.
    pub index: usize,
    /// What it is about.
    pub endpoint: Endpoint,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// When its head was read.
    pub at: Instant,
    /// The same by the wall clock.
    pub wall_clock: SystemTime,
    /// How many bytes of body were read. For git and artifacts: as far as read until the answer began.
    pub body_size: u64,
    /// The body, up to [`KEPT_BODY`] bytes; empty for git and artifacts, which are streamed.
    pub body: Bytes,
    /// The answer's status; `None` while there is none (held, hung, reset).
    pub status: Option<u16>,
    /// The answer's headers.
    pub answer: HeaderMap,
    /// How long it took until the answer began.
    pub took: Option<Duration>,
    /// Whether a [`super::FaultRule`] interfered.
    pub faulted: bool,
}

impl RecordedRequest {
    /// A header's text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The job the path names.
    pub fn job(&self) -> Option<u64> {
        self.path.strip_prefix("/api/v4/jobs/")?.split('/').next()?.parse().ok()
    }
}

/// Something a well-made runner would not have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The number of the request in the record.
    pub request: usize,
    /// Method and path of the request.
    pub what: String,
    /// What is wrong with it.
    pub rule: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "request {} ({}): {}", self.request, self.what, self.rule)
    }
}

/// All requests and violations so far. Grows without limit: an emulator lives as long as a test.
#[derive(Debug, Default)]
pub struct Recorder {
    inner: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    requests: Vec<RecordedRequest>,
    violations: Vec<Violation>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a request down and gives it its number.
    pub fn begin(&self, endpoint: Endpoint, head: &axum::http::request::Parts) -> usize {
        let mut records = self.lock();
        let index = records.requests.len();
        records.requests.push(RecordedRequest {
            index,
            endpoint,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers.clone(),
            at: Instant::now(),
            wall_clock: SystemTime::now(),
            body_size: 0,
            body: Bytes::new(),
            status: None,
            answer: HeaderMap::new(),
            took: None,
            faulted: false,
        });
        index
    }

    /// Changes what is known about request `index`.
    pub fn amend(&self, index: usize, change: impl FnOnce(&mut RecordedRequest)) {
        if let Some(request) = self.lock().requests.get_mut(index) {
            change(request);
        }
    }

    /// Writes down that request `index` broke `rule`.
    pub fn violation(&self, index: usize, rule: impl Into<String>) {
        let mut records = self.lock();
        let what = match records.requests.get(index) {
            Some(request) => format!("{} {}", request.method, request.path),
            None => "no request".to_owned(),
        };
        records.violations.push(Violation { request: index, what, rule: rule.into() });
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.clone()
    }

    /// All violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }
}
