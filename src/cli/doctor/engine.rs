//! Checks of the container engine.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{Check, Finding};
use crate::config::docker_values::EngineAddress;

/// Longest answer to a question for the version.
const MAX_ANSWER: usize = 256 << 10;

/// Oldest engine API that the sandbox is made for.
const OLDEST_API: (u32, u32) = (1, 40);

/// The engine answers this user and is new enough.
pub struct EngineSocket {
    /// Where it listens, or why that cannot be told.
    pub address: Result<EngineAddress, String>,
}

impl Check for EngineSocket {
    fn name(&self) -> String {
        "container engine".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let address = match &self.address {
                Ok(address) => address,
                Err(error) => return Finding::failed(error.clone(), "correct `docker.host` or DOCKER_HOST"),
            };
            match ask(address).await {
                Ok(version) => judge(address, &version),
                Err(error) => explain(address, &error),
            }
        })
    }
}

/// What the engine says about itself, as far as it matters here. Everything else is ignored.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineVersion {
    #[serde(default)]
    version: String,
    #[serde(default)]
    api_version: String,
}

async fn ask(address: &EngineAddress) -> io::Result<EngineVersion> {
    let stream = UnixStream::connect(address.socket()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = hyper::Request::get("/version").header("Host", "engine").body(Empty::<Bytes>::new());
    let answer = async {
        let response = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        if !status.is_success() {
            return Err(io::Error::other(format!("it answers {status}")));
        }
        serde_json::from_slice(&body.to_bytes()).map_err(io::Error::other)
    };
    // The connection makes progress only while it is polled; the answer ends both.
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}

fn judge(address: &EngineAddress, version: &EngineVersion) -> Finding {
    let found = format!("{} (API {}) at {address}", version.version, version.api_version);
    let mut parts = version.api_version.split('.').map_while(|part| part.parse::<u32>().ok());
    let is_new_enough = parts.next().zip(parts.next()).is_some_and(|api| api >= OLDEST_API);
    if is_new_enough {
        Finding::Ok(found)
    } else {
        let (major, minor) = OLDEST_API;
        Finding::failed(found, format!("install an engine with API {major}.{minor} or newer (Docker 19.03)"))
    }
}

fn explain(address: &EngineAddress, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => Finding::failed(
            format!("nothing listens at {address}"),
            "install Docker (`apt-get install docker.io`) and start it (`systemctl start docker`), or set `docker.host`",
        ),
        io::ErrorKind::ConnectionRefused => Finding::failed(
            format!("the engine at {address} does not run"),
            "start it: `systemctl start docker`; its log says more: `journalctl -u docker`",
        ),
        io::ErrorKind::PermissionDenied => Finding::failed(
            format!("this user may not use {address}"),
            "run the agent as root, or add its user to the group that owns the socket: `usermod -aG docker USER`",
        ),
        _ => Finding::failed(
            format!("the engine at {address} does not answer as it should: {error}"),
            "see its log: `journalctl -u docker`",
        ),
    }
}

/// Asks an engine in depth.
pub trait EngineProbe: Send + Sync {
    /// Connects as the agent does, a container that sees the state directory included, and gives what the engine warns
    /// of. An error says why no agent can work with it.
    fn warnings(&self) -> BoxFuture<'_, Result<Vec<String>, String>>;
}

/// The engine sees the state directory and enforces limits.
pub struct EngineAbilities<P> {
    /// Who asks it.
    pub probe: P,
}

impl<P: EngineProbe> Check for EngineAbilities<P> {
    fn name(&self) -> String {
        "engine and state directory".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            match self.probe.warnings().await {
                Err(error) => Finding::failed(
                    error,
                    "mend what `container engine` says first; else run the engine on this machine, with the state \
                     directory at the same path",
                ),
                Ok(warnings) if warnings.is_empty() => {
                    Finding::Ok("containers see the state directory, limits are enforced".into())
                }
                Ok(warnings) => Finding::warning(
                    format!("containers see the state directory; {}", warnings.join("; ")),
                    "jobs run all the same; do not count on these limits",
                ),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &std::path::Path) -> EngineSocket {
        EngineSocket { address: Ok(path.to_str().unwrap().parse().unwrap()) }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_does_not_run_or_talks_nonsense_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let found = |finding: Finding| match finding {
            Finding::Failed { found, fix } => found + "; " + &fix,
            other => panic!("{other:?}"),
        };
        assert!(found(socket(&path).look().await).contains("nothing listens"));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(found(socket(&path).look().await).contains("does not run"));
        std::fs::remove_file(&path).unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let nonsense = async {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        };
        let check = socket(&path);
        let (finding, ()) = tokio::join!(check.look(), nonsense);
        assert!(found(finding).contains("does not answer as it should"));
    }

    #[tokio::test]
    async fn the_engine_of_this_machine_is_new_enough() {
        let check = EngineSocket { address: "/var/run/docker.sock".parse() };
        assert!(matches!(check.look().await, Finding::Ok(_)), "{:?}", check.look().await);
    }

    struct Fixed(Result<Vec<String>, String>);

    impl EngineProbe for Fixed {
        fn warnings(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
            Box::pin(async { self.0.clone() })
        }
    }

    #[tokio::test]
    async fn what_the_engine_cannot_do_is_told() {
        let found = async |answer| EngineAbilities { probe: Fixed(answer) }.look().await;
        assert!(matches!(found(Ok(Vec::new())).await, Finding::Ok(_)));
        let lacking = found(Ok(vec!["the engine cannot enforce cpus".into()])).await;
        assert!(matches!(&lacking, Finding::Warning { found, .. } if found.contains("cpus")), "{lacking:?}");
        let blind = found(Err("the engine does not see /var/lib/forgehand".into())).await;
        assert!(matches!(&blind, Finding::Failed { found, .. } if found.contains("does not see")), "{blind:?}");
    }

    #[test]
    fn an_old_engine_is_refused() {
        let address: EngineAddress = "/x".parse().unwrap();
        let version = |api: &str| EngineVersion { version: "1".into(), api_version: api.into() };
        assert!(matches!(judge(&address, &version("1.41")), Finding::Ok(_)));
        for old in ["1.24", "", "x"] {
            assert!(matches!(judge(&address, &version(old)), Finding::Failed { .. }), "{old}");
        }
    }
}
