//! What an answer left unread of its request.
//!
//! A refusal often comes before the body was read. With the rest of it still on its way the connection has to be closed, and a client that
//! sends its next request on it, or is still sending this one, sees a broken connection in place of the answer. So the rest is read and
//! dropped where it is small, and where it is not the answer says that the connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// Bytes that are read to keep a connection. The tools of the forges send 32 to 64 MiB at a time.
const MOST: u64 = 128 << 20;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request's body, lent to the one who answers it.
pub(super) struct Lent(Arc<Mutex<Incoming>>);

impl Lent {
    fn with<T>(&self, work: impl FnOnce(Pin<&mut Incoming>) -> T) -> T {
        work(Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.with(|body| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

/// What is left of a request when it was answered.
pub(super) struct Leftover {
    body: Lent,
    /// The client sends the body only when it is asked for it, and reading is asking.
    waits_to_be_asked: bool,
}

impl Leftover {
    /// Lends the body of `request`.
    pub(super) fn lend(request: Request<Incoming>) -> (Request<Lent>, Self) {
        let waits_to_be_asked = request.headers().contains_key(EXPECT);
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        (Request::from_parts(parts, Lent(Arc::clone(&body))), Self { body: Lent(body), waits_to_be_asked })
    }

    /// Reads the rest, or says in the answer that the connection ends.
    pub(super) async fn settle<B>(self, mut answer: Response<B>) -> Response<B> {
        if !self.read_rest().await {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Whether all of it is read now.
    async fn read_rest(mut self) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        if self.waits_to_be_asked || self.body.size_hint().lower() > MOST {
            return false;
        }
        let rest = async {
            let mut read = 0;
            while let Some(frame) = self.body.frame().await {
                let Ok(frame) = frame else { return false };
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > MOST {
                    return false;
                }
            }
            true
        };
        timeout(PATIENCE, rest).await.unwrap_or(false)
    }
}
