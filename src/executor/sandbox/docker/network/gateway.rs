//! Where containers of jobs reach this machine.

use std::net::{IpAddr, Ipv4Addr};

use bollard::models::Ipam;
use ipnet::IpNet;

use crate::executor::sandbox::docker::Docker;
use crate::executor::sandbox::docker::engine::LOOK;
use crate::executor::sandbox::docker::error::EngineError;
use crate::executor::sandbox::docker::settings::NetworkMode;

/// What the engines call the network that a container is in of which nothing is said: Docker, Podman.
const DEFAULTS: [&str; 2] = ["bridge", "podman"];

impl Docker {
    /// An address of this machine that containers reach which are connected as `mode` says. `None`: they have no network.
    ///
    /// Whatever bridge a container is on, what it sends to another bridge's gateway is for the machine itself, and arrives: so the
    /// gateway of the engine's own bridge serves all jobs, also those whose networks are made later.
    ///
    /// # Errors
    /// The engine cannot be asked, or it has no network that says where this machine is.
    pub async fn machine_address(&self, mode: &NetworkMode) -> Result<Option<IpAddr>, EngineError> {
        match mode {
            NetworkMode::None => Ok(None),
            NetworkMode::Host => Ok(Some(Ipv4Addr::LOCALHOST.into())),
            NetworkMode::Named(name) if name.starts_with("container:") => Err(unknown(&[name])),
            NetworkMode::Named(name) => self.gateway(name).await?.map(Some).ok_or_else(|| unknown(&[name])),
            NetworkMode::Job | NetworkMode::Bridge => {
                for name in DEFAULTS {
                    if let Some(address) = self.gateway(name).await? {
                        return Ok(Some(address));
                    }
                }
                Err(unknown(&DEFAULTS))
            }
        }
    }

    async fn gateway(&self, network: &str) -> Result<Option<IpAddr>, EngineError> {
        let engine = self.engine();
        let asked = engine.call("looking at a network", LOOK, engine.api().inspect_network(network, None)).await;
        match asked {
            Ok(network) => Ok(network.ipam.as_ref().and_then(gateway_of)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// None of these networks says where this machine is.
fn unknown(networks: &[&str]) -> EngineError {
    EngineError::NotFound {
        what: "looking for an address of this machine that jobs reach".into(),
        message: format!("the engine has no network {} with a gateway", networks.join(" or ")),
    }
}

/// The gateway that is written down, else the first address of the range, which is what engines take.
fn gateway_of(ipam: &Ipam) -> Option<IpAddr> {
    let configs = ipam.config.iter().flatten();
    let gateways = configs.filter_map(|config| {
        let written = config.gateway.as_deref().and_then(|text| text.parse().ok());
        written.or_else(|| config.subnet.as_deref()?.parse::<IpNet>().ok()?.hosts().next())
    });
    // Jobs may have no IPv6, whatever the engine's own bridge has.
    gateways.min_by_key(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use bollard::models::IpamConfig;

    use super::*;

    fn config(subnet: &str, gateway: Option<&str>) -> IpamConfig {
        IpamConfig { subnet: Some(subnet.into()), gateway: gateway.map(str::to_owned), ..IpamConfig::default() }
    }

    #[test]
    fn the_gateway_of_version_4_is_taken_whether_it_is_written_down_or_not() {
        let of = |configs| gateway_of(&Ipam { config: Some(configs), ..Ipam::default() });
        let six = || config("fd00::/64", Some("fd00::1"));
        assert_eq!(of(vec![six(), config("172.17.0.0/16", Some("172.17.0.9"))]), "172.17.0.9".parse().ok());
        assert_eq!(of(vec![config("172.17.0.0/16", None)]), "172.17.0.1".parse().ok());
        assert_eq!(of(vec![six()]), "fd00::1".parse().ok());
        assert_eq!(of(Vec::new()), None);
    }

    #[test]
    fn an_engine_without_a_bridge_is_told_of_with_what_was_looked_for() {
        let said = unknown(&DEFAULTS).to_string();
        assert!(said.contains("address of this machine") && said.contains("bridge or podman"), "{said}");
    }
}
