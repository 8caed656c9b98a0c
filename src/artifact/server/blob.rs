//! Content of entries at signed addresses: uploaded as to Azure Blob Storage, whole or in blocks, and fetched whole or in part
//! (learn.microsoft.com/rest/api/storageservices: Put Blob, Put Block, Put Block List, Get Blob).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::answer::{Query, empty, of_type, query_of, value, with};
use super::blocks;
use super::body;
use super::range::{Asked, asked};
use super::refusal::Refusal;
use super::shared::Shared;
use super::sign::Purpose;
use super::spool::Held;

/// Bytes of a list of blocks.
const LIST: usize = 8 << 20;

const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
/// What Azure's clients say in place of `Range`.
const MS_RANGE: HeaderName = HeaderName::from_static("x-ms-range");

/// The version of Azure's protocol that is spoken.
const SPOKEN: &str = "2021-12-02";

/// `PUT blobs/ID`: content, a block of it, or the order of its blocks.
pub(super) async fn put(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    said(try_put(&shared, &id, request).await)
}

async fn try_put(shared: &Shared, id: &str, request: Request) -> Result<Response, Refusal> {
    let query = query_of(request.uri().query());
    let id = signed(shared, Purpose::Upload, id, &query)?;
    let held = Held::new(shared.uploads.by_id(id)?);
    let upload = held.get()?;
    let _asking = shared.enter(Arc::clone(&upload.grant))?;
    match value(&query, "comp") {
        None => {
            let kind = request.headers().get(BLOB_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !kind.eq_ignore_ascii_case("BlockBlob") {
                return Err(Refusal::Invalid("only blobs of the type BlockBlob are kept (`x-ms-blob-type`)".into()));
            }
            upload.write_whole(request.into_body()).await?;
        }
        Some("block") => {
            let block = value(&query, "blockid").unwrap_or_default();
            upload.write_block(block, request.into_body()).await?;
        }
        Some("blocklist") => {
            let _turn = upload.grant.list_turn(shared.limits.pause).await?;
            let list = body::small(request.into_body(), LIST, &shared.limits).await?;
            upload.set_list(&blocks::ids_of(&list)?)?;
        }
        Some(_) => return Err(Refusal::Invalid("of `comp`, block and blocklist are known".into())),
    }
    Ok(with(empty(StatusCode::CREATED), ETAG, &format!("\"{id:x}\"")))
}

/// `GET` and `HEAD artifacts/ID`: the content of an entry.
pub(super) async fn get(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    said(try_get(&shared, &id, &head.method, &head.headers, head.uri.query()).await)
}

async fn try_get(
    shared: &Shared,
    id: &str,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let id = signed(shared, Purpose::Download, id, &query_of(query))?;
    let ticket = shared.downloads.ticket(id)?;
    let asking = Arc::new(shared.enter(Arc::clone(&ticket.grant))?);
    let length = ticket.entry.bytes();
    let header = headers.get(MS_RANGE).or_else(|| headers.get(RANGE)).and_then(|value| value.to_str().ok());
    let (status, range) = match asked(header, length) {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            return Ok(with(answer, CONTENT_RANGE, &format!("bytes */{length}")));
        }
    };
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        let copy = shared.downloads.copy(&shared.entries, &ticket, &asking).await?;
        let (over, most) = (ticket.grant.over.clone(), shared.limits.request);
        let end = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = tokio::time::sleep(most) => {}
            }
        };
        // The job's turn lasts as long as its bytes, and ends with the job.
        let bytes = futures_util::StreamExt::take_until(copy.read(range.clone()), Box::pin(end));
        Body::from_stream(futures_util::StreamExt::map(bytes, move |piece| {
            let _asking = &asking;
            piece
        }))
    };
    let (_, tree) = ticket.entry.content();
    let made = ticket.entry.created_at().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut answer = of_type(status, "application/octet-stream", body);
    for (name, text) in [
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, format!("\"{tree}\"")),
        (LAST_MODIFIED, made),
        (BLOB_TYPE, "BlockBlob".to_owned()),
    ] {
        answer = with(answer, name, &text);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        answer = with(answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
    }
    Ok(answer)
}

/// The number of an address that was given out for this purpose and still holds.
fn signed(shared: &Shared, purpose: Purpose, id: &str, query: &Query) -> Result<u64, Refusal> {
    let number = id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok()).flatten();
    number.filter(|id| shared.signer.holds(purpose, *id, query, shared.now())).ok_or(Refusal::BadSignature)
}

/// The answer, or a refusal in Azure's form, with the headers that its clients want in each.
fn said(done: Result<Response, Refusal>) -> Response {
    let response = done.unwrap_or_else(|refusal| {
        let code = code_of(&refusal);
        let text = refusal.message().replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
        );
        with(of_type(status_of(&refusal), "application/xml", body), ERROR_CODE, code)
    });
    let response = with(response, REQUEST_ID, &uuid::Uuid::new_v4().to_string());
    with(response, VERSION, SPOKEN)
}

fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Over => StatusCode::FORBIDDEN,
        other => other.status(),
    }
}

fn code_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unauthenticated | Refusal::BadSignature | Refusal::Over => "AuthenticationFailed",
        Refusal::Unknown(_) => "BlobNotFound",
        Refusal::Exists => "BlobAlreadyExists",
        Refusal::Invalid(_) | Refusal::Cut => "InvalidInput",
        Refusal::TooLarge { .. } => "RequestBodyTooLarge",
        Refusal::TooMany(_) | Refusal::Busy(_) => "ServerBusy",
        Refusal::NoRoom(_) => "InsufficientStorage",
        Refusal::Slow => "OperationTimedOut",
        Refusal::Failed(_) => "InternalError",
    }
}
