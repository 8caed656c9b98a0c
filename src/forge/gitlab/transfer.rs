//! Artifacts of one job, there and back. (protocols: GitLab 6.1, 6.5.)

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode, header};
use reqwest::multipart::{Form, Part};
use url::Url;

use super::client::{Answer, Api, Call, Caller, Wants, headers_of, new_request_id, shortened};
use super::report::GitLabReporter;
use crate::forge::{ArchiveFile, TransferError};
use crate::outbound::{Download, OutboundError, Patience, remote_of, retry};
use crate::pipeline::definition::{ArtifactSpec, DependencySpec};

/// Attempts to upload, and how many where the object storage is in trouble (503).
const UPLOADS: u32 = 3;
const UPLOADS_WHEN_BUSY: u32 = 6;
/// Of an archive that is still being written so many bytes are worth to begin sending it.
const WORTH_A_CONNECTION: u64 = 1 << 20;
/// Attempts to download that bring nothing new, one after the other, ...
const DOWNLOADS: u32 = 3;
/// ... and all together, so that a connection which always breaks off is given up.
const ALL_DOWNLOADS: u32 = 50;
/// So many bytes are something new.
const PROGRESS: u64 = 1 << 20;
/// How long headers of a download are waited for.
const DOWNLOAD_ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// A whole download.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(60 * 60);
/// How long a transfer waits for a remote that does not answer anybody: a job that has done its work is worth it.
const THROUGH_RESTS: Duration = Duration::from_secs(10 * 60);
/// More hops are a loop.
const REDIRECTS: u32 = 10;
/// How often one upload may be sent to another host.
const MOVES: u32 = 5;

/// What one attempt came to.
enum Attempt {
    Done,
    /// Try again on this API.
    Moved(Api),
    Failed(Trouble, String),
}

/// What another attempt would come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Perhaps something else.
    Passing,
    /// Something else, after a while: the object storage is in trouble.
    Busy,
    /// The same.
    Final,
    /// The same: it is this machine's own disk.
    OwnDisk,
}

impl Trouble {
    /// Whether there is another attempt to upload after so many.
    fn allows_upload_after(self, attempts: u32) -> bool {
        match self {
            Trouble::Passing => attempts < UPLOADS,
            Trouble::Busy => attempts < UPLOADS_WHEN_BUSY,
            Trouble::Final | Trouble::OwnDisk => false,
        }
    }

    fn error(self, message: String) -> TransferError {
        TransferError { message, is_own_disk: self == Trouble::OwnDisk }
    }
}

fn failed(message: impl Into<String>) -> Attempt {
    Attempt::Failed(Trouble::Passing, message.into())
}

fn fatal(message: impl Into<String>) -> Attempt {
    Attempt::Failed(Trouble::Final, message.into())
}

fn own_disk(message: impl Into<String>) -> Attempt {
    Attempt::Failed(Trouble::OwnDisk, message.into())
}

/// Uploads one artifact, which may still be being packed.
pub(super) async fn upload(
    reporter: &GitLabReporter,
    artifact: &ArtifactSpec,
    file_name: &str,
    file: &ArchiveFile,
) -> Result<(), TransferError> {
    tokio::select! {
        biased;
        () = file.given_up() => Err(Trouble::OwnDisk.error(format!("{file_name} was not packed to its end"))),
        sent = try_upload(reporter, artifact, file_name, file) => sent,
    }
}

async fn try_upload(
    reporter: &GitLabReporter,
    artifact: &ArtifactSpec,
    file_name: &str,
    file: &ArchiveFile,
) -> Result<(), TransferError> {
    file.has(WORTH_A_CONNECTION).await.map_err(|error| Trouble::OwnDisk.error(format!("{file_name}: {error}")))?;
    let path = upload_path(reporter.id, artifact);
    let pace = reporter.api.outbound().clone();
    let mut api = reporter.api.clone();
    let (mut attempt, mut moves) = (1, 0);
    loop {
        match upload_once(reporter, &api, &path, file_name, file).await {
            Attempt::Done => return Ok(()),
            Attempt::Moved(other) if moves < MOVES => {
                moves += 1;
                api = other;
            }
            Attempt::Moved(_) => {
                let message = format!("the upload of {file_name} is sent from host to host without end");
                return Err(Trouble::Final.error(message));
            }
            Attempt::Failed(trouble, message) => {
                if !trouble.allows_upload_after(attempt) {
                    return Err(trouble.error(message));
                }
                tracing::info!(attempt, %message, "an upload failed; trying again");
                let (first, longest) = (Duration::from_secs(1), Duration::from_secs(5));
                pace.pace().sleep(retry::growing_wait(first, longest, attempt, pace.pace().chance())).await;
                attempt += 1;
            }
        }
    }
}

/// Parameters only where they say something.
fn upload_path(id: i64, artifact: &ArtifactSpec) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("artifact_format", &artifact.format_on_wire),
        ("artifact_type", &artifact.kind),
        ("expire_in", &artifact.expire_in),
    ] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { format!("jobs/{id}/artifacts") } else { format!("jobs/{id}/artifacts?{query}") }
}

async fn upload_once(reporter: &GitLabReporter, api: &Api, path: &str, file_name: &str, file: &ArchiveFile) -> Attempt {
    let url = match api.url(path) {
        Ok(url) => url,
        Err(error) => return fatal(error.to_string()),
    };
    let timeout = reporter.settings.upload_timeout;
    let call = Call::new(Method::POST, path, Caller::Job(&reporter.token));
    let own_id = new_request_id();
    let headers = headers_of(&call, &own_id);
    let outbound = api.outbound();
    let sent = outbound
        .send_with_retry(Patience { answer_within: timeout, through_rests: THROUGH_RESTS, ..call.patience }, |client| {
            // Opened anew for each attempt: a body that was sent cannot be sent again.
            let form = form_of(file_name, file)?;
            let request = client.post(url.clone()).headers(headers.clone()).timeout(timeout).multipart(form).build();
            request.map_err(|error| OutboundError::Transport(outbound.explain(&error, &url)))
        })
        .await;
    let answer = match sent {
        Ok(response) => api.read(response, own_id, Wants::Status).await.map_err(|error| error.to_string()),
        Err(OutboundError::Disk(message)) => return own_disk(message),
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(answer) => after_upload(api, file_name, &answer),
        Err(message) => failed(message),
    }
}

/// Exactly one part, named `file`, streamed from the disk; without its length while it is still being written, as the official
/// runner's uploads always are.
fn form_of(file_name: &str, file: &ArchiveFile) -> Result<Form, OutboundError> {
    let unreadable =
        |error: std::io::Error| OutboundError::Disk(format!("the packed artifact {file_name} cannot be read: {error}"));
    let (length, stream) = file.open().map_err(unreadable)?;
    let body = reqwest::Body::wrap_stream(stream);
    let part = match length {
        Some(length) => Part::stream_with_length(body, length),
        None => Part::stream(body),
    };
    let part = part
        .file_name(file_name.to_owned())
        .mime_str("application/octet-stream")
        .map_err(|error| OutboundError::Transport(format!("the upload cannot be made: {error}")))?;
    Ok(Form::new().part("file", part))
}

/// The table of 6.1.
fn after_upload(api: &Api, file_name: &str, answer: &Answer) -> Attempt {
    let said = format!("{} answered {} to the upload of {file_name}", api.remote(), answer.said());
    match answer.status {
        StatusCode::CREATED => Attempt::Done,
        StatusCode::TEMPORARY_REDIRECT => match answer.header("Location").and_then(|to| api.moved_to(to)) {
            Some(other) => Attempt::Moved(other),
            None => fatal(format!("{said} and does not say where to (or to somewhere without TLS)")),
        },
        StatusCode::FORBIDDEN => fatal(format!("{said}: the job may not upload (any more)")),
        StatusCode::PAYLOAD_TOO_LARGE => {
            fatal(format!("{said}: it is larger than GitLab takes; make it smaller or raise the limit there"))
        }
        StatusCode::SERVICE_UNAVAILABLE => Attempt::Failed(Trouble::Busy, said),
        _ => failed(said),
    }
}

/// Downloads the archive of another job to `to`.
pub(super) async fn download(
    reporter: &GitLabReporter,
    dependency: &DependencySpec,
    to: &Path,
) -> Result<(), TransferError> {
    let pace = reporter.api.outbound().clone();
    let mut download = Download::new(to, reporter.settings.download_limit);
    let (mut attempt, mut all) = (1, 1);
    // The object storage is left out after a failure, unless it has sent a part: then the rest is asked for there, too.
    let mut direct = reporter.direct_download;
    loop {
        let before = download.have();
        match download_once(reporter, dependency, &mut download, direct).await {
            Attempt::Done => return Ok(()),
            Attempt::Moved(_) => return Err(Trouble::Final.error("unexpected move".to_owned())),
            Attempt::Failed(trouble, message) => {
                let has_progress = download.have() >= before.saturating_add(PROGRESS);
                attempt = if has_progress { 1 } else { attempt + 1 };
                all += 1;
                let is_last = attempt > DOWNLOADS || all > ALL_DOWNLOADS;
                if matches!(trouble, Trouble::Final | Trouble::OwnDisk) || is_last {
                    return Err(trouble.error(message));
                }
                direct &= has_progress;
                tracing::info!(attempt, have = download.have(), %message, "a download failed; trying again");
                pace.pace().sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn download_once(
    reporter: &GitLabReporter,
    dependency: &DependencySpec,
    download: &mut Download,
    direct: bool,
) -> Attempt {
    let api = &reporter.api;
    let query = if direct { "?direct_download=true" } else { "" };
    let path = format!("jobs/{}/artifacts{query}", dependency.id);
    let start = match api.url(&path) {
        Ok(url) => url,
        Err(error) => return fatal(error.to_string()),
    };
    let call = Call::new(Method::GET, path, Caller::Job(&dependency.token));
    let headers = headers_of(&call, &new_request_id());
    let mut url = start.clone();
    for _ in 0..=REDIRECTS {
        // The token belongs to the forge: another host never sees it. A pre-signed address needs none.
        let same_host = url.origin() == start.origin();
        let outbound = api.outbound();
        let patience =
            Patience { answer_within: DOWNLOAD_ANSWER_WITHIN, through_rests: THROUGH_RESTS, ..call.patience };
        let sent = outbound
            .send_with_retry(patience, |client| {
                let request = client.get(url.clone()).timeout(DOWNLOAD_WITHIN);
                let request = if same_host { request.headers(headers.clone()) } else { request };
                let request = request.headers(download.headers());
                request.build().map_err(|error| OutboundError::Transport(outbound.explain(&error, &url)))
            })
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return failed(error.to_string()),
        };
        if response.status().is_redirection() {
            match next_hop(&url, &response) {
                Ok(next) => url = next,
                Err(attempt) => return attempt,
            }
            continue;
        }
        return receive(reporter, dependency, response, download).await;
    }
    fatal(format!("the artifacts of {} are redirected without end", dependency.name))
}

fn next_hop(from: &Url, response: &reqwest::Response) -> Result<Url, Attempt> {
    let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
    let next = to.and_then(|to| from.join(to).ok()).filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(next) = next else {
        return Err(failed(format!("{} answered {} without an address", remote_of(from), response.status())));
    };
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(fatal(format!("{} redirects a download to {} without TLS", remote_of(from), remote_of(&next))));
    }
    Ok(next)
}

/// The table of 6.5.
async fn receive(
    reporter: &GitLabReporter,
    dependency: &DependencySpec,
    response: reqwest::Response,
    download: &mut Download,
) -> Attempt {
    let outbound = reporter.api.outbound();
    let remote = remote_of(response.url());
    if matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return match download.receive(outbound, response).await {
            Ok(_size) => Attempt::Done,
            Err(OutboundError::Disk(message)) => own_disk(message),
            Err(error @ OutboundError::TooLarge { .. }) => fatal(error.to_string()),
            Err(error) => failed(error.to_string()),
        };
    }
    let answer = match reporter.api.read(response, String::new(), Wants::Status).await {
        Ok(answer) => answer,
        Err(error) => return failed(error.to_string()),
    };
    let detail = storage_error(&answer.body).map(|text| format!(", {text}")).unwrap_or_default();
    let said =
        format!("{remote} answered {}{detail} to the request for the artifacts of {}", answer.said(), dependency.name);
    match answer.status {
        StatusCode::RANGE_NOT_SATISFIABLE => {
            download.forget();
            failed(said)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => fatal(format!("{said}: the job may not read them")),
        StatusCode::NOT_FOUND => fatal(format!("{said}: they have expired or were deleted; run that job again")),
        _ => failed(said),
    }
}

/// Code and message of an object storage's XML.
fn storage_error(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(shortened(value, 200))
    };
    match (field("Code"), field("Message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.or(other),
    }
}
