//! Answers are read up to a limit only.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::{Outbound, OutboundError, remote_of};

/// The body of an answer, if it has at most `limit` bytes. More is an error, found without reading it all.
pub async fn read_limited(
    outbound: &Outbound,
    mut response: reqwest::Response,
    limit: u64,
) -> Result<Bytes, OutboundError> {
    let url = response.url().clone();
    let too_large = || OutboundError::TooLarge { remote: remote_of(&url), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    loop {
        let piece = response.chunk().await;
        match piece.map_err(|error| OutboundError::Transport(outbound.explain(&error, &url)))? {
            Some(piece) if (body.len() + piece.len()) as u64 > limit => return Err(too_large()),
            Some(piece) => body.extend_from_slice(&piece),
            None => return Ok(body.freeze()),
        }
    }
}

/// The beginning of an answer's body, at most `limit` bytes of it: as much as comes `within` that time and before the
/// connection breaks. For answers that are understood without their body.
pub async fn read_beginning(mut response: reqwest::Response, limit: usize, within: Duration) -> Bytes {
    let deadline = Instant::now() + within;
    let mut body = BytesMut::new();
    while body.len() < limit {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece[..piece.len().min(limit - body.len())]),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.freeze()
}
