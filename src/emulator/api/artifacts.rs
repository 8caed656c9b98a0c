//! Artifacts up and down (protocols: GitLab 6).

use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::jobs::{Phase, authenticate};
use super::{Call, JSON_LIMIT, answer_empty, answer_json, decode_query, refuse, with_header};
use crate::emulator::server::RequestIndex;
use crate::emulator::storage;
use crate::emulator::world::World;
use crate::emulator::world::job::Artifact;
use crate::pipeline::JobStatus;

/// Report types and formats the server knows (3.9), besides archives.
const REPORT_TYPES: [&str; 31] = [
    "archive",
    "metadata",
    "junit",
    "dotenv",
    "cobertura",
    "jacoco",
    "metrics",
    "cyclonedx",
    "annotations",
    "repository_xray",
    "cluster_applications",
    "lsif",
    "scip",
    "codequality",
    "sast",
    "secret_detection",
    "dependency_scanning",
    "container_scanning",
    "cluster_image_scanning",
    "dast",
    "license_scanning",
    "api_fuzzing",
    "coverage_fuzzing",
    "accessibility",
    "terraform",
    "performance",
    "browser_performance",
    "load_performance",
    "requirements",
    "requirements_v2",
    "sarif",
];

/// How much of a refused upload is read and thrown away, so that the runner gets to read the refusal.
const DRAIN_LIMIT: u64 = 8 << 30;
/// The largest dotenv report, unpacked, in bytes.
const DOTENV_LIMIT: u64 = 5 * 1024;

/// `POST jobs/:id/artifacts`.
pub async fn upload(State(world): State<Arc<World>>, Path(id): Path<u64>, request: Request) -> Response<Body> {
    let index = request.extensions().get::<RequestIndex>().map_or(0, |index| index.0);
    let call = Call {
        world: world.clone(),
        index,
        headers: request.headers().clone(),
        query: decode_query(request.uri().query()),
        body: bytes::Bytes::new(),
    };
    if let Err(response) = authenticate(&call, id, Phase::Accepted) {
        return response;
    }
    let multipart = match Multipart::from_request(request, &()).await {
        Ok(multipart) => multipart,
        Err(rejection) => {
            call.violation(format!("an upload is multipart/form-data: {rejection}"));
            return refuse(StatusCode::BAD_REQUEST, "400 Bad Request");
        }
    };
    let received = receive(&call, id, multipart).await;
    let response = match received {
        Ok(artifact) => keep(&call, id, artifact).await,
        Err(response) => response,
    };
    world.changed();
    response
}

/// Writes the one part `file` to disk.
async fn receive(call: &Call, id: u64, mut multipart: Multipart) -> Result<Artifact, Response<Body>> {
    let mut artifact: Option<Artifact> = None;
    loop {
        let field = match multipart.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            // Cut off or malformed: nothing was stored. The runner that hung up does not read this.
            Err(error) => return Err(refuse(StatusCode::BAD_REQUEST, &format!("multipart: {error}"))),
        };
        let is_file = field.name() == Some("file") && field.file_name().is_some_and(|name| !name.is_empty());
        if !is_file || artifact.is_some() {
            let name = field.name().unwrap_or_default().to_owned();
            call.violation(format!("exactly one part, a file called `file`, is allowed; here is another: `{name}`"));
            drain(multipart_rest(field, 0).await, multipart).await;
            return Err(refuse(StatusCode::BAD_REQUEST, "400 Bad Request - unexpected part"));
        }
        match store(call, id, field).await? {
            Stored::Whole(stored) => artifact = Some(stored),
            Stored::TooLarge(size) => {
                drain(size, multipart).await;
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "413 Request Entity Too Large"));
            }
        }
    }
    artifact.ok_or_else(|| {
        call.violation("an upload without the part `file`");
        refuse(StatusCode::BAD_REQUEST, "400 Bad Request - file is missing")
    })
}

enum Stored {
    Whole(Artifact),
    /// Thrown away after this many bytes.
    TooLarge(u64),
}

async fn store(call: &Call, id: u64, mut field: Field<'_>) -> Result<Stored, Response<Body>> {
    let failed = |error: std::io::Error| refuse(StatusCode::INTERNAL_SERVER_ERROR, &format!("storing: {error}"));
    let limit = call.world.options().artifact_limit;
    let value = |key: &str| call.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let filename = field.file_name().unwrap_or_default().to_owned();
    let path: PathBuf = call.world.dir.join("artifacts").join(format!("{id}-{}", uuid::Uuid::new_v4().simple()));
    let mut file = tokio::fs::File::create(&path).await.map_err(failed)?;
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    loop {
        let chunk = match field.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                let _ = tokio::fs::remove_file(&path).await;
                return Err(refuse(StatusCode::BAD_REQUEST, &format!("multipart: {error}")));
            }
        };
        size += chunk.len() as u64;
        if size > limit {
            let _ = tokio::fs::remove_file(&path).await;
            return Ok(Stored::TooLarge(multipart_rest(field, size).await));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    call.world.recorder.amend(call.index, |record| record.body_size = size);
    let artifact_type = value("artifact_type").unwrap_or_else(|| "archive".to_owned());
    let format = value("artifact_format").unwrap_or_else(|| "zip".to_owned());
    let expire_in = value("expire_in").unwrap_or_default();
    Ok(Stored::Whole(Artifact {
        artifact_type,
        format,
        filename,
        expire_in,
        path,
        size,
        sha256: hex::encode(hash.finalize()),
    }))
}

/// Throws away the rest of a part; how much was read in all.
async fn multipart_rest(mut field: Field<'_>, mut size: u64) -> u64 {
    while let Ok(Some(chunk)) = field.chunk().await {
        size += chunk.len() as u64;
        if size > DRAIN_LIMIT {
            break;
        }
    }
    size
}

async fn drain(mut size: u64, mut multipart: Multipart) {
    while size <= DRAIN_LIMIT {
        match multipart.next_field().await {
            Ok(Some(field)) => size = multipart_rest(field, size).await,
            Ok(None) | Err(_) => return,
        }
    }
}

/// Takes a stored upload into the job, or says why not.
async fn keep(call: &Call, id: u64, artifact: Artifact) -> Response<Body> {
    let checked = {
        let artifact = artifact.clone();
        tokio::task::spawn_blocking(move || check_content(&artifact)).await
    };
    let (dotenv, remarks) = match checked {
        Ok(Ok(checked)) => checked,
        Ok(Err(problem)) => return discard(&artifact, &problem).await,
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the upload could not be checked"),
    };
    for remark in remarks {
        call.violation(remark);
    }
    if !REPORT_TYPES.contains(&artifact.artifact_type.as_str()) {
        call.violation(format!("`artifact_type={}` is none", artifact.artifact_type));
        return discard(&artifact, "artifact_type does not have a valid value").await;
    }
    let same = {
        let mut know = call.world.know();
        let Some(job) = know.jobs.get_mut(&id) else { return refuse(StatusCode::NOT_FOUND, "404 Job Not Found") };
        match job.artifact(&artifact.artifact_type).map(|known| known.sha256 == artifact.sha256) {
            None => {
                job.artifacts.push(artifact.clone());
                job.dotenv.extend(dotenv);
                return answer_json(StatusCode::CREATED, &json!(201));
            }
            Some(same) => same,
        }
    };
    // The same bytes again are a repetition after a lost answer; others are a second artifact of the type.
    let _ = tokio::fs::remove_file(&artifact.path).await;
    if same {
        return answer_json(StatusCode::CREATED, &json!(201));
    }
    call.violation(format!("a second artifact of the type `{}`", artifact.artifact_type));
    refuse(StatusCode::BAD_REQUEST, "another artifact of the same type already exists")
}

async fn discard(artifact: &Artifact, problem: &str) -> Response<Body> {
    let _ = tokio::fs::remove_file(&artifact.path).await;
    refuse(StatusCode::BAD_REQUEST, problem)
}

type Checked = (Vec<(String, String)>, Vec<String>);

/// The variables of a dotenv report, and remarks on content that is not what the format says.
fn check_content(artifact: &Artifact) -> Result<Checked, String> {
    let mut remarks = Vec::new();
    let mut head = [0_u8; 4];
    let read = std::fs::File::open(&artifact.path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let begins = |magic: &[u8]| head[..read].starts_with(magic);
    let fits = match artifact.format.as_str() {
        "zip" | "zipzstd" => begins(b"PK"),
        "gzip" => begins(&[0x1f, 0x8b]),
        "tarzstd" => begins(&[0x28, 0xb5, 0x2f, 0xfd]),
        "raw" => true,
        other => return Err(format!("artifact_format `{other}` does not have a valid value")),
    };
    if !fits {
        remarks.push(format!("the upload's bytes are not of the format `{}`", artifact.format));
    }
    let dotenv = if artifact.artifact_type == "dotenv" { read_dotenv(&artifact.path)? } else { Vec::new() };
    Ok((dotenv, remarks))
}

fn read_dotenv(path: &FilePath) -> Result<Vec<(String, String)>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let unpacked = flate2::read::MultiGzDecoder::new(file).take(DOTENV_LIMIT + 1).read_to_string(&mut text);
    unpacked.map_err(|_| "Invalid Format".to_owned())?;
    if text.len() as u64 > DOTENV_LIMIT {
        return Err(format!("Dotenv Artifact Too Big. Maximum Allowable Size: {DOTENV_LIMIT}"));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once('=') {
            Some((key, value)) if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                Ok((key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
            }
            _ => Err("Invalid Format".to_owned()),
        })
        .collect()
}

/// `GET jobs/:id/artifacts`: the archive of another job, for a job that is running.
pub async fn download(State(world): State<Arc<World>>, Path(id): Path<u64>, request: Request) -> Response<Body> {
    let call = match Call::read(world, request, JSON_LIMIT).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let artifact = match wanted(&call, id) {
        Ok(artifact) => artifact,
        Err(response) => return response,
    };
    let direct = call.query.iter().find(|(key, _)| key == "direct_download").map(|(_, value)| value.as_str());
    if direct.is_some_and(|value| value != "true") {
        call.violation("`direct_download` is `true` or left out");
    }
    if direct == Some("true") && call.world.options().object_storage {
        let location = storage::signed_url(&call.world, id, &artifact.artifact_type);
        return with_header(answer_empty(StatusCode::FOUND), "location", &location);
    }
    storage::send_file(&artifact, &HeaderMap::new()).await
}

fn wanted(call: &Call, id: u64) -> Result<Artifact, Response<Body>> {
    let token = call.header("job-token");
    let know = call.world.know();
    let asking = know.jobs.values().find(|job| !token.is_empty() && job.token == token);
    let Some(asking) = asking else {
        drop(know);
        call.violation("`JOB-TOKEN` is no job's token");
        return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden"));
    };
    if asking.status() != JobStatus::Running {
        return Err(refuse(StatusCode::FORBIDDEN, "403 Forbidden"));
    }
    let found = know.jobs.get(&id).filter(|job| job.spec.project == asking.spec.project);
    let archive = found.and_then(|job| job.artifact("archive")).cloned();
    archive.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "404 Not Found"))
}
