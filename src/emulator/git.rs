//! Repositories over smart HTTP: each request is handed to `git http-backend`, body and answer streamed.
//!
//! Only a running job's token opens a repository, and only its own project's unless the project is open to other jobs.
//! Nothing can be pushed: job tokens may not.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine;
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use super::api::{answer_empty, with_header};
use super::server::RequestIndex;
use super::world::World;
use crate::pipeline::JobStatus;

/// The longest head that `git http-backend` may answer with, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// Answers anything that is no API call.
pub async fn serve(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let Some((project_path, rest)) = split_path(&path) else { return text(StatusCode::NOT_FOUND, "not found") };
    let index = request.extensions().get::<RequestIndex>().map_or(0, |index| index.0);
    let repository = match admit(&world, index, project_path, request.headers()) {
        Ok(repository) => repository,
        Err(response) => return response,
    };
    let service = request.uri().query().unwrap_or_default();
    if rest.ends_with("git-receive-pack") || service.contains("git-receive-pack") {
        return text(StatusCode::FORBIDDEN, "You are not allowed to push code to this project.");
    }
    match backend(repository, rest, request).await {
        Ok(response) => response,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("git http-backend: {error}")),
    }
}

/// `/group/project.git/info/refs` as project and what is asked of its repository.
fn split_path(path: &str) -> Option<(&str, &str)> {
    let at = path.find(".git/")?;
    let (project, rest) = (path.get(1..at)?, path.get(at + 4..)?);
    let is_served = matches!(rest, "/info/refs" | "/git-upload-pack" | "/git-receive-pack");
    is_served.then_some((project, rest))
}

fn admit(world: &World, index: usize, project_path: &str, headers: &HeaderMap) -> Result<PathBuf, Response<Body>> {
    let unauthorized = || {
        let response = text(StatusCode::UNAUTHORIZED, "HTTP Basic: Access denied");
        Err(with_header(response, "www-authenticate", "Basic realm=\"GitLab\""))
    };
    // Git asks without credentials first: that is no violation.
    let Some((user, password)) = basic(headers) else { return unauthorized() };
    let know = world.know();
    let job = know.jobs.values().find(|job| job.token == password && job.status() == JobStatus::Running);
    let Some(job) = job else {
        drop(know);
        world.recorder.violation(index, "git was given a password that is no running job's token");
        return unauthorized();
    };
    let (own, name_fits) = (job.spec.project, user == "gitlab-ci-token");
    let project = know.projects.values().find(|project| project.path == project_path);
    let answer = match project {
        Some(project) if project.id == own || project.open_to_jobs => Ok(project.repository.clone()),
        Some(_) => Err(text(StatusCode::FORBIDDEN, "The job token may not read this project.")),
        None => Err(text(StatusCode::NOT_FOUND, "The project you were looking for could not be found.")),
    };
    drop(know);
    if !name_fits {
        world.recorder.violation(index, format!("git was given the user name `{user}`, not `gitlab-ci-token`"));
        return unauthorized();
    }
    answer
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    with_header(response, "content-type", "text/plain")
}

async fn backend(repository: PathBuf, rest: &str, request: Request) -> std::io::Result<Response<Body>> {
    let mut child = start(repository, rest, &request)?;
    let Some(stdin) = child.stdin.take() else { return Err(std::io::Error::other("no stdin")) };
    let Some(stdout) = child.stdout.take() else { return Err(std::io::Error::other("no stdout")) };
    // The body goes in while the answer comes out: git may answer before it has read everything.
    let feed = tokio::spawn(feed(stdin, request.into_body()));
    let mut stdout = BufReader::new(stdout);
    let mut response = read_head(&mut stdout).await?;
    let rest = ReaderStream::with_capacity(stdout, 64 * 1024);
    // The child is kept until its output ends; dropped earlier (the client hung up), it is killed.
    let guard = (child, feed);
    let body = rest.map(move |chunk| {
        let _alive = &guard;
        chunk
    });
    *response.body_mut() = Body::from_stream(body);
    Ok(response)
}

fn start(repository: PathBuf, rest: &str, request: &Request) -> std::io::Result<Child> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_TRANSLATED", format!("{}{rest}", repository.display()));
    command.env("REQUEST_METHOD", request.method().as_str());
    command.env("QUERY_STRING", request.uri().query().unwrap_or_default());
    command.env("REMOTE_USER", "gitlab-ci-token").env("REMOTE_ADDR", "127.0.0.1");
    let passed = [
        ("CONTENT_TYPE", "content-type"),
        ("CONTENT_LENGTH", "content-length"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("HTTP_ACCEPT_ENCODING", "accept-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ];
    for (variable, name) in passed {
        if let Some(value) = header(name) {
            command.env(variable, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()
}

async fn feed(mut stdin: tokio::process::ChildStdin, body: Body) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// The CGI head: `Status:` and other headers up to an empty line.
async fn read_head(stdout: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<Response<Body>> {
    let mut response = answer_empty(StatusCode::OK);
    let mut total = 0;
    loop {
        let mut line = Vec::new();
        let read = stdout.read_until(b'\n', &mut line).await?;
        total += read;
        if read == 0 || total > HEAD_LIMIT {
            return Err(std::io::Error::other("it answered without a head"));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(response);
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("status") {
            let code = value.trim().split(' ').next().and_then(|code| code.parse::<u16>().ok());
            *response.status_mut() =
                code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (name.trim().parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            response.headers_mut().append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_path;

    #[test]
    fn only_the_smart_protocol_is_served() {
        assert_eq!(split_path("/a/b.git/info/refs"), Some(("a/b", "/info/refs")));
        assert_eq!(split_path("/a/b.git/git-upload-pack"), Some(("a/b", "/git-upload-pack")));
        assert_eq!(split_path("/a/b.git/objects/../../etc"), None);
        assert_eq!(split_path("/a/b"), None);
    }
}
