//! The one door to the network.
//!
//! Every HTTP client of the agent comes from here, so that proxy, certificate authorities, deadlines, retries and the
//! circuit breaker hold everywhere, and so that no name is ever resolved by the C library (the binary is static, and a
//! static glibc that loads the machine's NSS modules breaks). What git and jobs need of the same settings comes from
//! here, too: [`Outbound::for_git`], [`Outbound::for_jobs`].
//!
//! - [`proxy`]: which requests go through a proxy.
//! - [`tls`]: whom we trust and who we are; [`issuer`] reads the name of an unknown issuer.
//! - [`names`]: host names to addresses.
//! - [`retry`]: the transparent retry (protocols: GitLab 0).
//! - [`breaker`]: when a remote is left alone for a while.
//! - [`explain`]: what a transport error means, in one sentence for people.
//! - [`body`]: answers are read up to a limit only. [`download`]: to a file, going on where it broke off.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use url::Url;

use crate::pipeline::Secret;

pub mod body;
pub mod breaker;
pub mod download;
pub mod explain;
pub mod issuer;
pub mod names;
pub mod proxy;
pub mod retry;
pub mod tls;

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

pub use body::{read_beginning, read_limited};
pub use breaker::CircuitBreaker;
pub use download::Download;
pub use proxy::ProxyEnvironment;
pub use retry::{Pace, Patience};

use names::Names;
use proxy::ProxyRules;
use tls::Tls;

/// After this long a new client takes over, so that a forge behind a moved name or a balancer is found again although
/// polls keep a connection busy. (protocols: GitLab 0, `connection_max_age`.)
const CONNECTION_MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// What the door is built from.
#[derive(Clone, Default)]
pub struct OutboundSettings {
    /// The proxy for everything, `http://user:password@host:port` (also `https`, `socks5`, `socks5h`). Over the
    /// environment's.
    pub proxy: Option<Url>,
    /// What goes without the proxy: `host` (and what is below it), `.suffix`, `address`, `network/bits`, each also
    /// with `:port`; `*` is everything.
    pub no_proxy: Vec<String>,
    /// Certificate authorities (PEM), added to the system's.
    pub ca_files: Vec<PathBuf>,
    /// Our own certificate (PEM, with its chain), for servers that ask for one.
    pub client_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key: Option<PathBuf>,
    /// Proxies named by the environment; used where `proxy` is not set.
    pub environment: ProxyEnvironment,
    /// How long to wait for what.
    pub deadlines: Deadlines,
    /// Where the certificate bundle for git is written, needed when `ca_files` is not empty: a folder of the agent.
    pub bundle_dir: Option<PathBuf>,
}

impl std::fmt::Debug for OutboundSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundSettings")
            .field("proxy", &self.proxy.as_ref().map(proxy::without_credentials))
            .field("no_proxy", &self.no_proxy)
            .field("ca_files", &self.ca_files)
            .field("client_certificate", &self.client_certificate)
            .finish_non_exhaustive()
    }
}

/// How long to wait for what. (protocols: GitLab 0.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the next bytes of an answer, its headers too: above what a long poll takes.
    pub read: Duration,
    /// For a whole request.
    pub total: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            read: Duration::from_secs(10 * 60),
            total: Duration::from_secs(60 * 60),
            idle: Duration::from_secs(90),
        }
    }
}

/// Why something could not be sent or received.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The settings do not work: an unreadable file, a bad address.
    #[error("{0}")]
    Settings(String),
    /// There was no answer, or it broke off. The text is one sentence for people.
    #[error("{0}")]
    Transport(String),
    /// The remote has failed again and again and is left alone for a moment.
    #[error("{remote} has not answered the last times; it is asked again in {} s", .wait.as_secs().max(1))]
    Resting {
        /// Scheme, host and port.
        remote: String,
        /// How long still.
        wait: Duration,
    },
    /// The answer is larger than what is ever taken.
    #[error("the answer of {remote} is larger than {limit} bytes")]
    TooLarge {
        /// Scheme, host and port.
        remote: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// What was received could not be written to the disk.
    #[error("{0}")]
    Disk(String),
}

/// The door. Cheap to clone; all clones share connections and circuit breakers.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

struct Shared {
    settings: OutboundSettings,
    rules: Arc<ProxyRules>,
    names: Arc<Names>,
    connections: RwLock<Connections>,
    breakers: Mutex<HashMap<String, Arc<CircuitBreaker>>>,
    pace: Arc<dyn Pace>,
    bundle: Option<PathBuf>,
}

/// A client and the settings of TLS it was made with.
struct Connections {
    client: reqwest::Client,
    tls: Tls,
    since: Instant,
}

/// What git needs of the settings to reach a repository. Handed over by environment and configuration file only.
#[derive(Clone, Debug, Default)]
pub struct GitNetwork {
    /// Environment of git: the proxy, which may hold a password.
    pub env: Vec<(String, Secret)>,
    /// All certificate authorities (PEM, the system's among them) as one file for `http.sslCAInfo`; `None`: git's own.
    pub ca_file: Option<PathBuf>,
    /// For `http.sslCert`.
    pub client_certificate: Option<PathBuf>,
    /// For `http.sslKey`.
    pub client_key: Option<PathBuf>,
}

impl Outbound {
    /// Reads certificates, checks the proxy, opens nothing. Reads files: call it off the runtime or at start.
    pub fn new(settings: OutboundSettings) -> Result<Self, OutboundError> {
        Self::with_pace(settings, Arc::new(retry::RealPace))
    }

    /// As [`Outbound::new`], with the clock, the sleep and the chance that retries use.
    pub fn with_pace(settings: OutboundSettings, pace: Arc<dyn Pace>) -> Result<Self, OutboundError> {
        let rules = Arc::new(ProxyRules::new(settings.proxy.as_ref(), &settings.no_proxy, &settings.environment)?);
        let names = Arc::new(Names::default());
        let tls = Tls::load(&settings)?;
        let bundle = tls.write_bundle(&settings)?;
        let client = build_client(&settings, &rules, &names, &tls)?;
        let connections = RwLock::new(Connections { client, tls, since: Instant::now() });
        let breakers = Mutex::new(HashMap::new());
        Ok(Self { shared: Arc::new(Shared { settings, rules, names, connections, breakers, pace, bundle }) })
    }

    /// The client: rustls, our own DNS, deadlines, HTTP/1.1. Redirects are answers like others; whoever wants to follow
    /// one does it deliberately. Take it anew for each request: it is replaced now and then.
    pub fn http(&self) -> reqwest::Client {
        {
            let now = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
            if now.since.elapsed() < CONNECTION_MAX_AGE {
                return now.client.clone();
            }
        }
        self.renew()
    }

    /// Makes a client anew, with certificates read again where a file is newer. Requests under way go on.
    fn renew(&self) -> reqwest::Client {
        let mut connections = self.shared.connections.write().unwrap_or_else(PoisonError::into_inner);
        if connections.since.elapsed() < CONNECTION_MAX_AGE {
            return connections.client.clone(); // somebody else was faster
        }
        connections.since = Instant::now();
        let settings = &self.shared.settings;
        if connections.tls.is_outdated(settings) {
            match Tls::load(settings) {
                Ok(tls) => connections.tls = tls,
                Err(error) => tracing::warn!(%error, "certificates cannot be read again; the old ones stay"),
            }
        }
        match build_client(settings, &self.shared.rules, &self.shared.names, &connections.tls) {
            Ok(client) => connections.client = client,
            Err(error) => tracing::warn!(%error, "the HTTP client cannot be renewed; the old one stays"),
        }
        connections.client.clone()
    }

    /// The circuit breaker of a remote, named by [`remote_of`].
    pub fn breaker(&self, remote: &str) -> Arc<CircuitBreaker> {
        let mut breakers = self.shared.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.entry(remote.to_owned()).or_insert_with(|| Arc::new(CircuitBreaker::new(remote))).clone()
    }

    /// What a failed request means, in one sentence for people.
    pub fn explain(&self, error: &reqwest::Error, url: &Url) -> String {
        let proxy = self.shared.rules.proxy_for(url).map(proxy::without_credentials);
        explain::explain_via(error, url, proxy.as_deref())
    }

    /// The clock, sleep and chance in use.
    pub fn pace(&self) -> &dyn Pace {
        self.shared.pace.as_ref()
    }

    /// What git needs to reach `url` and its neighbours.
    pub fn for_git(&self, url: &Url) -> GitNetwork {
        GitNetwork {
            env: self.shared.rules.environment_for_git(url),
            ca_file: self.shared.bundle.clone(),
            client_certificate: self.shared.settings.client_certificate.clone(),
            client_key: self.shared.settings.client_key.clone(),
        }
    }

    /// What jobs need to use the same proxies, as variables; may hold a password. Given to them only where the operator
    /// says so (`network.pass_to_jobs`).
    pub fn for_jobs(&self) -> Vec<(String, Secret)> {
        self.shared.rules.environment_for_jobs()
    }

    /// The configured certificate authorities as one PEM text, for `CI_SERVER_TLS_CA_FILE`. `None` where none are
    /// configured.
    pub fn ca_pem(&self) -> Option<String> {
        let connections = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.tls.configured_pem()
    }
}

/// How a remote is named in messages and by circuit breakers: scheme, host and port, nothing secret.
pub fn remote_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

fn build_client(
    settings: &OutboundSettings,
    rules: &Arc<ProxyRules>,
    names: &Arc<Names>,
    tls: &Tls,
) -> Result<reqwest::Client, OutboundError> {
    let proxies = rules.clone();
    let deadlines = settings.deadlines;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.config())
        // One connection a request, as the official runner: a held poll must not stall what shares its connection.
        .http1_only()
        .dns_resolver(names.clone())
        .proxy(reqwest::Proxy::custom(move |url| proxies.proxy_for(url).cloned()))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(user_agent())
        .connect_timeout(deadlines.connect)
        .read_timeout(deadlines.read)
        .timeout(deadlines.total)
        .pool_idle_timeout(deadlines.idle)
        .pool_max_idle_per_host(100)
        .tcp_keepalive(Duration::from_secs(30))
        .build()
        .map_err(|error| OutboundError::Settings(format!("the HTTP client cannot be built: {error}")))
}

/// How we name ourselves to servers: in the shape that the official runner has, `NAME VERSION (BRANCH; LANGUAGE; OS/ARCH)`,
/// since there are servers and proxies that take it apart. Under our own name, and with the revision for a branch.
pub fn user_agent() -> String {
    let revision = crate::REVISION.unwrap_or("release");
    format!("forgehand {} ({revision}; rust; {}/{})", crate::VERSION, std::env::consts::OS, go_arch())
}

/// The processor's name as Go writes it, which is what forges and images use.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
