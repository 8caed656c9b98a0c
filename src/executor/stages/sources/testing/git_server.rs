//! A forge's git server: smart HTTP by git's own `http-backend`, with Basic authentication, counted and made to misbehave.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

/// What the server does with requests.
#[derive(Clone, Debug, Default)]
pub(crate) enum Behaviour {
    /// Serves repositories.
    #[default]
    Serve,
    /// Answers with this status.
    Refuse(u16),
    /// Sends everybody to the same path of another server.
    Redirect(String),
    /// Takes requests and never answers.
    Hang,
    /// Serves discovery and never answers what follows.
    HangInTransfer,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

struct Inner {
    root: PathBuf,
    credentials: Mutex<Option<String>>,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    sent: Mutex<u64>,
}

/// The server, on loopback, until it is dropped.
pub(crate) struct GitServer {
    inner: Arc<Inner>,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl GitServer {
    /// Serves the bare repositories below `root`.
    pub(crate) async fn start(root: &Path) -> Self {
        let inner = Arc::new(Inner {
            root: root.to_owned(),
            credentials: Mutex::default(),
            behaviour: Mutex::default(),
            seen: Mutex::default(),
            count: watch::Sender::new(0),
            sent: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = axum::Router::new().fallback(handle).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("served") });
        Self { inner, url, task }
    }

    /// Scheme, host and port.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on only with these credentials.
    pub(crate) fn require(&self, username: &str, password: &str) {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        *self.inner.credentials.lock().expect("unpoisoned") = Some(format!("Basic {pair}"));
    }

    /// From now on like this.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.inner.behaviour.lock().expect("unpoisoned") = behaviour;
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().expect("unpoisoned").clone()
    }

    /// Bytes of answers since the last call.
    pub(crate) fn take_sent(&self) -> u64 {
        std::mem::take(&mut *self.inner.sent.lock().expect("unpoisoned"))
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        let mut counter = self.inner.count.subscribe();
        counter.wait_for(|seen| *seen >= count).await.expect("the server lives");
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(server): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let behaviour = server.behaviour.lock().expect("unpoisoned").clone();
    let seen = Seen { path: parts.uri.path().to_owned(), headers: parts.headers.clone() };
    server.seen.lock().expect("unpoisoned").push(seen);
    server.count.send_modify(|count| *count += 1);
    match behaviour {
        Behaviour::Serve => {}
        Behaviour::Refuse(status) => return plain(StatusCode::from_u16(status).expect("a status")),
        Behaviour::Redirect(to) => {
            let to = format!("{to}{}", parts.uri.path_and_query().map_or("", |path| path.as_str()));
            return Response::builder()
                .status(302)
                .header(header::LOCATION, to)
                .body(Body::empty())
                .expect("an answer");
        }
        Behaviour::HangInTransfer if parts.uri.path().ends_with("/info/refs") => {}
        Behaviour::Hang | Behaviour::HangInTransfer => std::future::pending().await,
    }
    let wanted = server.credentials.lock().expect("unpoisoned").clone();
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if wanted.is_some() && wanted.as_deref() != given {
        let realm = r#"Basic realm="forge""#;
        let answer = Response::builder().status(401).header(header::WWW_AUTHENTICATE, realm);
        return answer.body(Body::empty()).expect("an answer");
    }
    let body = axum::body::to_bytes(body, 64 << 20).await.expect("a body");
    if let Some(answer) = large_files(&server.root, &parts.uri, &parts.headers, &body) {
        return answer;
    }
    let answer = backend(&server.root, parts.method.as_str(), &parts.uri, &parts.headers, &body).await;
    *server.sent.lock().expect("unpoisoned") += answer.1.len() as u64;
    let (head, content) = answer;
    let mut response = Response::builder();
    for line in head.lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                response = response.status(status[..3].parse::<u16>().expect("a status"));
            }
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    response.body(Body::from(content)).expect("an answer")
}

/// Git LFS: the batch call, and objects from the folder `lfs` below the root.
fn large_files(root: &Path, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Option<Response> {
    if let Some(oid) = uri.path().strip_prefix("/lfs/") {
        let content = std::fs::read(root.join("lfs").join(oid)).expect("an object");
        return Some(Response::new(Body::from(content)));
    }
    if !uri.path().ends_with("/info/lfs/objects/batch") {
        return None;
    }
    let asked: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let host = headers[header::HOST].to_str().expect("text");
    let objects = asked["objects"].as_array().expect("a list").iter().map(|object| {
        let oid = object["oid"].as_str().expect("text");
        let download = serde_json::json!({ "href": format!("http://{host}/lfs/{oid}") });
        serde_json::json!({ "oid": oid, "size": object["size"], "actions": { "download": download } })
    });
    let answer = serde_json::json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() });
    let response = Response::builder().header(header::CONTENT_TYPE, "application/vnd.git-lfs+json");
    Some(response.body(Body::from(answer.to_string())).expect("an answer"))
}

fn plain(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::from("no")).expect("an answer")
}

async fn backend(root: &Path, method: &str, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> (String, Vec<u8>) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = body.clone();
    let feed = tokio::spawn(async move {
        // The backend may have enough before the end.
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.expect("an answer").stdout;
    feed.await.expect("fed");
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&output[..end]).into_owned(), output[end + 4..].to_vec())
}
