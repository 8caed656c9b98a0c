//! The one way to the Docker engine: a unix socket, a deadline on every call, our words for its errors.
//!
//! Engines over tcp and ssh are refused by name: the sandbox's folders must be on the engine's machine.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use bollard::errors::Error as Bollard;
use bollard::{API_DEFAULT_VERSION, BollardRequest};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::error::EngineError;

/// For calls that only look.
pub(super) const LOOK: Duration = Duration::from_secs(60);
/// For calls that make, start or remove something: an engine with twenty jobs at once on a slow disk takes its time.
pub(super) const CHANGE: Duration = Duration::from_secs(180);
/// How long opening the socket may take.
const CONNECT: Duration = Duration::from_secs(10);
/// bollard's own limit lies beyond all of ours, so that it never decides.
const NEVER: u64 = 7 * 24 * 3600;
/// The usual place of the engine's socket.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// A connection to the engine. Cheap to clone. A call opens a connection of its own, so calls never wait for each
/// other here.
#[derive(Clone)]
pub struct Engine {
    api: bollard::Docker,
    socket: Arc<PathBuf>,
    calls: Arc<AtomicU64>,
}

impl Engine {
    /// The engine at `host`: a path or a `unix://` URL, by default the usual socket. Nothing is asked yet.
    pub fn at(host: Option<&str>) -> Result<Self, EngineError> {
        let socket = Arc::new(socket_of(host)?);
        let calls = Arc::new(AtomicU64::new(0));
        let transport = {
            let (socket, calls) = (Arc::clone(&socket), Arc::clone(&calls));
            move |request: BollardRequest| {
                calls.fetch_add(1, Ordering::Relaxed);
                send(Arc::clone(&socket), request)
            }
        };
        let api = bollard::Docker::connect_with_custom_transport(
            transport,
            Some("http://engine"),
            NEVER,
            API_DEFAULT_VERSION,
        )
        .map_err(|error| EngineError::from_bollard("connecting", &socket.display().to_string(), error))?;
        Ok(Self { api, socket, calls })
    }

    /// bollard's view of the engine, to make calls that are handed to [`Engine::call`].
    pub(super) fn api(&self) -> &bollard::Docker {
        &self.api
    }

    /// Where the engine listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many API calls have been made through this engine and its clones.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits for `call`, which does `what`, until `deadline` has passed.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        deadline: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(answer) => answer.map_err(|error| self.explain(what, error)),
            Err(_elapsed) => Err(EngineError::Timeout { what: what.to_owned(), after: deadline }),
        }
    }

    /// Reads a stream of answers to its end. `silence` is the longest pause between two of them.
    pub(super) async fn drain<T>(
        &self,
        what: &str,
        silence: Duration,
        stream: impl Stream<Item = Result<T, Bollard>>,
        mut each: impl FnMut(T),
    ) -> Result<(), EngineError> {
        let mut stream = std::pin::pin!(stream);
        loop {
            match tokio::time::timeout(silence, stream.next()).await {
                Ok(Some(Ok(item))) => each(item),
                Ok(Some(Err(error))) => return Err(self.explain(what, error)),
                Ok(None) => return Ok(()),
                Err(_elapsed) => return Err(EngineError::Timeout { what: what.to_owned(), after: silence }),
            }
        }
    }

    /// Our word for bollard's error.
    pub(super) fn explain(&self, what: &str, error: Bollard) -> EngineError {
        EngineError::from_bollard(what, &self.socket.display().to_string(), error)
    }
}

/// The socket's path in `host`, or why there is none.
fn socket_of(host: Option<&str>) -> Result<PathBuf, EngineError> {
    let host = host.map(str::trim).filter(|host| !host.is_empty()).unwrap_or(DEFAULT_SOCKET);
    let path = host.strip_prefix("unix://").unwrap_or(host);
    match path.split_once("://") {
        Some((scheme, _)) => Err(EngineError::Unsupported(format!(
            "a Docker engine over {scheme} (`{host}`) is not supported: the engine must run on this machine; name its \
             socket as `unix:///var/run/docker.sock` in `docker.host`"
        ))),
        None if path.starts_with('/') => Ok(PathBuf::from(path)),
        None => Err(EngineError::Unsupported(format!(
            "`{host}` is no socket of a Docker engine: give an absolute path or a unix:// URL in `docker.host`"
        ))),
    }
}

/// Sends one request over a connection of its own.
async fn send(socket: Arc<PathBuf>, mut request: BollardRequest) -> Result<http::Response<Incoming>, Bollard> {
    to_origin_form(&mut request)?;
    mend_registry_auth(&mut request);
    let stream = tokio::time::timeout(CONNECT, UnixStream::connect(socket.as_path()))
        .await
        .unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself when the answer has been read or dropped; its error is the request's error, told there.
    // An answer may turn it into a stream of bytes (a shell).
    tokio::spawn(async move { connection.with_upgrades().await.ok() });
    Ok(sender.send_request(request).await?)
}

/// HTTP/1.1 over a socket wants the path alone, and a host header.
fn to_origin_form(request: &mut BollardRequest) -> Result<(), Bollard> {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    *request.uri_mut() = path.parse::<Uri>()?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("docker"));
    Ok(())
}

/// The engine wants credentials in the URL-safe alphabet of base64 and ignores, silently, what it cannot decode; bollard
/// writes the standard alphabet.
fn mend_registry_auth(request: &mut BollardRequest) {
    const NAME: &str = "x-registry-auth";
    let Some(value) = request.headers().get(NAME) else { return };
    let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(value.as_bytes()) else { return };
    let encoded = base64::engine::general_purpose::URL_SAFE.encode(decoded);
    if let Ok(mut value) = HeaderValue::from_str(&encoded) {
        value.set_sensitive(true);
        request.headers_mut().insert(NAME, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_other_machines_are_refused_by_name() {
        for host in ["tcp://10.0.0.1:2376", "ssh://user@box", "http://x"] {
            let Err(EngineError::Unsupported(words)) = socket_of(Some(host)) else { panic!("{host}") };
            assert!(words.contains(host), "{words}");
        }
        assert!(socket_of(Some("relative.sock")).is_err());
    }

    #[test]
    fn the_usual_socket_is_used_when_none_is_named() {
        assert_eq!(socket_of(None).unwrap(), Path::new(DEFAULT_SOCKET));
        assert_eq!(socket_of(Some("")).unwrap(), Path::new(DEFAULT_SOCKET));
        assert_eq!(socket_of(Some("unix:///run/x.sock")).unwrap(), Path::new("/run/x.sock"));
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_told_from_one_that_refuses() {
        let engine = Engine::at(Some("/nonexistent/engine.sock")).unwrap();
        let error = engine.call("asking", LOOK, engine.api().ping()).await.unwrap_err();
        assert!(error.is_engine_gone(), "{error}");
        assert!(error.to_string().contains("/nonexistent/engine.sock"), "{error}");
    }
}
