//! Making and removing networks at the engine: small bridges from the pool's range of addresses.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use ipnet::Ipv4Net;
use tokio::sync::Semaphore;

use super::pool::{Kind, PooledNetwork, Shape};
use super::subnets::{self, Subnet, Subnets};
use crate::executor::sandbox::docker::engine::{CHANGE, Engine, LOOK};
use crate::executor::sandbox::docker::error::EngineError;
use crate::executor::sandbox::docker::{labels, names};

/// How many networks are made or removed at once. The engine does them one after the other anyway; more calls would only
/// wait there with their deadline running.
const AT_ONCE: usize = 4;
/// How many nets are tried where others took the same addresses without our knowing.
const TRIES: usize = 64;
/// How often, and with which pause, a network that still has a container is tried to be removed.
const REMOVALS: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(300);
/// Option of the bridge driver: whether containers on it reach each other.
const BETWEEN: &str = "com.docker.network.bridge.enable_icc";
/// Option of the bridge driver.
const MTU: &str = "com.docker.network.driver.mtu";

/// Makes networks.
pub(super) struct Maker {
    engine: Engine,
    agent: String,
    range: Option<Ipv4Net>,
    prefix: u8,
    /// `None`: the range has not been chosen yet.
    subnets: Mutex<Option<Subnets>>,
    turns: Semaphore,
}

impl Maker {
    pub(super) fn new(engine: Engine, agent: String, range: Option<Ipv4Net>, prefix: u8) -> Self {
        Self { engine, agent, range, prefix, subnets: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    /// Whether so many containers have room in one network, as far as that is known.
    pub(super) fn has_room(&self, containers: usize) -> bool {
        self.lock().as_ref().is_none_or(|subnets| containers <= subnets.room())
    }

    /// Makes one and hands it to `known`, before a look at what is there can take it for a stranger's.
    pub(super) async fn make<T>(
        &self,
        shape: &Shape,
        known: impl FnOnce(PooledNetwork) -> T + Send,
    ) -> Result<T, EngineError> {
        let _turn = self.turn().await;
        for _ in 0..TRIES {
            let Some(subnet) = self.lock().as_mut().and_then(Subnets::take) else { break };
            match self.make_at(subnet, shape).await {
                Ok(network) => return Ok(known(network)),
                // Somebody else's network overlaps: its addresses stay marked as taken.
                Err(error) if is_overlap(&error) => {
                    tracing::debug!(subnet = %subnet.net, "another network has these addresses");
                }
                // One of an earlier agent that was not swept yet bears the name.
                Err(EngineError::Conflict { .. }) => {}
                Err(error) => {
                    self.give_back(subnet.index);
                    return Err(error);
                }
            }
        }
        let range = self.lock().as_ref().map(|subnets| subnets.range().to_string()).unwrap_or_default();
        Err(EngineError::Unsupported(format!(
            "no free network is left in {range}: set `docker.network_pool` to a larger range"
        )))
    }

    /// Removes a network. One that is gone already is no error; a container that is just being removed may hold it for a moment
    /// longer, and `let_go` makes those go that only hold it.
    pub(super) async fn remove(
        &self,
        id: &str,
        let_go: impl Future<Output = Result<(), EngineError>> + Send,
    ) -> Result<(), EngineError> {
        let mut let_go = Some(let_go);
        let _turn = self.turn().await;
        for attempt in 1.. {
            let call = self.engine.api().remove_network(id);
            match self.engine.call("removing the job's network", CHANGE, call).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(EngineError::Refused { .. } | EngineError::Conflict { .. }) if attempt < REMOVALS => {
                    match let_go.take() {
                        Some(let_go) => let_go.await?,
                        None => tokio::time::sleep(REMOVAL_PAUSE).await,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The addresses of a network that was removed are free.
    pub(super) fn give_back(&self, subnet: u32) {
        if let Some(subnets) = self.lock().as_mut() {
            subnets.give_back(subnet);
        }
    }

    /// Ids and names of the networks that the engine has of this agent and that are not `known`.
    pub(super) async fn strangers(
        &self,
        known: impl Fn() -> BTreeSet<String> + Send,
    ) -> Result<Vec<(String, String)>, EngineError> {
        // Nothing is being made while all turns are held, so that each network is either known or a stranger.
        let _all = self.turns.acquire_many(AT_ONCE as u32).await.ok();
        let options = ListNetworksOptions { filters: Some(labels::made_by(&self.agent)) };
        let networks =
            self.engine.call("listing networks", LOOK, self.engine.api().list_networks(Some(options))).await?;
        let known = known();
        Ok(networks
            .into_iter()
            .filter_map(|network| Some((network.id?, network.name.unwrap_or_default())))
            .filter(|(id, _)| !known.contains(id))
            .collect())
    }

    async fn make_at(&self, subnet: Subnet, shape: &Shape) -> Result<PooledNetwork, EngineError> {
        let name = names::pool_network(&self.agent, subnet.index);
        let body = request(&name, &self.agent, subnet, shape);
        let made = self.engine.call("making the job's network", CHANGE, self.engine.api().create_network(body)).await?;
        Ok(PooledNetwork::new(made.id, name, subnet.index, shape.clone()))
    }

    /// Chooses the range when the first network is wanted, and learns which of its nets are in use.
    pub(super) async fn choose_range(&self) -> Result<(), EngineError> {
        if self.lock().is_some() {
            return Ok(());
        }
        let networks = networks_of(&self.engine).await?;
        let mut used = match std::fs::read_to_string("/proc/net/route") {
            Ok(table) => subnets::routes(&table),
            Err(_) => Vec::new(),
        };
        let routes_of_ours = |net: &Ipv4Net| networks.iter().any(|(theirs, ours)| *ours && theirs == net);
        let others: Vec<Ipv4Net> = used
            .iter()
            .filter(|net| !routes_of_ours(net))
            .chain(networks.iter().filter(|(_, ours)| !ours).map(|(net, _)| net))
            .copied()
            .collect();
        let range = self.range.or_else(|| subnets::free_range(&others)).ok_or_else(|| {
            EngineError::Unsupported(
                "every range of 10.201.0.0/16 to 10.254.0.0/16 is in use on this machine: name a free one in \
                 `docker.network_pool`"
                    .into(),
            )
        })?;
        let mut subnets = Subnets::new(range, self.prefix);
        used.extend(networks.iter().map(|(net, _)| *net));
        // A route that holds the whole configured range is not about single nets of it.
        used.iter().filter(|net| net.prefix_len() > range.prefix_len()).for_each(|net| subnets.exclude(net));
        self.lock().get_or_insert(subnets);
        Ok(())
    }

    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // Never closed.
        self.turns.acquire().await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Subnets>> {
        // A panic in another holder leaves a list of addresses, at worst one net of them too few.
        self.subnets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address ranges of the engine's networks, and whether each was made by a pool of ours.
async fn networks_of(engine: &Engine) -> Result<Vec<(Ipv4Net, bool)>, EngineError> {
    let networks = engine.call("listing networks", LOOK, engine.api().list_networks(None)).await?;
    Ok(networks
        .into_iter()
        .flat_map(|network| {
            let ours = network.labels.is_some_and(|labels| labels.get(labels::ROLE).is_some_and(|role| role == "pool"));
            let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            configs.into_iter().filter_map(move |config| Some((config.subnet?.parse().ok()?, ours)))
        })
        .collect())
}

/// The engine answers 403 with these words, of the bridge driver or of its address management.
fn is_overlap(error: &EngineError) -> bool {
    let words = error.words().to_lowercase();
    words.contains("overlap") || words.contains("conflicts with network")
}

fn request(name: &str, agent: &str, subnet: Subnet, shape: &Shape) -> NetworkCreateRequest {
    let mut config = vec![IpamConfig { subnet: Some(subnet.net.to_string()), ..IpamConfig::default() }];
    if shape.ipv6 {
        config.push(IpamConfig { subnet: Some(ipv6_of(agent, subnet.index)), ..IpamConfig::default() });
    }
    let mut options = HashMap::new();
    options.extend(shape.mtu.map(|mtu| (MTU.to_owned(), mtu.to_string())));
    if shape.kind == Kind::Common {
        options.insert(BETWEEN.to_owned(), "false".to_owned());
    }
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".into()),
        enable_ipv6: Some(shape.ipv6),
        ipam: Some(Ipam { driver: Some("default".into()), config: Some(config), options: None }),
        options: (!options.is_empty()).then_some(options),
        labels: Some(labels::of_agent(agent, "pool")),
        ..NetworkCreateRequest::default()
    }
}

/// A /64 of the unique local addresses (RFC 4193), its global id made from the agent's.
fn ipv6_of(agent: &str, index: u32) -> String {
    let digest = names::digest(agent);
    format!("fd{}:{}:{}:{:x}::/64", &digest[..2], &digest[2..6], &digest[6..10], index & 0xffff)
}
