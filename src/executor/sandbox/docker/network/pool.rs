//! Networks of jobs, made ahead of need.
//!
//! A network serves one Owner only: when its job has ended it waits for the same Owner's next job, or is removed. It
//! carries no job's label, since labels cannot be changed and networks are made before their job is known.
//!
//! Where all jobs are one Owner's (a local run), those that need no names on their network have places in a common one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::common::{self, Common};
use super::held::{Held, Holders};
use super::making::Maker;
use super::stock::{Answer, Released, Stock, Taken, Upkeep};
use super::subnets;
use crate::executor::sandbox::docker::engine::Engine;
use crate::executor::sandbox::docker::error::EngineError;
use crate::executor::sandbox::docker::names;
use crate::executor::sandbox::docker::utility::UtilityProgram;

/// Between a network's id and the number of a place in it.
const PLACE: char = '#';

/// Whether the pool means a place in a common network by `id`.
pub fn is_place(id: &str) -> bool {
    id.contains(PLACE)
}

/// What the operator decided about the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// The range of addresses; `None`: a free /16 is looked for.
    pub range: Option<Ipv4Net>,
    /// Prefix length of one job's network.
    pub prefix: u8,
    /// How many are kept.
    pub upkeep: Upkeep,
    /// Whether a container that does nothing keeps each network's namespace.
    pub are_held: bool,
    /// Whether jobs may have a place in a common network: all are one Owner's.
    pub has_common: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let upkeep = Upkeep { ready: 2, most: None };
        Self { range: None, prefix: subnets::DEFAULT_PREFIX, upkeep, are_held: false, has_common: false }
    }
}

/// What networks of a registration look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// MTU; `None`: the engine's.
    pub mtu: Option<u32>,
    /// Whether there is IPv6 too.
    pub ipv6: bool,
    /// Whose it is.
    pub(super) kind: Kind,
}

impl Shape {
    /// The shape of a job's own network.
    pub fn new(mtu: Option<u32>, ipv6: bool) -> Self {
        Self { mtu, ipv6, kind: Kind::Own }
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Self {
        Self { kind, ..self.clone() }
    }
}

/// Whose a network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// One job's at a time.
    #[default]
    Own,
    /// Of several jobs at a time, which do not reach each other.
    Common,
    /// One job's place in the common network at a time: a namespace that is held.
    Place,
}

/// One network of the pool, or a place in its common one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PooledNetwork {
    /// What the pool knows it by.
    pub id: String,
    /// Its name at the engine.
    pub name: String,
    /// The engine's id.
    pub(super) network: String,
    pub(super) subnet: u32,
    /// Which place it is.
    pub(super) place: Option<u32>,
    pub(super) shape: Shape,
    /// The Owner that has used it; `None`: nobody yet.
    pub(super) owner: Option<String>,
}

impl PooledNetwork {
    pub(super) fn new(network: String, name: String, subnet: u32, shape: Shape) -> Self {
        Self { id: network.clone(), name, network, subnet, place: None, shape, owner: None }
    }

    /// The so-manieth place in this network.
    pub(super) fn place(&self, number: u32) -> Self {
        let id = format!("{}{PLACE}{number}", self.network);
        Self { id, place: Some(number), shape: self.shape.of_kind(Kind::Place), ..self.clone() }
    }

    /// Name of the container that holds its namespace.
    pub(super) fn holder_name(&self) -> String {
        names::holder(&self.name, self.place)
    }

    /// Host name of the jobs in its namespace.
    pub(super) fn held_host_name(&self) -> String {
        names::held_host_name(self.place.unwrap_or(self.subnet))
    }
}

/// How a job that needs no names on its network joins the others in the common one.
pub(in crate::executor::sandbox::docker) enum Joined {
    /// By a place, which is to be given back: its namespace, where that is held, else a connection of its own to its network.
    Place(PooledNetwork),
    /// By a connection of its own to the network of this name.
    Connected(String),
    /// Not at all: there is none.
    No,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct NetworkPool {
    inner: Arc<Inner>,
}

struct Inner {
    settings: PoolSettings,
    maker: Maker,
    stock: Mutex<Stock>,
    common: Common,
    holders: Arc<Holders>,
    /// Networks that are made ahead or removed after a job.
    background: TaskTracker,
}

impl NetworkPool {
    /// A pool of `agent`'s networks. Nothing is made before the first job asks.
    pub fn new(
        engine: Engine,
        agent: String,
        process: Option<String>,
        program: UtilityProgram,
        settings: PoolSettings,
    ) -> Self {
        let inner = Inner {
            maker: Maker::new(engine.clone(), agent.clone(), settings.range, settings.prefix),
            stock: Mutex::new(Stock::new(settings.upkeep)),
            common: Common::new(),
            holders: Arc::new(Holders::new(engine, agent, process, program)),
            background: TaskTracker::new(),
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A network for a job of `owner` (its slug) that holds at least `containers` containers.
    pub async fn take(&self, owner: &str, shape: &Shape, containers: usize) -> Result<PooledNetwork, EngineError> {
        self.inner.maker.choose_range().await?;
        if !self.inner.maker.has_room(containers + usize::from(self.inner.settings.are_held)) {
            return Err(EngineError::Unsupported(format!(
                "{containers} containers do not fit into a network of /{}: set `docker.network_size` to a smaller number",
                self.inner.settings.prefix
            )));
        }
        let taken = self.lock().take(owner, shape);
        let network = match taken {
            Taken::Here(network) => {
                self.hold(&network);
                Ok(network)
            }
            Taken::Later { answer, is_missing } => {
                if is_missing {
                    self.make_in_background(shape);
                }
                self.refill_after(shape);
                let stopped = || EngineError::Unsupported("the pool of networks is closed: the agent ends".into());
                let mut waiting = Waiting { pool: self, answer };
                return (&mut waiting.answer).await.map_err(|_| stopped())?;
            }
        };
        self.refill_after(shape);
        network
    }

    /// The common network for a job of `owner` that needs no names on it.
    pub(in crate::executor::sandbox::docker) async fn join(&self, owner: &str, shape: &Shape) -> Joined {
        if self.inner.maker.choose_range().await.is_err() || !self.has_common() {
            return Joined::No;
        }
        self.begin_common(shape);
        let Some(common) = self.inner.common.network().await else { return Joined::No };
        if self.inner.common.has_places() {
            return match self.take(owner, &shape.of_kind(Kind::Place), 1).await {
                Ok(place) => Joined::Place(place),
                Err(_) => Joined::Connected(common.name.clone()),
            };
        }
        self.lock().pass();
        Joined::Connected(common.name.clone())
    }

    /// So many jobs are still to ask for a network: no more are made ahead or kept than these can use, and those are made.
    /// `may_join`: nothing that the operator says keeps them out of a common network.
    pub async fn expect(&self, jobs: usize, shape: &Shape, may_join: bool) {
        let are_many = {
            let mut stock = self.lock();
            stock.expect(jobs);
            stock.expects_many()
        };
        if let Err(error) = self.inner.maker.choose_range().await {
            tracing::warn!(%error, "no network could be made ahead of need");
            return;
        }
        if are_many {
            self.inner.common.make_places();
        }
        if may_join && self.has_common() {
            self.begin_common(shape);
        }
        match may_join && self.has_common() {
            true if are_many => self.refill(&shape.of_kind(Kind::Place)),
            true => {}
            false => self.refill(shape),
        }
    }

    /// The namespace of the network `id`, where it is held.
    pub(in crate::executor::sandbox::docker) async fn held(&self, id: &str) -> Option<Arc<Held>> {
        self.inner.holders.of(id).await
    }

    /// Holds the namespace of the network `id` no more: a job could not join it.
    pub(in crate::executor::sandbox::docker) async fn refuse_held(&self, id: &str) {
        if let Err(error) = self.inner.holders.refuse(id).await {
            tracing::warn!(%error, "the container that held a network's namespace stays for the sweeper");
        }
    }

    /// Names of the containers that this process has to hold namespaces.
    pub(in crate::executor::sandbox::docker) fn known_holders(&self) -> BTreeSet<String> {
        self.inner.holders.known()
    }

    /// Takes back the network `id` after its job. It waits for its Owner's next job where there is room, else it is removed,
    /// both without the caller waiting. `false`: the pool does not know it (an earlier agent made it).
    pub fn release(&self, id: &str) -> bool {
        let released = self.lock().release(id);
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
        match self.inner.maker.choose_range().await {
            Ok(()) => self.refill(shape),
            Err(error) => tracing::warn!(%error, "no network could be made ahead of need"),
        }
    }

    /// Leaves a network whose job could not be removed to the sweeper.
    pub fn forget(&self, id: &str) {
        self.lock().forget(id);
        self.inner.holders.forget(id);
    }

    /// The engine's ids of all networks that this process knows.
    pub fn known(&self) -> BTreeSet<String> {
        let common = self.inner.common.known().map(|network| network.network.clone());
        self.lock().known().into_iter().chain(common).collect()
    }

    /// Removes what no job uses and waits for what is under way. Networks in use stay for the next agent.
    pub async fn close(&self) {
        let idle = self.lock().close();
        self.inner.background.close();
        self.inner.background.wait().await;
        // What was under way when the pool closed has removed itself (see `Stock::arrived`).
        futures_util::future::join_all(idle.into_iter().map(|network| self.discard(network))).await;
        if let Some(common) = self.inner.common.known() {
            self.discard(common.as_ref().clone()).await;
        }
        self.inner.holders.close().await;
    }

    /// The networks that the engine has of this agent and nobody here knows: an earlier agent's.
    pub async fn strangers(&self) -> Result<Vec<(String, String)>, EngineError> {
        self.inner.maker.strangers(|| self.known()).await
    }

    /// Removes the network `id`, whoever made it. One that is gone already is no error.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.inner.holders.let_go(id).await?;
        if is_place(id) {
            return Ok(());
        }
        // Held by a container of an earlier process.
        self.inner.maker.remove(id, self.inner.holders.let_go_of_others(id)).await
    }

    async fn discard(&self, network: PooledNetwork) {
        let removed = match network.shape.kind {
            Kind::Place => self.inner.holders.let_go(&network.id).await,
            Kind::Own | Kind::Common => self.remove(&network.id).await,
        };
        match removed {
            Ok(()) if network.place.is_some() => {}
            Ok(()) => self.inner.maker.give_back(network.subnet),
            // The sweeper tries again; until then its addresses stay taken.
            Err(error) => tracing::warn!(network = %network.name, %error, "a network could not be removed"),
        }
    }

    /// Makes networks of this shape ahead of those that follow. Beside a common network a job's own is an exception.
    fn refill_after(&self, shape: &Shape) {
        if shape.kind == Kind::Place || !self.has_common() {
            self.refill(shape);
        }
    }

    /// Makes networks ahead of need, in the background.
    fn refill(&self, shape: &Shape) {
        let missing = self.lock().missing(shape);
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
                    let unheard = pool.lock().failed(&shape, error);
                    if let Some(error) = unheard {
                        tracing::warn!(%error, "no network could be made ahead of need");
                    }
                }
            }
        });
    }

    /// Makes one and puts it into the stock, which returns it where nobody needs it any more.
    async fn make(&self, shape: &Shape) -> Result<Option<PooledNetwork>, EngineError> {
        if shape.kind == Kind::Place {
            return self.make_place().await;
        }
        let arrived = |network: PooledNetwork| {
            self.hold(&network);
            self.lock().arrived(network)
        };
        self.inner.maker.make(shape, arrived).await
    }

    async fn make_place(&self) -> Result<Option<PooledNetwork>, EngineError> {
        let none = || EngineError::Unsupported("there is no common network".into());
        let place = self.inner.common.next_place().await.ok_or_else(none)?;
        self.inner.holders.begin(&place);
        // Whoever has it finds out whether it is held.
        Ok(self.lock().arrived(place))
    }

    /// Whether there is a common network, or may be.
    fn has_common(&self) -> bool {
        // Room for those that go and those that come.
        let most = 2 * self.inner.settings.upkeep.most.unwrap_or_default();
        self.inner.settings.has_common && self.inner.maker.has_room(most) && !self.inner.common.is_refused()
    }

    /// Makes the common network, once.
    fn begin_common(&self, shape: &Shape) {
        let Some(begun) = self.inner.common.begin() else { return };
        if !common::are_bridges_filtered(shape.ipv6) {
            tracing::info!("bridges are not filtered on this machine: each job has a network of its own");
            return;
        }
        let (pool, shape) = (self.clone(), shape.of_kind(Kind::Common));
        self.inner.background.spawn(async move {
            let made = pool.inner.maker.make(&shape, |network| begun.made(network)).await;
            if let Err(error) = made {
                tracing::info!(%error, "there is no common network for jobs; each has one of its own");
            }
        });
    }

    /// Has the network's namespace held where that is wanted. One that ended with the engine is made anew.
    fn hold(&self, network: &PooledNetwork) {
        // Many jobs of one run that have no network in common.
        let are_many =
            || self.inner.settings.has_common && self.inner.common.is_refused() && self.inner.common.has_places();
        let is_wanted = match network.shape.kind {
            Kind::Place => true,
            Kind::Own => self.inner.settings.are_held || are_many(),
            Kind::Common => false,
        };
        if is_wanted {
            self.inner.holders.begin(network);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        // A panic in another holder leaves lists of networks, at worst one too many.
        self.inner.stock.lock().unwrap_or_else(PoisonError::into_inner)
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
