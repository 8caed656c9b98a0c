//! The requests of the object store's client, sent through the one door to the network.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use jiff::Timestamp;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use url::Url;

use super::bound::Moved;
use crate::outbound::breaker::BreakerChange;
use crate::outbound::{Outbound, OutboundError, remote_of, retry};

/// The largest answer that is not an object's content: a page of a listing has 1,000 keys of at most 1 KiB, which XML
/// may blow up to six times that.
const LONGEST_ANSWER: u64 = 16 << 20;

/// As much of the text of an error is read.
const LONGEST_ERROR: u64 = 64 << 10;

/// A transfer of a large object takes as long as it takes; whether it gets on is watched elsewhere.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);

/// As long a busy server's wish to be left alone is granted before the retry.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Sends requests through the door.
#[derive(Clone)]
pub(super) struct Transport {
    outbound: Outbound,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound }
    }

    async fn send(&self, url: &Url, request: reqwest::Request) -> Result<reqwest::Response, HttpError> {
        let remote = remote_of(url);
        let breaker = self.outbound.breaker(&remote);
        breaker
            .admit(Instant::now())
            .map_err(|wait| HttpError::new(HttpErrorKind::Connect, OutboundError::Resting { remote, wait }))?;
        match self.outbound.http().execute(request).await {
            Ok(response) => {
                breaker.note(BreakerChange::Answered, Instant::now());
                Ok(response)
            }
            Err(error) => {
                breaker.note(BreakerChange::Failed, Instant::now());
                Err(explained(&self.outbound, &error, url))
            }
        }
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url: Url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, BadAddress(error)))?;
        let is_content = parts.method == Method::GET && url.query().is_none();
        let moved = Moved::current();
        let mut request = reqwest::Request::new(parts.method, url.clone());
        *request.headers_mut() = parts.headers;
        *request.timeout_mut() = Some(LONGEST_REQUEST);
        if body.content_length() > 0 {
            *request.body_mut() = Some(reqwest::Body::wrap(Sent { body, moved: moved.clone() }));
        }
        let response = self.send(&url, request).await?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            // The client waits by itself before it tries again; what the server wished comes first.
            if let Some(wait) = retry::wished_wait(response.headers(), Timestamp::now()) {
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
        }
        let limit = match status {
            status if !status.is_success() => Limit::Cut(LONGEST_ERROR),
            _ if is_content => Limit::None,
            _ => Limit::Refuse(LONGEST_ANSWER),
        };
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let received = Received { body, limit, read: 0, moved, outbound: self.outbound.clone(), url };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(received)))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the address of the request cannot be used: {0}")]
struct BadAddress(url::ParseError);

fn explained(outbound: &Outbound, error: &reqwest::Error, url: &Url) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_builder() {
        HttpErrorKind::Unknown
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, OutboundError::Transport(outbound.explain(error, url)))
}

/// A request's body, counted as it goes.
struct Sent {
    body: HttpRequestBody,
    moved: Moved,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.moved.add(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of an answer is read.
#[derive(Clone, Copy)]
enum Limit {
    /// All of it: whoever asked counts.
    None,
    /// More is an error.
    Refuse(u64),
    /// More is left out.
    Cut(u64),
}

/// An answer's body, counted and limited.
struct Received {
    body: reqwest::Body,
    limit: Limit,
    read: u64,
    moved: Moved,
    outbound: Outbound,
    url: Url,
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if matches!(self.limit, Limit::Cut(limit) if self.read >= limit) {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(explained(&self.outbound, &error, &self.url)))),
            Some(Ok(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.read += bytes as u64;
        self.moved.add(bytes);
        if let Limit::Refuse(limit) = self.limit
            && self.read > limit
        {
            let too_large = OutboundError::TooLarge { remote: remote_of(&self.url), limit };
            return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Decode, too_large))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.limit {
            // The beginning of it, and so much memory is set aside: not what the server says.
            Limit::Cut(_) | Limit::Refuse(_) => SizeHint::default(),
            Limit::None => self.body.size_hint(),
        }
    }
}
