//! Version 1: `_apis/artifactcache` (`actions/toolkit: packages/cache` to 3, `tonistiigi/go-actions-cache`, sccache where the forge is
//! none of GitHub's).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::CONTENT_RANGE;
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{empty, json as answer, query_of, value};
use super::body;
use super::entries::Entry;
use super::range;
use super::refusal::Refusal;
use super::shared::Shared;
use super::spool::Held;
use super::upload::Kind;

/// Bytes of a request that is no part of an entry.
const SMALL: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reserve {
    key: String,
    version: String,
    /// Bytes; 0 or nothing where the client does not know.
    #[serde(default)]
    cache_size: Option<u64>,
}

#[derive(Deserialize)]
struct Commit {
    size: u64,
}

/// `GET cache?keys=A,B&version=V`: which entry there is for these keys.
pub(super) async fn find(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    said(try_find(&shared, &uri, &headers).await)
}

async fn try_find(shared: &Shared, uri: &Uri, headers: &HeaderMap) -> Result<Response, Refusal> {
    let asking = shared.asking(headers)?;
    let query = query_of(uri.query());
    let keys = value(&query, "keys").unwrap_or_default();
    let keys: Vec<String> = keys.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    let version = value(&query, "version").unwrap_or_default();
    let Some(entry) = shared.find(&asking.grant, version, &keys).await? else {
        return Ok(empty(StatusCode::NO_CONTENT));
    };
    let mut body = shown(&entry);
    body["result"] = "hit".into();
    body["archiveLocation"] = shared.download_url(&asking.grant, entry).into();
    Ok(answer(StatusCode::OK, &body))
}

/// `GET caches?key=A`: which entries there are whose keys begin so.
pub(super) async fn list(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    said(try_list(&shared, &uri, &headers).await)
}

async fn try_list(shared: &Shared, uri: &Uri, headers: &HeaderMap) -> Result<Response, Refusal> {
    let asking = shared.asking(headers)?;
    let query = query_of(uri.query());
    let key = value(&query, "key").unwrap_or_default().to_owned();
    let (entries, grant) = (Arc::clone(&shared.entries), Arc::clone(&asking.grant));
    let (found, all) = body::blocking(move || entries.list(&grant.access, &key)).await?;
    let shown: Vec<Value> = found.iter().map(shown).collect();
    Ok(answer(StatusCode::OK, &json!({"totalCount": all, "artifactCaches": shown})))
}

/// `POST caches`: an entry is going to be written.
pub(super) async fn reserve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    said(try_reserve(&shared, request).await)
}

async fn try_reserve(shared: &Arc<Shared>, request: Request) -> Result<Response, Refusal> {
    let asking = shared.asking(request.headers())?;
    let Reserve { key, version, cache_size } = read(shared, request).await?;
    let name = shared.name(&asking.grant, &key, &version)?;
    let upload = shared.reserve(&asking.grant, name, Kind::Ranges, cache_size).await?;
    Ok(answer(StatusCode::CREATED, &json!({"cacheId": upload.id})))
}

/// `PATCH caches/ID`: a part of it, `Content-Range` says which.
pub(super) async fn write(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    said(try_write(&shared, &id, request).await)
}

async fn try_write(shared: &Shared, id: &str, request: Request) -> Result<Response, Refusal> {
    let asking = shared.asking(request.headers())?;
    let upload = Held::new(shared.uploads.of_job(&asking.grant, number(id)?)?);
    let range = part(request.headers())?;
    upload.get()?.write_range(range, request.into_body()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn part(headers: &HeaderMap) -> Result<std::ops::Range<u64>, Refusal> {
    let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let wrong = || Refusal::Invalid("`Content-Range: bytes FIRST-LAST/*` says which part of the entry it is".into());
    text.and_then(range::content_range).ok_or_else(wrong)
}

/// `POST caches/ID`: it is whole, and has so many bytes.
pub(super) async fn commit(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    said(try_commit(&shared, &id, request).await)
}

async fn try_commit(shared: &Arc<Shared>, id: &str, request: Request) -> Result<Response, Refusal> {
    let asking = shared.asking(request.headers())?;
    let id = number(id)?;
    let Commit { size } = read(shared, request).await?;
    // A client whose answer was lost asks again.
    if shared.uploads.was_kept(&asking.grant, id) != Some(size) {
        let upload = shared.uploads.of_job(&asking.grant, id)?;
        shared.keep(upload, size).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST clean`: entries go by themselves, nothing is to be done.
pub(super) async fn clean(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    said(shared.asking(&headers).map(|_| answer(StatusCode::OK, &json!({}))))
}

async fn read<T: serde::de::DeserializeOwned>(shared: &Shared, request: Request) -> Result<T, Refusal> {
    let bytes = body::small(request.into_body(), SMALL, &shared.limits).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::Invalid(format!("the request is not understood: {error}")))
}

/// Numbers are digits alone; what is none is no number of ours.
fn number(text: &str) -> Result<u64, Refusal> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().ok_or(Refusal::Unknown("upload"))
}

fn shown(entry: &Entry) -> Value {
    json!({
        "cacheKey": entry.key,
        "scope": entry.scope,
        "cacheVersion": entry.version,
        "creationTime": entry.created_at().to_string(),
        "cacheSize": entry.bytes(),
    })
}

/// The answer, or a refusal in the form of GitHub's server: clients look for `message` and `typeKey`.
fn said(done: Result<Response, Refusal>) -> Response {
    let refusal = match done {
        Ok(response) => return response,
        Err(refusal) => refusal,
    };
    let type_key = match refusal {
        Refusal::Exists => "ArtifactCacheItemAlreadyExistsException",
        Refusal::Unauthenticated | Refusal::Over => "UnauthorizedRequestException",
        Refusal::Unknown(_) => "ArtifactCacheItemNotFoundException",
        Refusal::Invalid(_) | Refusal::TooLarge { .. } | Refusal::Cut => "InvalidRequestException",
        _ => "ArtifactCacheException",
    };
    let body = json!({"typeName": type_key, "typeKey": type_key, "message": refusal.message(), "errorCode": 0});
    answer(refusal.status(), &body)
}
