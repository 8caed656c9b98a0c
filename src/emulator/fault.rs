//! Failures on demand: rules that spoil chosen requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;

use super::record::Endpoint;

/// What is done to a request.
#[derive(Clone, Debug)]
pub enum FaultAction {
    /// It is answered with this status, these headers and this body, and not looked at.
    Status {
        /// The status code.
        code: u16,
        /// Headers of the answer.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// It is served as usual, but only after this time.
    Delay(Duration),
    /// It is never answered.
    Hang,
    /// It is served as usual, but only once its rule is out of force.
    UntilHealed,
    /// It is answered with 200 and this body and media type.
    Garbage {
        /// The body.
        body: Vec<u8>,
        /// `Content-Type`.
        content_type: String,
    },
    /// The connection is reset before the request is looked at.
    Reset,
    /// The request is served, and then the connection is reset in place of the answer: the runner cannot know.
    ServeThenReset,
    /// The answer's head and the first half of its body arrive, then the connection is reset.
    CutBody,
}

impl FaultAction {
    /// A status with a JSON message, as the server would send it.
    pub fn status(code: u16) -> Self {
        FaultAction::Status {
            code,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: format!("{{\"message\":\"{code} by rule\"}}"),
        }
    }

    /// A page for people in place of the API's answer, as a proxy's login page: 200 and HTML.
    pub fn html() -> Self {
        FaultAction::Garbage {
            body: b"<!doctype html><title>Sign in</title><p>You are being redirected.".to_vec(),
            content_type: "text/html; charset=utf-8".to_owned(),
        }
    }
}

/// Which requests are spoiled, and how.
#[derive(Clone, Debug)]
pub struct FaultRule {
    /// Only requests about this; `None`: any.
    pub endpoint: Option<Endpoint>,
    /// Only this method; `None`: any.
    pub method: Option<Method>,
    /// Only paths (with query) that contain this text.
    pub path: String,
    /// Only requests that carry this header value somewhere (a token, say).
    pub header: Option<(String, String)>,
    /// How many that match are left alone first.
    pub skip: u32,
    /// How many are spoiled after those.
    pub times: u32,
    /// What is done to them.
    pub action: FaultAction,
}

impl FaultRule {
    /// Spoils every request about `endpoint`.
    pub fn all(endpoint: Endpoint, action: FaultAction) -> Self {
        Self {
            endpoint: Some(endpoint),
            method: None,
            path: String::new(),
            header: None,
            skip: 0,
            times: u32::MAX,
            action,
        }
    }

    /// Spoils the first `times` requests about `endpoint`.
    pub fn first(times: u32, endpoint: Endpoint, action: FaultAction) -> Self {
        Self { times, ..Self::all(endpoint, action) }
    }

    /// Spoils only the `n`th request (from 1) about `endpoint`.
    pub fn nth(n: u32, endpoint: Endpoint, action: FaultAction) -> Self {
        Self { skip: n.saturating_sub(1), times: 1, ..Self::all(endpoint, action) }
    }

    /// The same for paths that contain `text` only.
    pub fn on_path(mut self, text: impl Into<String>) -> Self {
        self.path = text.into();
        self
    }

    fn matches(&self, endpoint: Endpoint, head: &axum::http::request::Parts) -> bool {
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        self.endpoint.is_none_or(|wanted| wanted == endpoint)
            && self.method.as_ref().is_none_or(|wanted| *wanted == head.method)
            && path.contains(&self.path)
            && self.header.as_ref().is_none_or(|(name, value)| {
                head.headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|seen| seen.contains(value.as_str()))
            })
    }
}

/// The rules in force, each with its number and the number of requests it has seen.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<(u64, FaultRule, u32)>>,
    last_id: AtomicU64,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, FaultRule, u32)>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a rule in force and returns its number.
    pub fn add(&self, rule: FaultRule) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        self.lock().push((id, rule, 0));
        id
    }

    /// Takes a rule out of force.
    pub fn remove(&self, id: u64) {
        self.lock().retain(|(known, _, _)| *known != id);
    }

    /// Whether a rule is in force.
    pub fn has(&self, id: u64) -> bool {
        self.lock().iter().any(|(known, _, _)| *known == id)
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What is to be done to this request, and by which rule. Every matching rule counts it; the first that is due acts.
    pub fn due(&self, endpoint: Endpoint, head: &axum::http::request::Parts) -> Option<(u64, FaultAction)> {
        let mut due = None;
        for (id, rule, seen) in self.lock().iter_mut() {
            if !rule.matches(endpoint, head) {
                continue;
            }
            let position = *seen;
            *seen = seen.saturating_add(1);
            if due.is_none() && position >= rule.skip && position - rule.skip < rule.times {
                due = Some((*id, rule.action.clone()));
            }
        }
        due
    }
}
