//! Requests to a GitLab and what their answers have in common. (protocols: GitLab 0.)

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::outbound::{Outbound, OutboundError, Patience, read_beginning, read_limited, remote_of, retry};
use crate::pipeline::{ForgeInstance, Secret};

/// No answer but a job is larger.
const ANSWER_LIMIT: u64 = 1024 * 1024;
/// How long ordinary calls are waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// As much as is read of a body whose status says everything, and for how long: it may have words for people.
const BEGINNING: usize = 64 * 1024;
const BEGINNING_WITHIN: Duration = Duration::from_secs(10);

/// Why a call has no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The registration's address cannot be used.
    #[error("`{url}` is not the address of a GitLab: {why}")]
    Address {
        /// The address, without credentials.
        url: String,
        /// Why.
        why: &'static str,
    },
    /// No answer.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// An answer that is not what the protocol says.
    #[error("{remote} answered {status} to {call}, but {why}; is this the address of a GitLab?")]
    Nonsense {
        /// Scheme, host and port.
        remote: String,
        /// The call.
        call: String,
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        why: String,
    },
}

/// Who a call is from.
#[derive(Clone, Copy)]
pub enum Caller<'a> {
    /// The runner; its token goes into a header besides the body.
    Runner(&'a Secret),
    /// A job.
    Job(&'a Secret),
}

/// One call.
pub struct Call<'a> {
    /// Method.
    pub method: Method,
    /// Path below `/api/v4/`, with its query.
    pub path: String,
    /// Who calls.
    pub caller: Caller<'a>,
    /// Further headers.
    pub headers: HeaderMap,
    /// Body and its type.
    pub body: Option<(&'static str, Bytes)>,
    /// How often and how long.
    pub patience: Patience,
    /// How much of a success is read.
    pub wants: Wants,
}

/// How much of the body of a success is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Only its beginning: its status says everything.
    Status,
    /// All of it, at most so many bytes.
    Body(u64),
}

impl<'a> Call<'a> {
    /// A call without body, with the usual patience.
    pub fn new(method: Method, path: impl Into<String>, caller: Caller<'a>) -> Self {
        Self {
            method,
            path: path.into(),
            caller,
            headers: HeaderMap::new(),
            body: None,
            patience: Patience::of(ANSWER_WITHIN),
            wants: Wants::Status,
        }
    }

    /// With a JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        // Our own types: no map with keys that are not texts, nothing that refuses to be written.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.body = Some(("application/json", Bytes::from(body)));
        self
    }

    /// To be answered with JSON.
    pub fn answered_with_json(mut self) -> Self {
        self.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.wants = Wants::Body(ANSWER_LIMIT);
        self
    }
}

/// An answer, read as far as it is needed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The request's id: the server's, else ours.
    pub request_id: String,
    /// Body, or its beginning.
    pub body: Bytes,
    /// How long the server wants to be left alone, where it says so.
    pub retry_after: Option<Duration>,
}

/// The API of one GitLab.
#[derive(Clone)]
pub struct Api {
    outbound: Outbound,
    base: Url,
}

impl Api {
    /// The API below a configured address.
    pub fn new(outbound: Outbound, url: &Url) -> Result<Self, ApiError> {
        let bad = |why| ApiError::Address { url: instance(url).to_string(), why };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        let base = Url::parse(&format!("{}/api/v4/", instance(url).as_str())).map_err(|_| bad("it cannot be read"))?;
        Ok(Self { outbound, base })
    }

    /// The door in use.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Scheme, host and port, for messages.
    pub fn remote(&self) -> String {
        remote_of(&self.base)
    }

    /// The address of a call.
    pub fn url(&self, path: &str) -> Result<Url, ApiError> {
        self.base
            .join(path)
            .map_err(|_| ApiError::Address { url: self.base.to_string(), why: "a path cannot be put below it" })
    }

    /// The same API on another host, where the server sends us there: scheme and host of `location`. `None` where
    /// that is no address, or would take the token out of TLS. (6.1)
    pub fn moved_to(&self, location: &str) -> Option<Self> {
        let target = self.base.join(location).ok()?;
        let mut base = self.base.clone();
        let downgrade = self.base.scheme() == "https" && target.scheme() != "https";
        if downgrade || !matches!(target.scheme(), "http" | "https") {
            return None;
        }
        base.set_scheme(target.scheme()).ok()?;
        base.set_host(target.host_str()).ok()?;
        base.set_port(target.port()).ok()?;
        Some(Self { outbound: self.outbound.clone(), base })
    }

    /// Sends a call and reads the answer, whatever its status.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, ApiError> {
        let (response, own_id) = self.start(&call).await?;
        self.read(response, own_id, call.wants).await
    }

    /// Sends a call up to the headers of its answer.
    pub async fn start(&self, call: &Call<'_>) -> Result<(reqwest::Response, String), ApiError> {
        let url = self.url(&call.path)?;
        let own_id = new_request_id();
        let headers = headers_of(call, &own_id);
        let response = self
            .outbound
            .send_with_retry(call.patience, |client| {
                let mut request = client.request(call.method.clone(), url.clone()).headers(headers.clone());
                if let Some((_, body)) = &call.body {
                    request = request.body(body.clone());
                }
                request.build().map_err(|error| OutboundError::Transport(self.outbound.explain(&error, &url)))
            })
            .await?;
        Ok((response, own_id))
    }

    /// Reads an answer. What is wrong with a body that nobody needs does not make a failure of it.
    pub async fn read(&self, response: reqwest::Response, own_id: String, wants: Wants) -> Result<Answer, ApiError> {
        let status = response.status();
        let headers = response.headers().clone();
        let path = response.url().path().to_owned();
        let body = match wants {
            Wants::Body(limit) if status.is_success() => self.whole_body(response, limit).await?,
            Wants::Body(_) | Wants::Status => read_beginning(response, BEGINNING, BEGINNING_WITHIN).await,
        };
        let request_id = headers
            .get("X-Request-Id")
            .and_then(|id| id.to_str().ok())
            .filter(|id| !id.is_empty() && id.len() <= 128)
            .map_or(own_id, str::to_owned);
        let retry_after = retry::wished_wait(&headers, self.outbound.pace().now());
        let answer = Answer { status, headers, request_id, body, retry_after };
        if status.is_success() && answer.is_page() {
            let (remote, call) = (self.remote(), format!("`{path}`"));
            let why = "it is a web page (the login of a proxy, perhaps)".to_owned();
            return Err(ApiError::Nonsense { remote, call, status, why });
        }
        Ok(answer)
    }

    async fn whole_body(&self, response: reqwest::Response, limit: u64) -> Result<Bytes, OutboundError> {
        let late = |_elapsed| OutboundError::Transport(format!("the answer of {} did not end in time", self.remote()));
        tokio::time::timeout(ANSWER_WITHIN, read_limited(&self.outbound, response, limit)).await.map_err(late)?
    }
}

/// Headers of a call. `RUNNER-TOKEN` and `JOB-TOKEN` are marked as sensitive, so that no log of a library shows them.
pub(super) fn headers_of(call: &Call<'_>, request_id: &str) -> HeaderMap {
    let mut headers = call.headers.clone();
    let (name, token) = match call.caller {
        Caller::Runner(token) => ("RUNNER-TOKEN", token),
        Caller::Job(token) => ("JOB-TOKEN", token),
    };
    // A token that is no header value is none at all; the server then refuses the call with a message of its own.
    if let Ok(mut value) = HeaderValue::from_str(token.expose()) {
        value.set_sensitive(true);
        headers.insert(
            header::HeaderName::from_static(if name == "JOB-TOKEN" { "job-token" } else { "runner-token" }),
            value,
        );
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    if let Some((kind, _)) = &call.body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    headers
}

/// 32 hexadecimal digits.
pub(super) fn new_request_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The forge behind a configured address: no trailing slashes, no trailing `/ci`, no credentials, query or fragment.
pub fn instance(url: &Url) -> ForgeInstance {
    let mut path = url.path().trim_end_matches('/');
    path = path.strip_suffix("/ci").unwrap_or(path).trim_end_matches('/');
    ForgeInstance::new(format!("{}{path}", remote_of(url)))
}

impl Answer {
    /// The body as JSON. A media type that is not exactly `application/json` is an error, so that an error page of
    /// something in between is not taken for an answer.
    pub fn json<T: DeserializeOwned>(&self, api: &Api, call: &str) -> Result<T, ApiError> {
        let nonsense =
            |why: String| ApiError::Nonsense { remote: api.remote(), call: call.to_owned(), status: self.status, why };
        if !self.is_json() {
            let kind = self.header("Content-Type").unwrap_or_default();
            return Err(nonsense(format!("its content is `{}`, not JSON", shortened(kind, 60))));
        }
        serde_json::from_slice(&self.body).map_err(|error| nonsense(format!("its JSON cannot be read ({error})")))
    }

    /// Whether the content is declared to be JSON.
    pub fn is_json(&self) -> bool {
        let kind = self.header("Content-Type").unwrap_or_default();
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    }

    /// Whether this is a page for people, which no answer of the API is: something in between gave it, and whatever its
    /// status says, the server has not heard the call.
    fn is_page(&self) -> bool {
        let kind = self.header("Content-Type").unwrap_or_default();
        kind.to_ascii_lowercase().starts_with("text/html") && self.body.trim_ascii_start().starts_with(b"<")
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// What the server says in an error's body (`{"message": …}`), shortened, else nothing.
    pub fn message(&self) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let text = match value.get("message").or_else(|| value.get("error"))? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Object(fields) => fields
                .iter()
                .map(|(field, errors)| match errors {
                    serde_json::Value::Array(list) => {
                        let list: Vec<_> = list.iter().filter_map(|error| error.as_str()).collect();
                        format!("{field} {}", list.join(", "))
                    }
                    other => format!("{field} {other}"),
                })
                .collect::<Vec<_>>()
                .join("; "),
            _ => return None,
        };
        Some(shortened(&text, 300))
    }

    /// Status and message in one text.
    pub fn said(&self) -> String {
        match self.message() {
            Some(message) => format!("{} ({message})", self.status),
            None => self.status.to_string(),
        }
    }
}

/// `text` for a message of ours: no control characters, not endless.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_cut_as_the_official_runner_does() {
        for (given, want) in [
            ("https://g.example.com", "https://g.example.com"),
            ("https://g.example.com/", "https://g.example.com"),
            ("https://g.example.com/ci", "https://g.example.com"),
            ("https://g.example.com/gitlab/ci//", "https://g.example.com/gitlab"),
            ("https://user:pw@g.example.com:8443/gitlab/?x#y", "https://g.example.com:8443/gitlab"),
        ] {
            assert_eq!(instance(&Url::parse(given).unwrap()).as_str(), want, "{given}");
        }
    }

    #[test]
    fn an_error_of_a_server_becomes_one_line() {
        let answer = |body: &'static str| Answer {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            request_id: String::new(),
            body: Bytes::from_static(body.as_bytes()),
            retry_after: None,
        };
        assert_eq!(answer(r#"{"message":"403 Forbidden"}"#).message().unwrap(), "403 Forbidden");
        assert_eq!(answer(r#"{"message":{"tags":["is bad","is old"]}}"#).message().unwrap(), "tags is bad, is old");
        assert_eq!(answer("<html>").message(), None);
    }
}
