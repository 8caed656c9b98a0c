//! Host names to addresses: /etc/hosts and the name servers of /etc/resolv.conf, asked by ourselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// All attempts at all name servers together.
const DEADLINE: Duration = Duration::from_secs(30);

/// The files that say how names are resolved.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// A name has no address, or nobody could be asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the host name `{host}` cannot be resolved ({cause}); check the address and /etc/resolv.conf")]
pub struct NameError {
    /// The name.
    pub host: String,
    /// What the resolver said.
    pub cause: String,
}

/// Resolves names; notices when the machine's files change (a laptop moves, a lease is renewed).
#[derive(Default)]
pub(super) struct Names {
    current: Mutex<Option<(Stamp, Arc<TokioResolver>)>>,
}

type Stamp = [Option<SystemTime>; 2];

impl Names {
    /// The addresses of `host`, which may be an address itself. Never empty.
    #[cfg(test)]
    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        lookup(self.resolver(), host).await
    }

    fn resolver(&self) -> Result<Arc<TokioResolver>, String> {
        let stamp = FILES.map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, resolver)) = &*current
            && *known == stamp
        {
            return Ok(resolver.clone());
        }
        let resolver = Arc::new(build()?);
        *current = Some((stamp, resolver.clone()));
        Ok(resolver)
    }
}

fn build() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_unreadable| {
        // What the C library does without /etc/resolv.conf: ask the machine itself. /etc/hosts still works.
        let own = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let config = ResolverConfig::from_parts(None, vec![], vec![own]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| error.to_string())
}

fn cause_of(error: &hickory_resolver::net::NetError) -> String {
    use hickory_resolver::net::NetError;
    if error.is_nx_domain() {
        return "there is no such name".to_owned();
    }
    if error.is_no_records_found() {
        return "it has no address".to_owned();
    }
    match error {
        NetError::Timeout | NetError::NoConnections => "no name server answers".to_owned(),
        other => other.to_string(),
    }
}

async fn lookup(resolver: Result<Arc<TokioResolver>, String>, host: &str) -> Result<Vec<IpAddr>, NameError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(vec![ip]);
    }
    let failed = |cause: String| NameError { host: host.to_owned(), cause };
    let resolver = resolver.map_err(failed)?;
    let found = tokio::time::timeout(DEADLINE, resolver.lookup_ip(host))
        .await
        .map_err(|_elapsed| failed("the name servers did not answer in time".to_owned()))?
        .map_err(|error| failed(cause_of(&error)))?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver();
        Box::pin(async move {
            let found = lookup(resolver, name.as_str()).await?;
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_the_machine_itself_need_no_name_server() {
        let names = Names::default();
        assert_eq!(names.lookup("10.1.2.3").await.unwrap(), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(names.lookup("[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(names.lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
