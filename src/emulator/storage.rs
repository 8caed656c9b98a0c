//! The "object storage": a second port that serves artifacts by signed addresses and wants no token of GitLab's
//! (protocols: GitLab 6.5).

use std::io::SeekFrom;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::any;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::api::{answer_empty, decode_query, with_header};
use super::server::RequestIndex;
use super::world::World;
use super::world::job::Artifact;

/// The storage's one route.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/artifacts/{job}/{artifact_type}", any(get)).with_state(world)
}

/// The address, valid as long as this server runs, under which a job's artifact can be had.
pub fn signed_url(world: &World, job: u64, artifact_type: &str) -> String {
    let signature = sign(world, job, artifact_type);
    format!("{}/artifacts/{job}/{artifact_type}?X-Amz-Signature={signature}", world.storage_url)
}

fn sign(world: &World, job: u64, artifact_type: &str) -> String {
    // The directory's random name is this server's secret.
    let text = format!("{}\0{job}\0{artifact_type}", world.dir.display());
    hex::encode(Sha256::digest(text))
}

async fn get(
    State(world): State<Arc<World>>,
    Path((job, kind)): Path<(u64, String)>,
    request: Request,
) -> Response<Body> {
    let index = request.extensions().get::<RequestIndex>().map_or(0, |index| index.0);
    for name in ["job-token", "runner-token", "private-token", "authorization"] {
        if request.headers().contains_key(name) {
            world.recorder.violation(index, format!("the header `{name}` was given to the object storage"));
            return xml(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed");
        }
    }
    let signature = decode_query(request.uri().query()).into_iter().find(|(key, _)| key == "X-Amz-Signature");
    if signature.is_none_or(|(_, value)| value != sign(&world, job, &kind)) {
        return xml(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", "The signature does not match");
    }
    let artifact = world.know().jobs.get(&job).and_then(|job| job.artifact(&kind)).cloned();
    match artifact {
        Some(artifact) => send_file(&artifact, request.headers()).await,
        None => xml(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist"),
    }
}

fn xml(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    with_header(response, "content-type", "application/xml")
}

/// Streams an artifact; the part that `Range: bytes=A-B` asks for, if it does.
pub async fn send_file(artifact: &Artifact, headers: &HeaderMap) -> Response<Body> {
    let Ok(mut file) = tokio::fs::File::open(&artifact.path).await else { return answer_empty(StatusCode::NOT_FOUND) };
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse_range(text, artifact.size));
    let (from, to) = range.unwrap_or((0, artifact.size.saturating_sub(1)));
    if file.seek(SeekFrom::Start(from)).await.is_err() {
        return answer_empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let length = if artifact.size == 0 { 0 } else { to - from + 1 };
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024));
    let mut response = with_header(Response::new(body), "content-type", "application/octet-stream");
    response = with_header(response, "content-length", &length.to_string());
    response = with_header(response, "content-disposition", "attachment; filename=\"artifacts.zip\"");
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response = with_header(response, "content-range", &format!("bytes {from}-{to}/{}", artifact.size));
    }
    response
}

fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let to: u64 = if to.is_empty() { size.checked_sub(1)? } else { to.parse::<u64>().ok()?.min(size.checked_sub(1)?) };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_are_kept_inside_the_file() {
        assert_eq!(parse_range("bytes=0-0", 10), Some((0, 0)));
        assert_eq!(parse_range("bytes=4-99", 10), Some((4, 9)));
        assert_eq!(parse_range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(parse_range("bytes=11-", 10), None);
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
