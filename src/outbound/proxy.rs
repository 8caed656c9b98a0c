//! Which requests go through a proxy, and what others are told about it.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::OutboundError;
use crate::pipeline::Secret;

/// Proxies as the environment of the agent names them.
#[derive(Clone, Default)]
pub struct ProxyEnvironment {
    /// `HTTP_PROXY` or `http_proxy`: for `http` addresses.
    pub http: Option<String>,
    /// `HTTPS_PROXY` or `https_proxy`: for `https` addresses.
    pub https: Option<String>,
    /// `NO_PROXY` or `no_proxy`, comma separated.
    pub no_proxy: Option<String>,
}

impl ProxyEnvironment {
    /// Reads the environment of this process.
    pub fn from_process() -> Self {
        let read = |upper: &str| {
            [upper.to_owned(), upper.to_lowercase()]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self { http: read("HTTP_PROXY"), https: read("HTTPS_PROXY"), no_proxy: read("NO_PROXY") }
    }
}

/// The proxies in force and what goes without them.
#[derive(Clone, Default)]
pub(super) struct ProxyRules {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
    /// `no_proxy` as written, for programs that read the variable.
    direct_text: Vec<String>,
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Direct {
    what: DirectHost,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DirectHost {
    Everything,
    /// The domain itself and what is below it.
    Domain(String),
    /// What is below it only.
    Below(String),
    Network(IpNet),
}

impl ProxyRules {
    /// The configured proxy counts for everything; where none is configured the environment's are used, with Go's
    /// rule that the machine itself is reached without.
    pub(super) fn new(
        proxy: Option<&Url>,
        no_proxy: &[String],
        environment: &ProxyEnvironment,
    ) -> Result<Self, OutboundError> {
        if let Some(proxy) = proxy {
            let proxy = checked(proxy.clone(), "network.proxy")?;
            let direct = no_proxy.iter().map(|entry| Direct::parse(entry)).collect::<Result<_, _>>()?;
            let direct_text = no_proxy.to_vec();
            return Ok(Self { http: Some(proxy.clone()), https: Some(proxy), direct, direct_text });
        }
        let from_environment = |text: &Option<String>, name: &str| -> Result<Option<Url>, OutboundError> {
            let Some(text) = text else { return Ok(None) };
            let text = if text.contains("://") { text.clone() } else { format!("http://{text}") };
            let url = Url::parse(&text).map_err(|error| {
                OutboundError::Settings(format!("the environment variable {name} is no proxy address: {error}"))
            })?;
            checked(url, name).map(Some)
        };
        let mut entries: Vec<String> = environment
            .no_proxy
            .iter()
            .flat_map(|list| list.split(','))
            .map(|entry| entry.trim().to_owned())
            .filter(|entry| !entry.is_empty())
            .collect();
        entries.extend(no_proxy.iter().cloned());
        // An environment variable is written for many programs: an entry in another's dialect is no reason to stop.
        let mut direct: Vec<Direct> = entries.iter().filter_map(|entry| Direct::parse(entry).ok()).collect();
        direct.extend(["localhost", "127.0.0.0/8", "::1"].iter().filter_map(|entry| Direct::parse(entry).ok()));
        Ok(Self {
            http: from_environment(&environment.http, "HTTP_PROXY")?,
            https: from_environment(&environment.https, "HTTPS_PROXY")?,
            direct,
            direct_text: entries,
        })
    }

    /// The proxy for `url`, if any.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        (!self.direct.iter().any(|entry| entry.covers(url))).then_some(proxy)
    }

    /// The variables libcurl reads. A host that goes without the proxy by a rule that libcurl may not know (a network,
    /// a port) is named to it.
    pub(super) fn environment_for_git(&self, url: &Url) -> Vec<(String, Secret)> {
        let mut env = Vec::new();
        for (name, proxy) in [("http_proxy", &self.http), ("https_proxy", &self.https)] {
            if let Some(proxy) = proxy {
                env.push((name.to_owned(), Secret::new(proxy.as_str())));
            }
        }
        if env.is_empty() {
            return env;
        }
        let mut direct = self.direct_text.clone();
        if let (None, Some(host)) = (self.proxy_for(url), url.host_str()) {
            direct.push(host.to_owned());
        }
        if !direct.is_empty() {
            env.push(("no_proxy".to_owned(), Secret::new(direct.join(","))));
        }
        env
    }

    /// The proxies in force, under the names programs look for. A job's own machine is reached without: it is not ours.
    pub(super) fn environment_for_jobs(&self) -> Vec<(String, Secret)> {
        let mut env = Vec::new();
        let mut add = |name: &str, value: &str| {
            env.push((name.to_owned(), Secret::new(value)));
            env.push((name.to_uppercase(), Secret::new(value)));
        };
        for (name, proxy) in [("http_proxy", &self.http), ("https_proxy", &self.https)] {
            if let Some(proxy) = proxy {
                add(name, proxy.as_str().trim_end_matches('/'));
            }
        }
        if self.http.is_some() || self.https.is_some() {
            let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let mut direct = self.direct_text.clone();
            direct.extend(own.into_iter().filter(|entry| !self.direct_text.contains(entry)));
            add("no_proxy", &direct.join(","));
        }
        env
    }
}

impl Direct {
    fn parse(entry: &str) -> Result<Self, OutboundError> {
        let entry = entry.trim();
        let bad = || OutboundError::Settings(format!("`{entry}` in network.no_proxy is no host, suffix or network"));
        if entry == "*" {
            return Ok(Self { what: DirectHost::Everything, port: None });
        }
        if let Some(network) = as_network(entry) {
            return Ok(Self { what: DirectHost::Network(network), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
            None => (entry, None),
        };
        if let Some(network) = as_network(host) {
            return Ok(Self { what: DirectHost::Network(network), port });
        }
        let host = host.to_ascii_lowercase();
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let name = below.unwrap_or(&host).trim_end_matches('.');
        if name.is_empty() || name.contains(['/', ' ', '@', '[', ']', '*', ':']) {
            return Err(bad());
        }
        let what =
            if below.is_some() { DirectHost::Below(name.to_owned()) } else { DirectHost::Domain(name.to_owned()) };
        Ok(Self { what, port })
    }

    fn covers(&self, url: &Url) -> bool {
        if self.port.is_some() && self.port != url.port_or_known_default() {
            return false;
        }
        match (&self.what, url.host()) {
            (DirectHost::Everything, _) => true,
            (DirectHost::Network(network), Some(Host::Ipv4(ip))) => network.contains(&IpAddr::V4(ip)),
            (DirectHost::Network(network), Some(Host::Ipv6(ip))) => network.contains(&IpAddr::V6(ip)),
            (DirectHost::Domain(name), Some(Host::Domain(host))) => {
                let host = host.trim_end_matches('.');
                host.eq_ignore_ascii_case(name) || is_below(host, name)
            }
            (DirectHost::Below(name), Some(Host::Domain(host))) => is_below(host.trim_end_matches('.'), name),
            (DirectHost::Network(_), Some(Host::Domain(_)) | None)
            | (DirectHost::Domain(_) | DirectHost::Below(_), Some(Host::Ipv4(_) | Host::Ipv6(_)) | None) => false,
        }
    }
}

fn is_below(host: &str, name: &str) -> bool {
    host.to_ascii_lowercase().strip_suffix(name).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
}

/// `10.0.0.0/8`, `10.1.2.3`, `::1`, `[::1]`.
fn as_network(text: &str) -> Option<IpNet> {
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The address of a proxy without user name and password, for messages.
pub(super) fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username(""); // fails only where there can be none
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn checked(url: Url, setting: &str) -> Result<Url, OutboundError> {
    let known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
    if known && url.host_str().is_some_and(|host| !host.is_empty()) {
        return Ok(url);
    }
    Err(OutboundError::Settings(format!(
        "{setting} `{}` is no proxy: it must be http://[user:password@]host:port (or https, socks5, socks5h)",
        without_credentials(&url)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn goes_direct(no_proxy: &[&str], target: &str) -> bool {
        let entries: Vec<String> = no_proxy.iter().map(|e| (*e).to_owned()).collect();
        let rules = ProxyRules::new(Some(&url("http://p:3128")), &entries, &ProxyEnvironment::default()).unwrap();
        rules.proxy_for(&url(target)).is_none()
    }

    #[test]
    fn no_proxy_is_by_host_suffix_network_and_port() {
        for (entry, target, direct) in [
            ("git.example.com", "https://git.example.com/x", true),
            ("example.com", "https://git.example.com/x", true),
            ("example.com", "https://notexample.com/x", false),
            (".example.com", "https://git.Example.com/x", true),
            (".example.com", "https://example.com/x", false),
            ("*.example.com", "https://a.b.example.com/x", true),
            ("10.0.0.0/8", "http://10.200.3.4/", true),
            ("10.0.0.0/8", "http://11.0.0.1/", false),
            ("10.0.0.0/8", "http://ten.example.com/", false),
            ("fd00::/8", "http://[fd12::1]:80/", true),
            ("[::1]:8080", "http://[::1]:8080/", true),
            ("example.com:8443", "https://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("*", "https://anything/", true),
        ] {
            assert_eq!(goes_direct(&[entry], target), direct, "{entry} {target}");
        }
    }

    #[test]
    fn a_configured_proxy_is_used_for_the_machine_itself_too() {
        assert!(!goes_direct(&[], "http://127.0.0.1:80/"));
    }

    #[test]
    fn the_environment_counts_only_where_nothing_is_configured() {
        let environment = ProxyEnvironment {
            http: Some("proxy.example.com:3128".into()),
            https: None,
            no_proxy: Some("a.example.com, ,weird entry".into()),
        };
        let rules = ProxyRules::new(None, &[], &environment).unwrap();
        assert_eq!(rules.proxy_for(&url("http://x/")).unwrap().as_str(), "http://proxy.example.com:3128/");
        assert!(rules.proxy_for(&url("https://x/")).is_none());
        assert!(rules.proxy_for(&url("http://a.example.com/")).is_none());
        assert!(rules.proxy_for(&url("http://127.0.0.1/")).is_none());
        let rules = ProxyRules::new(Some(&url("http://mine:1")), &[], &environment).unwrap();
        assert_eq!(rules.proxy_for(&url("http://a.example.com/")).unwrap().as_str(), "http://mine:1/");
    }

    #[test]
    fn git_and_jobs_get_the_proxy_as_it_is() {
        let rules =
            ProxyRules::new(Some(&url("http://u:pw@p:3128")), &["10.0.0.0/8".into()], &ProxyEnvironment::default())
                .unwrap();
        let of = |env: &[(String, Secret)], name: &str| {
            env.iter().find(|(key, _)| key == name).map(|(_, value)| value.expose().to_owned())
        };
        let git = rules.environment_for_git(&url("http://10.1.1.1/a.git"));
        assert_eq!(of(&git, "https_proxy").unwrap(), "http://u:pw@p:3128/");
        assert_eq!(of(&git, "no_proxy").unwrap(), "10.0.0.0/8,10.1.1.1", "curl may not know networks");
        let jobs = rules.environment_for_jobs();
        assert_eq!(of(&jobs, "HTTPS_PROXY").unwrap(), "http://u:pw@p:3128");
        assert_eq!(of(&jobs, "no_proxy").unwrap(), "10.0.0.0/8,localhost,127.0.0.1,::1");
        let none = ProxyRules::new(None, &["x".into()], &ProxyEnvironment::default()).unwrap();
        assert!(none.environment_for_jobs().is_empty());
    }

    #[test]
    fn what_is_no_proxy_is_said_without_its_password() {
        let error = ProxyRules::new(Some(&url("ftp://u:pw@p")), &[], &ProxyEnvironment::default()).err().unwrap();
        assert!(error.to_string().contains("network.proxy") && !error.to_string().contains("pw"), "{error}");
        assert!(ProxyRules::new(Some(&url("http://p")), &["http://x".into()], &ProxyEnvironment::default()).is_err());
    }
}
