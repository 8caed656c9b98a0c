//! The bytes of requests: nothing is read without a limit, and nothing waited for.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::refusal::{Refusal, disk};
use super::spool;

/// Bytes that are written at a time.
const PIECE: usize = 1 << 20;

/// A small body whole.
pub(super) async fn small(body: Body, most: usize, limits: &Limits) -> Result<Bytes, Refusal> {
    match timeout(limits.pause, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::Invalid(format!("the request has more than {most} bytes")))
        }
        Ok(Err(_)) => Err(Refusal::Cut),
        Err(_) => Err(Refusal::Slow),
    }
}

/// What holds while a body is received.
pub(super) struct Terms<'a> {
    pub(super) limits: &'a Limits,
    /// Cancelled when the job is over.
    pub(super) over: &'a CancellationToken,
    /// Where the file lies.
    pub(super) folder: &'a Path,
}

/// Writes a body into `file` from `at` on. `allow` is asked before each piece is written. How many bytes it has.
pub(super) async fn receive(
    body: Body,
    file: &Arc<File>,
    at: u64,
    terms: &Terms<'_>,
    mut allow: impl FnMut(Range<u64>) -> Result<(), Refusal>,
) -> Result<u64, Refusal> {
    let mut body = std::pin::pin!(body);
    let deadline = Instant::now() + terms.limits.request;
    let mut pending = Vec::with_capacity(PIECE);
    let mut end = at;
    loop {
        let frame = tokio::select! {
            () = terms.over.cancelled() => return Err(Refusal::Over),
            () = sleep_until(deadline) => return Err(Refusal::Slow),
            frame = timeout(terms.limits.pause, body.frame()) => frame.map_err(|_| Refusal::Slow)?,
        };
        let is_last = frame.is_none();
        if let Some(frame) = frame {
            let data = frame.map_err(|_| Refusal::Cut)?.into_data().unwrap_or_default();
            pending.extend_from_slice(&data);
        }
        if pending.len() >= PIECE || (is_last && !pending.is_empty()) {
            let length = pending.len() as u64;
            allow(end..end.saturating_add(length))?;
            pending = write(file, end, pending, terms).await?;
            end += length;
        }
        if is_last {
            return Ok(end - at);
        }
    }
}

async fn write(file: &Arc<File>, at: u64, mut bytes: Vec<u8>, terms: &Terms<'_>) -> Result<Vec<u8>, Refusal> {
    let (file, folder, reserve) = (Arc::clone(file), terms.folder.to_owned(), terms.limits.reserve_bytes);
    blocking(move || {
        spool::check_room(&folder, bytes.len() as u64, reserve)?;
        file.write_all_at(&bytes, at).map_err(|error| disk("writing a part of a cache entry", &error))?;
        bytes.clear();
        Ok(bytes)
    })
    .await
}

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::warn!(%error, "work of the cache server broke off");
            Err(Refusal::Failed("work of the cache server broke off".into()))
        }
    }
}
