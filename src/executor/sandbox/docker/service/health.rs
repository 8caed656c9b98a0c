//! Waits until services answer. One that does not is a warning with its own words; the job goes on (protocols: GitLab 9.5).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, HealthStatusEnum};
use futures_util::future::select_all;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::start::StartedService;
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::docker::Docker;
use crate::executor::sandbox::docker::error::EngineError;
use crate::executor::sandbox::docker::network::Connection;
use crate::pipeline::JobFailure;

/// How often a service is asked.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause grows to this while the service is silent.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many exposed ports are tried, the lowest first.
const MOST_PORTS: usize = 20;
/// Bytes of a service's words that are shown.
const SHOWN: usize = 64 * 1024;

/// What a started service is reached by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::executor::sandbox::docker) struct Found {
    /// Its address on the job's network, where it has one of its own.
    pub address: Option<IpAddr>,
    /// Whether its container runs.
    pub is_running: bool,
    /// What the engine's own check says, where the image has one.
    pub health: Option<HealthStatusEnum>,
}

impl Found {
    /// From the engine's description of the container.
    pub(in crate::executor::sandbox::docker) fn of(inspect: &ContainerInspectResponse) -> Self {
        let networks = inspect.network_settings.iter().filter_map(|settings| settings.networks.as_ref());
        let address = networks
            .flat_map(|networks| networks.values())
            .filter_map(|endpoint| endpoint.ip_address.as_deref())
            .find_map(|address| address.parse().ok());
        let state = inspect.state.as_ref();
        Self {
            address,
            is_running: state.and_then(|state| state.running).unwrap_or(false),
            health: state.and_then(|state| state.health.as_ref()).and_then(|health| health.status),
        }
    }
}

/// Why a service is not ready.
#[derive(Debug)]
enum Unready {
    NoPorts,
    Silent { patience: Duration, last: String },
    Ended { code: i64 },
    Unhealthy,
    Unreachable,
    Engine(EngineError),
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPorts => f.write_str("its image exposes no ports, so that nothing could be checked"),
            Self::Silent { patience, last } => {
                write!(f, "no port answered within {} s ({last})", patience.as_secs())
            }
            Self::Ended { code } => write!(f, "its container ended with exit code {code}"),
            Self::Unhealthy => f.write_str("its own health check says that it is unhealthy"),
            Self::Unreachable => f.write_str("the agent cannot reach the containers of this engine to check it"),
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

/// Waits for one service; says in the log when it does not answer. An error where the job wants it to be healthy and it is not.
/// Cancel-safe.
pub(in crate::executor::sandbox::docker) async fn wait(
    docker: &Docker,
    connection: &Connection,
    service: &StartedService,
    log: &dyn StageLog,
) -> Result<(), JobFailure> {
    let Some(patience) = service.patience else { return Ok(()) };
    let Err(why) = until_ready(docker, connection, service, patience).await else { return Ok(()) };
    let words = match docker.output_of(&service.container, SHOWN).await {
        Ok(words) => words,
        Err(error) => format!("(not available: {error})").into_bytes(),
    };
    warn(log, service, &why, &words);
    let is_fatal =
        service.must_be_healthy && service.is_checked && matches!(why, Unready::Unhealthy | Unready::Ended { .. });
    match is_fatal {
        true => Err(JobFailure::configuration(format!("the service {} did not start: {why}", service.image_name))),
        false => Ok(()),
    }
}

async fn until_ready(
    docker: &Docker,
    connection: &Connection,
    service: &StartedService,
    patience: Duration,
) -> Result<(), Unready> {
    let ports = ports_of(service);
    let deadline = Instant::now() + patience;
    let mut pause = PAUSE;
    let mut found = look(docker, service).await?;
    if ports.is_empty() && !service.is_checked && service.must_be_healthy {
        // Where health is what counts, nothing to check is no fault.
        return Ok(());
    }
    if ports.is_empty() && !service.is_checked {
        return Err(Unready::NoPorts);
    }
    let dialled = match connection {
        Connection::Host => Some(IpAddr::from([127, 0, 0, 1])),
        _ if docker.caps().reaches_containers() => found.address,
        _ => None,
    };
    loop {
        let last = match (&found.health, dialled) {
            (Some(HealthStatusEnum::HEALTHY), _) => return Ok(()),
            (Some(HealthStatusEnum::UNHEALTHY), _) => return Err(Unready::Unhealthy),
            // The image's own check knows better than an open port.
            (Some(HealthStatusEnum::STARTING), _) => "its own health check has not ended".to_owned(),
            (_, Some(address)) => match dial_any(address, &ports, deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            (_, None) => return Err(Unready::Unreachable),
        };
        let goes_on = service.must_be_healthy && found.health == Some(HealthStatusEnum::STARTING);
        if !goes_on && Instant::now() + pause >= deadline {
            return Err(Unready::Silent { patience, last });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // Looking costs a call; a service that has ended will not answer any more.
        if pause == LONGEST_PAUSE || service.is_checked {
            found = look(docker, service).await?;
        }
    }
}

async fn look(docker: &Docker, service: &StartedService) -> Result<Found, Unready> {
    let inspect = docker.engine().inspect(&service.container).await.map_err(Unready::Engine)?;
    let Some(inspect) = inspect else { return Err(Unready::Ended { code: -1 }) };
    let found = Found::of(&inspect);
    if found.is_running {
        return Ok(found);
    }
    let code = inspect.state.and_then(|state| state.exit_code).unwrap_or(-1);
    Err(Unready::Ended { code })
}

fn ports_of(service: &StartedService) -> Vec<u16> {
    match service.health_port {
        Some(port) => vec![port],
        None => service.image.tcp_ports.iter().copied().take(MOST_PORTS).collect(),
    }
}

/// Whether any of the ports takes a connection now.
async fn dial_any(address: IpAddr, ports: &[u16], deadline: Instant) -> Result<(), String> {
    let mut dials: Vec<_> =
        ports.iter().map(|port| Box::pin(dial(SocketAddr::new(address, *port), deadline))).collect();
    let mut last = "no port to try".to_owned();
    while !dials.is_empty() {
        let (answer, _, rest) = select_all(dials).await;
        match answer {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
        dials = rest;
    }
    Err(last)
}

async fn dial(to: SocketAddr, deadline: Instant) -> Result<(), String> {
    let limit = deadline.min(Instant::now() + LONGEST_PAUSE);
    match tokio::time::timeout_at(limit, TcpStream::connect(to)).await {
        Ok(Ok(_stream)) => Ok(()),
        Ok(Err(error)) => Err(format!("port {}: {error}", to.port())),
        Err(_elapsed) => Err(format!("port {}: no answer", to.port())),
    }
}

/// The block that GitLab's users know.
fn warn(log: &dyn StageLog, service: &StartedService, why: &Unready, words: &[u8]) {
    let name = format!("{} ({})", service.image_name, service.aliases.join(", "));
    log.say(Tone::Warning, &format!("Service {name} probably didn't start properly."));
    log.say(Tone::Plain, "");
    log.say(Tone::Plain, "Health check error:");
    log.say(Tone::Plain, &why.to_string());
    log.say(Tone::Plain, "");
    log.say(Tone::Plain, "Service container logs:");
    if words.is_empty() {
        log.say(Tone::Plain, "(it printed nothing)");
    } else {
        log.output(words);
        if !words.ends_with(b"\n") {
            log.output(b"\n");
        }
    }
    log.say(Tone::Plain, "");
}
