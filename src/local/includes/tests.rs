//! Includes from a real HTTP server on this machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};

use super::*;
use crate::parser::diagnostics::Severity;
use crate::parser::gitlab::compose::{ComposeContext, Unavailable, compose};

/// What the server has at a path: status, headers, body.
type Page = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// A server whose pages a test sets; it notes who asked.
struct Server {
    pages: Arc<Mutex<HashMap<String, Page>>>,
    /// Paths in order; with `If-None-Match`, a space and its value behind.
    seen: Arc<Mutex<Vec<String>>>,
    host: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn new() -> Self {
        let (pages, seen) = (Arc::new(Mutex::new(HashMap::<String, Page>::new())), Arc::new(Mutex::new(Vec::new())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let (pages, seen) = (pages.clone(), seen.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let answer = move |request: Request<Body>| {
                        let tag = request.headers().get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
                        let path = request.uri().path().to_owned();
                        seen.lock().unwrap().push(tag.map_or(path.clone(), |tag| format!("{path} {tag}")));
                        let page = pages.lock().unwrap().get(&path).cloned();
                        async move {
                            let (status, headers, body) = page.unwrap_or((404, Vec::new(), Vec::new()));
                            let mut response = Response::builder().status(status);
                            for (name, value) in headers {
                                response = response.header(name, value);
                            }
                            response.body(Body::from(body)).unwrap()
                        }
                    };
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    let serving = axum::serve(listener, Router::new().fallback(answer));
                    tokio::select! { _ = serving.into_future() => {} _ = stopped => {} }
                });
            }
        });
        Self { pages, seen, host, stop: Some(stop), thread: Some(thread) }
    }

    fn page(&self, path: &str, status: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.pages.lock().unwrap().insert(path.to_owned(), (status, headers, body.into()));
    }

    fn text(&self, path: &str, body: &str) {
        self.page(path, 200, &[], body);
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn includes(state: &Path, hosts: &[&str]) -> Includes {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    Includes::from_hosts(&hosts, Box::new(|| Ok(Vec::new())), state).unwrap()
}

fn url(server: &Server, path: &str) -> RemoteFile {
    RemoteFile::Url { url: format!("{}{path}", server.host) }
}

fn fetch(includes: &Includes, server: &str, file: &RemoteFile) -> Result<String, RemoteError> {
    let fetched = includes.of_server(|| server.to_owned()).fetch(file)?;
    Ok(String::from_utf8(fetched.bytes).unwrap())
}

#[test]
fn nothing_is_fetched_unless_it_is_allowed_and_the_flag_is_named() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.text("/a.yml", "a: {script: x}\n");
    for includes in [Includes::default(), includes(state.path(), &["gitlab.com", "https://127.0.0.1"])] {
        let error = fetch(&includes, &server.host, &url(&server, "/a.yml")).unwrap_err().to_string();
        assert!(error.contains(&format!("`--include-from {}`", server.host)), "{error}");
    }
    let template = RemoteFile::Template { name: "Bash.gitlab-ci.yml".to_owned() };
    let error = fetch(&Includes::default(), &server.host, &template).unwrap_err().to_string();
    assert!(error.contains("`--include-from gitlab.com`"), "{error}");
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(!state.path().join("includes").exists());
}

#[test]
fn what_was_fetched_is_kept_and_asked_for_by_its_tag() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.page("/a.yml", 200, &[("etag", "\"one\"")], "a: {script: x}\n");
    let file = url(&server, "/a.yml");
    let first = includes(state.path(), &[&server.host]);
    for _ in 0..2 {
        assert_eq!(fetch(&first, &server.host, &file).unwrap(), "a: {script: x}\n");
    }
    assert_eq!(server.seen(), ["/a.yml"], "once a run");
    server.page("/a.yml", 304, &[], "");
    let second = includes(state.path(), &[&server.host]);
    assert_eq!(fetch(&second, &server.host, &file).unwrap(), "a: {script: x}\n");
    assert_eq!(server.seen(), ["/a.yml \"one\""]);
    server.page("/a.yml", 200, &[("etag", "\"two\"")], "b: {script: x}\n");
    assert_eq!(fetch(&includes(state.path(), &[&server.host]), &server.host, &file).unwrap(), "b: {script: x}\n");
}

#[test]
fn what_is_kept_serves_where_the_host_does_not_answer() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.text("/a.yml", "a: {script: x}\n");
    let (file, host) = (url(&server, "/a.yml"), server.host.clone());
    fetch(&includes(state.path(), &[&host]), &host, &file).unwrap();
    drop(server);
    let offline = includes(state.path(), &[&host]);
    assert_eq!(fetch(&offline, &host, &file).unwrap(), "a: {script: x}\n");
    let notes = offline.notes();
    assert!(notes[0].contains("taken as it was fetched last"), "{notes:?}");
    assert!(fetch(&Includes::default(), &host, &file).is_err(), "what is not allowed is not taken from there either");
}

#[test]
fn a_damaged_copy_is_fetched_anew() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.page("/a.yml", 200, &[("etag", "\"one\"")], "a: {script: x}\n");
    let file = url(&server, "/a.yml");
    fetch(&includes(state.path(), &[&server.host]), &server.host, &file).unwrap();
    let kept = std::fs::read_dir(state.path().join("includes")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("script: x", "script: evil")).unwrap();
    server.seen();
    let again = includes(state.path(), &[&server.host]);
    assert_eq!(fetch(&again, &server.host, &file).unwrap(), "a: {script: x}\n");
    assert_eq!(server.seen(), ["/a.yml"]);
}

#[test]
fn redirects_lead_to_allowed_hosts_only() {
    let (server, other, state) = (Server::new(), Server::new(), tempfile::tempdir().unwrap());
    other.text("/b.yml", "b: {script: x}\n");
    server.page("/a.yml", 302, &[("location", &format!("{}/b.yml", other.host))], "");
    server.page("/circle.yml", 302, &[("location", "/circle.yml")], "");
    server.page("/closed.yml", 302, &[("location", "/users/sign_in")], "");
    let narrow = includes(state.path(), &[&server.host]);
    let error = fetch(&narrow, &server.host, &url(&server, "/a.yml")).unwrap_err().to_string();
    assert!(error.contains("it redirects to") && error.contains(&format!("--include-from {}", other.host)), "{error}");
    assert_eq!(other.seen(), Vec::<String>::new());
    let both = includes(state.path(), &[&server.host, &other.host]);
    assert_eq!(fetch(&both, &server.host, &url(&server, "/a.yml")).unwrap(), "b: {script: x}\n");
    let error = fetch(&narrow, &server.host, &url(&server, "/circle.yml")).unwrap_err().to_string();
    assert!(error.contains("redirects more than"), "{error}");
    let error = fetch(&narrow, &server.host, &url(&server, "/closed.yml")).unwrap_err();
    assert!(matches!(&error, RemoteError::Missing(why) if why.contains("signed in")), "{error}");
}

#[test]
fn a_file_has_a_limit_and_a_failure_its_reason() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.page("/big.yml", 200, &[], vec![b'#'; usize::try_from(fetch::BIGGEST).unwrap() + 1]);
    server.page("/odd.yml", 418, &[], "");
    let includes = includes(state.path(), &[&server.host]);
    let error = |path: &str| super::tests::fetch(&includes, &server.host, &url(&server, path)).unwrap_err().to_string();
    assert!(error("/big.yml").contains("larger than"), "{}", error("/big.yml"));
    assert!(error("/odd.yml").contains("418"), "{}", error("/odd.yml"));
    assert!(error("/gone.yml").contains("has no such file"), "{}", error("/gone.yml"));
}

#[test]
fn projects_and_components_are_found_where_gitlab_has_them() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    let commit = "b".repeat(40);
    server.text("/g/p/-/raw/HEAD/ci/all.yml", "include: ci/more.yml\nbuild: {script: make}\n");
    server.text("/g/p/-/raw/HEAD/ci/more.yml", "more: {script: more}\n");
    server.text("/g/c.git/info/refs", &format!("{}\trefs/heads/main\n{commit}\trefs/tags/1.2.0\n", "a".repeat(40)));
    server.text("/g/c.git/HEAD", "ref: refs/heads/main\n");
    let component = "spec: {inputs: {as: {default: x}}}\n---\n$[[ inputs.as ]]: {script: lint}\n";
    server.text(&format!("/g/c/-/raw/{commit}/templates/lint/template.yml"), component);
    let includes = includes(state.path(), &[&server.host]);
    let host = server.host.trim_start_matches("http://");
    let root = format!(
        "include:\n  - {{project: g/p, file: ci/all.yml}}\n  \
         - {{component: {host}/g/c/lint@1, inputs: {{as: style}}}}\nown: {{script: x}}\n"
    );
    let files = BTreeMap::from([("a.yml".to_owned(), root)]);
    let context = ComposeContext { unavailable: Unavailable::Error, ..ComposeContext::default() };
    let composed = compose("a.yml", &files, &includes.of_server(|| server.host.clone()), &context);
    let errors: Vec<&str> = composed
        .diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| one.message.as_str())
        .collect();
    assert_eq!(errors, Vec::<&str>::new());
    let root = composed.value.unwrap().root;
    for job in ["own", "build", "more", "style"] {
        assert!(root.get(job).is_some(), "{job}");
    }
}

#[test]
fn integrity_is_checked() {
    let (server, state) = (Server::new(), tempfile::tempdir().unwrap());
    server.text("/a.yml", "a: {script: x}\n");
    let root = format!("include: [{{remote: '{}/a.yml', integrity: 'sha256-{}='}}]\n", server.host, "A".repeat(43));
    let files = BTreeMap::from([("root.yml".to_owned(), root)]);
    let includes = includes(state.path(), &[&server.host]);
    let composed = compose("root.yml", &files, &includes.of_server(|| server.host.clone()), &ComposeContext::default());
    let codes: Vec<&str> = composed.diagnostics.iter().map(|one| one.code.0).collect();
    assert!(codes.contains(&"gitlab/include-integrity"), "{codes:?}");
}
