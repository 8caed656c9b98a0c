//! Networks of jobs: small bridges from the pool's range, made ahead of need.
//!
//! A network serves one Owner only: when its job has ended it waits for the same Owner's next job, or is removed. It
//! carries no job's label, since labels cannot be changed and networks are made before their job is known.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use ipnet::Ipv4Net;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::stock::{Answer, Released, Stock, Taken, Upkeep};
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

/// What the operator decided about the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// The range of addresses; `None`: a free /16 is looked for.
    pub range: Option<Ipv4Net>,
    /// Prefix length of one job's network.
    pub prefix: u8,
    /// How many are kept.
    pub upkeep: Upkeep,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { range: None, prefix: subnets::DEFAULT_PREFIX, upkeep: Upkeep { ready: 2, most: None } }
    }
}

/// What networks of a registration look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// MTU; `None`: the engine's.
    pub mtu: Option<u32>,
    /// Whether there is IPv6 too.
    pub ipv6: bool,
}

/// One network of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PooledNetwork {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    pub(super) subnet: u32,
    pub(super) shape: Shape,
    /// The Owner that has used it; `None`: nobody yet.
    pub(super) owner: Option<String>,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct NetworkPool {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    agent: String,
    settings: PoolSettings,
    state: Mutex<State>,
    turns: Semaphore,
    /// Networks that are made ahead or removed after a job.
    background: TaskTracker,
}

struct State {
    /// `None`: the range has not been chosen yet.
    subnets: Option<Subnets>,
    stock: Stock,
}

impl NetworkPool {
    /// A pool of `agent`'s networks. Nothing is made before the first job asks.
    pub fn new(engine: Engine, agent: String, settings: PoolSettings) -> Self {
        let inner = Inner {
            engine,
            agent,
            state: Mutex::new(State { subnets: None, stock: Stock::new(settings.upkeep) }),
            settings,
            turns: Semaphore::new(AT_ONCE),
            background: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A network for a job of `owner` (its slug) that holds at least `containers` containers.
    pub async fn take(&self, owner: &str, shape: &Shape, containers: usize) -> Result<PooledNetwork, EngineError> {
        self.choose_range().await?;
        let is_large = self.lock().subnets.as_ref().is_some_and(|subnets| containers > subnets.room());
        if is_large {
            return Err(EngineError::Unsupported(format!(
                "{containers} containers do not fit into a network of /{}: set `docker.network_size` to a smaller number",
                self.inner.settings.prefix
            )));
        }
        let taken = self.lock().stock.take(owner, shape);
        let network = match taken {
            Taken::Here(network) => Ok(network),
            Taken::Later { answer, is_missing } => {
                if is_missing {
                    self.make_in_background(shape);
                }
                self.refill(shape);
                let stopped = || EngineError::Unsupported("the pool of networks is closed: the agent ends".into());
                let mut waiting = Waiting { pool: self, answer };
                return (&mut waiting.answer).await.map_err(|_| stopped())?;
            }
        };
        self.refill(shape);
        network
    }

    /// So many jobs are still to ask for a network: no more are made ahead or kept than these can use, and those are made.
    pub async fn expect(&self, jobs: usize, shape: &Shape) {
        self.lock().stock.expect(jobs);
        self.make_ready(shape).await;
    }

    /// Takes back the network `id` after its job. It waits for its Owner's next job where there is room, else it is removed,
    /// both without the caller waiting. `false`: the pool does not know it (an earlier agent made it).
    pub fn release(&self, id: &str) -> bool {
        let released = self.lock().stock.release(id);
        match released {
            Released::Unknown => return false,
            Released::Kept => {}
            Released::Surplus(network) => {
                let pool = self.clone();
                self.inner.background.spawn(async move { pool.discard(network).await });
            }
        }
        true
    }

    /// Makes networks of this shape ahead of the first job that needs one. Failures are told in the log only: the job that
    /// needs a network tries again.
    pub async fn make_ready(&self, shape: &Shape) {
        match self.choose_range().await {
            Ok(()) => self.refill(shape),
            Err(error) => tracing::warn!(%error, "no network could be made ahead of need"),
        }
    }

    /// Leaves a network whose job could not be removed to the sweeper.
    pub fn forget(&self, id: &str) {
        self.lock().stock.forget(id);
    }

    /// Ids of all networks that this process knows.
    pub fn known(&self) -> BTreeSet<String> {
        self.lock().stock.known()
    }

    /// Removes what no job uses and waits for what is under way. Networks in use stay for the next agent.
    pub async fn close(&self) {
        let idle = self.lock().stock.close();
        self.inner.background.close();
        self.inner.background.wait().await;
        // What was under way when the pool closed has removed itself (see `Stock::arrived`).
        futures_util::future::join_all(idle.into_iter().map(|network| self.discard(network))).await;
    }

    /// The networks that the engine has of this agent and nobody here knows: an earlier agent's.
    pub async fn strangers(&self) -> Result<Vec<(String, String)>, EngineError> {
        let inner = &self.inner;
        // Nothing is being made while all turns are held, so that each network is either known or a stranger.
        let _all = inner.turns.acquire_many(AT_ONCE as u32).await.ok();
        let options = ListNetworksOptions { filters: Some(labels::made_by(&inner.agent)) };
        let networks =
            inner.engine.call("listing networks", LOOK, inner.engine.api().list_networks(Some(options))).await?;
        let known = self.known();
        Ok(networks
            .into_iter()
            .filter_map(|network| Some((network.id?, network.name.unwrap_or_default())))
            .filter(|(id, _)| !known.contains(id))
            .collect())
    }

    /// Removes the network `id`, whoever made it. One that is gone already is no error.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        remove(&self.inner.engine, id).await
    }

    async fn discard(&self, network: PooledNetwork) {
        match self.remove(&network.id).await {
            Ok(()) => self.lock().give_back(network.subnet),
            // The sweeper tries again; until then its addresses stay taken.
            Err(error) => tracing::warn!(network = %network.name, %error, "a network could not be removed"),
        }
    }

    /// Makes networks ahead of need, in the background.
    fn refill(&self, shape: &Shape) {
        let missing = self.lock().stock.missing(shape);
        (0..missing).for_each(|_| self.make_in_background(shape));
    }

    /// Makes one that the stock knows to come. It is made to its end even if who waits for it gives up: half a network would be
    /// found by nobody.
    fn make_in_background(&self, shape: &Shape) {
        let (pool, shape) = (self.clone(), shape.clone());
        self.inner.background.spawn(async move {
            match pool.make(&shape).await {
                Ok(None) => {}
                Ok(Some(surplus)) => pool.discard(surplus).await,
                Err(error) => {
                    let unheard = pool.lock().stock.failed(&shape, error);
                    if let Some(error) = unheard {
                        tracing::warn!(%error, "no network could be made ahead of need");
                    }
                }
            }
        });
    }

    /// Makes one and puts it into the stock, which returns it where nobody needs it any more.
    async fn make(&self, shape: &Shape) -> Result<Option<PooledNetwork>, EngineError> {
        let _turn = self.turn().await;
        for _ in 0..TRIES {
            let Some(subnet) = self.lock().subnets.as_mut().and_then(Subnets::take) else { break };
            match self.make_at(subnet, shape).await {
                // Known before the turn ends: the sweeper looks when nobody has a turn.
                Ok(network) => return Ok(self.lock().stock.arrived(network)),
                // Somebody else's network overlaps: its addresses stay marked as taken.
                Err(error) if is_overlap(&error) => {
                    tracing::debug!(subnet = %subnet.net, "another network has these addresses");
                }
                // One of an earlier agent that was not swept yet bears the name.
                Err(EngineError::Conflict { .. }) => {}
                Err(error) => {
                    self.lock().give_back(subnet.index);
                    return Err(error);
                }
            }
        }
        let range = self.lock().subnets.as_ref().map(|s| s.range().to_string()).unwrap_or_default();
        Err(EngineError::Unsupported(format!(
            "no free network is left in {range}: set `docker.network_pool` to a larger range"
        )))
    }

    async fn make_at(&self, subnet: Subnet, shape: &Shape) -> Result<PooledNetwork, EngineError> {
        let inner = &self.inner;
        let name = names::pool_network(&inner.agent, subnet.index);
        let body = request(&name, &inner.agent, subnet, shape);
        let made =
            inner.engine.call("making the job's network", CHANGE, inner.engine.api().create_network(body)).await?;
        Ok(PooledNetwork { id: made.id, name, subnet: subnet.index, shape: shape.clone(), owner: None })
    }

    /// Chooses the range when the first network is wanted, and learns which of its nets are in use.
    async fn choose_range(&self) -> Result<(), EngineError> {
        if self.lock().subnets.is_some() {
            return Ok(());
        }
        let networks = networks_of(&self.inner.engine).await?;
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
        let range = self.inner.settings.range.or_else(|| subnets::free_range(&others)).ok_or_else(|| {
            EngineError::Unsupported(
                "every range of 10.201.0.0/16 to 10.254.0.0/16 is in use on this machine: name a free one in \
                 `docker.network_pool`"
                    .into(),
            )
        })?;
        let mut subnets = Subnets::new(range, self.inner.settings.prefix);
        used.extend(networks.iter().map(|(net, _)| *net));
        // A route that holds the whole configured range is not about single nets of it.
        used.iter().filter(|net| net.prefix_len() > range.prefix_len()).for_each(|net| subnets.exclude(net));
        self.lock().subnets.get_or_insert(subnets);
        Ok(())
    }

    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // Never closed.
        self.inner.turns.acquire().await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another holder leaves lists of networks, at worst one too many.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a network. Who gives up in the very moment of the answer gives it back: nobody else knows of it.
struct Waiting<'a> {
    pool: &'a NetworkPool,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok(network)) = self.answer.try_recv() {
            self.pool.release(&network.id);
        }
    }
}

impl State {
    fn give_back(&mut self, subnet: u32) {
        if let Some(subnets) = &mut self.subnets {
            subnets.give_back(subnet);
        }
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

/// Removes a network; a container that is just being removed may hold it for a moment longer.
async fn remove(engine: &Engine, id: &str) -> Result<(), EngineError> {
    for attempt in 1.. {
        match engine.call("removing the job's network", CHANGE, engine.api().remove_network(id)).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(EngineError::Refused { .. } | EngineError::Conflict { .. }) if attempt < REMOVALS => {
                tokio::time::sleep(REMOVAL_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    let options = shape.mtu.map(|mtu| HashMap::from([("com.docker.network.driver.mtu".to_owned(), mtu.to_string())]));
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".into()),
        enable_ipv6: Some(shape.ipv6),
        ipam: Some(Ipam { driver: Some("default".into()), config: Some(config), options: None }),
        options,
        labels: Some(labels::of_agent(agent, "pool")),
        ..NetworkCreateRequest::default()
    }
}

/// A /64 of the unique local addresses (RFC 4193), its global id made from the agent's.
fn ipv6_of(agent: &str, index: u32) -> String {
    let digest = names::digest(agent);
    format!("fd{}:{}:{}:{:x}::/64", &digest[..2], &digest[2..6], &digest[6..10], index & 0xffff)
}
