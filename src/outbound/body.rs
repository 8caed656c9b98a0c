//! Answers are read up to a limit only.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
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

/// Writes the body of an answer to the new file `to`, if it has at most `limit` bytes, and says how many it had. What
/// broke off or was too large leaves no file.
pub async fn save_limited(
    outbound: &Outbound,
    response: reqwest::Response,
    limit: u64,
    to: &Path,
) -> Result<u64, OutboundError> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".part");
    let partial = std::path::PathBuf::from(partial);
    let saved = save(outbound, response, limit, &partial).await;
    let moved = match saved {
        Ok(size) => tokio::fs::rename(&partial, to).await.map(|()| size).map_err(|error| on_disk(to, &error)),
        Err(error) => Err(error),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&partial).await; // perhaps it was never made
    }
    moved
}

async fn save(
    outbound: &Outbound,
    mut response: reqwest::Response,
    limit: u64,
    to: &Path,
) -> Result<u64, OutboundError> {
    let url = response.url().clone();
    let too_large = || OutboundError::TooLarge { remote: remote_of(&url), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(to).await.map_err(|error| on_disk(to, &error))?;
    let mut size = 0_u64;
    loop {
        let piece = response.chunk().await;
        let Some(piece) = piece.map_err(|error| OutboundError::Transport(outbound.explain(&error, &url)))? else {
            break;
        };
        size += piece.len() as u64;
        if size > limit {
            return Err(too_large());
        }
        file.write_all(&piece).await.map_err(|error| on_disk(to, &error))?;
    }
    file.flush().await.map_err(|error| on_disk(to, &error))?;
    Ok(size)
}

fn on_disk(path: &Path, error: &std::io::Error) -> OutboundError {
    OutboundError::Disk(format!("{} cannot be written: {error}", path.display()))
}
