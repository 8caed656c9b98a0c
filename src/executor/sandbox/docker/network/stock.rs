//! Which networks there are, who uses them and who waits for one. Decides, and calls nobody.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::sync::oneshot;

use super::pool::{PooledNetwork, Shape};
use crate::executor::sandbox::docker::error::EngineError;

/// How many networks are made before somebody asks, and how many wait for the next job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How many clean ones are made ahead, and how many used ones wait for their Owner's next job.
    pub ready: usize,
    /// How many there are at a time, in use and not, while no job has to wait; `None`: no limit. Known where only so many
    /// jobs run at a time.
    pub most: Option<usize>,
}

/// What becomes of one who waits for a network.
pub(super) type Answer = Result<PooledNetwork, EngineError>;

/// What [`Stock::take`] found.
pub(super) enum Taken {
    /// One that was idle.
    Here(PooledNetwork),
    /// None. The answer comes once one was made or another job gave one back. `is_missing`: the caller has one made.
    Later { answer: oneshot::Receiver<Answer>, is_missing: bool },
}

/// What becomes of a network that a job gave back.
pub(super) enum Released {
    /// It was not from here.
    Unknown,
    /// It waits for its Owner's next job, or has it.
    Kept,
    /// It is to be removed.
    Surplus(PooledNetwork),
}

struct Waiter {
    owner: String,
    shape: Shape,
    answer: oneshot::Sender<Answer>,
}

impl Waiter {
    fn suits(&self, network: &PooledNetwork) -> bool {
        self.shape == network.shape && network.owner.as_ref().is_none_or(|owner| *owner == self.owner)
    }
}

/// The networks of one pool.
pub(super) struct Stock {
    upkeep: Upkeep,
    idle: Vec<PooledNetwork>,
    /// In use by a job of this process, by id.
    used: HashMap<String, PooledNetwork>,
    /// Under way.
    coming: HashMap<Shape, usize>,
    waiting: VecDeque<Waiter>,
    /// How many jobs are still to ask, where that is known.
    expected: Option<usize>,
    is_closed: bool,
}

impl Stock {
    pub(super) fn new(upkeep: Upkeep) -> Self {
        Self {
            upkeep,
            idle: Vec::new(),
            used: HashMap::new(),
            coming: HashMap::new(),
            waiting: VecDeque::new(),
            expected: None,
            is_closed: false,
        }
    }

    /// So many jobs are still to ask: no more are made ahead or kept than these can use.
    pub(super) fn expect(&mut self, jobs: usize) {
        self.expected = Some(jobs);
    }

    /// Whether more jobs are to ask than there can be networks twice over.
    pub(super) fn expects_many(&self) -> bool {
        let networks = self.upkeep.most.unwrap_or(self.upkeep.ready);
        self.expected.is_some_and(|jobs| jobs > 2 * networks)
    }

    /// A job has come that takes none.
    pub(super) fn pass(&mut self) {
        self.expected = self.expected.map(|jobs| jobs.saturating_sub(1));
    }

    /// One that the same Owner has used, else a clean one.
    pub(super) fn take(&mut self, owner: &str, shape: &Shape) -> Taken {
        self.pass();
        let fits = |wanted: Option<&str>| {
            self.idle.iter().position(|idle| idle.shape == *shape && idle.owner.as_deref() == wanted)
        };
        if let Some(at) = fits(Some(owner)).or_else(|| fits(None)) {
            let network = self.idle.swap_remove(at);
            return Taken::Here(self.give(network, owner));
        }
        let (sender, answer) = oneshot::channel();
        self.waiting.push_back(Waiter { owner: owner.to_owned(), shape: shape.clone(), answer: sender });
        let is_missing = self.waiting_for(shape) > self.coming(shape);
        if is_missing {
            self.begin(shape, 1);
        }
        Taken::Later { answer, is_missing }
    }

    /// How many clean ones are to be made now, ahead of need. They count as under way.
    pub(super) fn missing(&mut self, shape: &Shape) -> usize {
        if self.is_closed {
            return 0;
        }
        // Places in a common network and networks are not in each other's way.
        let is_like = |other: &Shape| other.kind == shape.kind;
        let coming: usize = self.coming.iter().filter(|(other, _)| is_like(other)).map(|(_, networks)| networks).sum();
        let waiting = self.waiting.iter().filter(|waiter| is_like(&waiter.shape)).count();
        let there = self.idle.iter().filter(|idle| is_like(&idle.shape)).count();
        let used = self.used.values().filter(|used| is_like(&used.shape)).count();
        let idle = there + coming.saturating_sub(waiting);
        let clean = self.idle.iter().filter(|idle| idle.owner.is_none() && idle.shape == *shape).count();
        let spare = clean + self.coming(shape).saturating_sub(self.waiting_for(shape));
        let missing = self
            .upkeep
            .ready
            .saturating_sub(spare)
            .min(self.expected.map_or(usize::MAX, |jobs| jobs.saturating_sub(idle)))
            .min(self.upkeep.most.map_or(usize::MAX, |most| most.saturating_sub(there + coming + used)));
        self.begin(shape, missing);
        missing
    }

    /// One that was under way is there. Returned where nobody needs it.
    pub(super) fn arrived(&mut self, network: PooledNetwork) -> Option<PooledNetwork> {
        self.end(&network.shape);
        let network = self.hand_over(network)?;
        let clean = self.idle.iter().filter(|idle| idle.owner.is_none() && idle.shape == network.shape).count();
        self.keep(network, clean)
    }

    /// One that was under way could not be made. The error is returned where nobody waits for it.
    pub(super) fn failed(&mut self, shape: &Shape, error: EngineError) -> Option<EngineError> {
        self.end(shape);
        if self.waiting_for(shape) <= self.coming(shape) {
            return Some(error);
        }
        let at = self.waiting.iter().position(|waiter| waiter.shape == *shape);
        match at.and_then(|at| self.waiting.remove(at)) {
            Some(waiter) => waiter.answer.send(Err(error)).err().and_then(Result::err),
            None => Some(error),
        }
    }

    /// A job's end.
    pub(super) fn release(&mut self, id: &str) -> Released {
        let Some(network) = self.used.remove(id) else { return Released::Unknown };
        let Some(network) = self.hand_over(network) else { return Released::Kept };
        let kind = network.shape.kind;
        let used = self.idle.iter().filter(|idle| idle.owner.is_some() && idle.shape.kind == kind).count();
        match self.keep(network, used) {
            Some(surplus) => Released::Surplus(surplus),
            None => Released::Kept,
        }
    }

    /// A job's network that is somebody else's from now on.
    pub(super) fn forget(&mut self, id: &str) {
        self.used.remove(id);
    }

    /// The engine's ids of all that are there.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.idle.iter().chain(self.used.values()).map(|network| network.network.clone()).collect()
    }

    /// From now on none is kept. Those are returned that nobody uses.
    pub(super) fn close(&mut self) -> Vec<PooledNetwork> {
        self.is_closed = true;
        std::mem::take(&mut self.idle)
    }

    /// Gives a network to the first that waits for one like it.
    fn hand_over(&mut self, network: PooledNetwork) -> Option<PooledNetwork> {
        while let Some(at) = self.waiting.iter().position(|waiter| waiter.suits(&network)) {
            let Some(waiter) = self.waiting.remove(at) else { break };
            // Under the same lock: a network that is in neither list is the sweeper's.
            let given = self.give(network.clone(), &waiter.owner);
            if waiter.answer.send(Ok(given)).is_ok() {
                return None;
            }
            // Who asked has given up.
            self.used.remove(&network.id);
        }
        Some(network)
    }

    /// Keeps a network beside the `like` it that wait, or returns it.
    fn keep(&mut self, network: PooledNetwork, like: usize) -> Option<PooledNetwork> {
        let most = self.upkeep.most.unwrap_or(self.upkeep.ready);
        let there = self.idle.iter().filter(|idle| idle.shape.kind == network.shape.kind).count();
        let is_wanted = self.expected.is_none_or(|jobs| there < jobs);
        if self.is_closed || like >= most || !is_wanted {
            return Some(network);
        }
        self.idle.push(network);
        None
    }

    fn give(&mut self, network: PooledNetwork, owner: &str) -> PooledNetwork {
        let network = PooledNetwork { owner: Some(owner.to_owned()), ..network };
        self.used.insert(network.id.clone(), network.clone());
        network
    }

    fn waiting_for(&mut self, shape: &Shape) -> usize {
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
        self.waiting.iter().filter(|waiter| waiter.shape == *shape).count()
    }

    fn coming(&self, shape: &Shape) -> usize {
        self.coming.get(shape).copied().unwrap_or(0)
    }

    fn begin(&mut self, shape: &Shape, networks: usize) {
        *self.coming.entry(shape.clone()).or_default() += networks;
    }

    fn end(&mut self, shape: &Shape) {
        if let Some(coming) = self.coming.get_mut(shape) {
            *coming = coming.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str) -> PooledNetwork {
        let (id, shape) = (id.to_owned(), Shape::default());
        PooledNetwork { network: id.clone(), name: id.clone(), id, subnet: 0, place: None, shape, owner: None }
    }

    fn error() -> EngineError {
        EngineError::Unsupported("no".to_owned())
    }

    fn stock(ready: usize, most: Option<usize>) -> Stock {
        Stock::new(Upkeep { ready, most })
    }

    /// Takes one that is not there.
    fn wait(stock: &mut Stock, owner: &str) -> (oneshot::Receiver<Answer>, bool) {
        match stock.take(owner, &Shape::default()) {
            Taken::Later { answer, is_missing } => (answer, is_missing),
            Taken::Here(network) => panic!("{network:?} was idle"),
        }
    }

    #[test]
    fn a_job_that_waits_has_the_network_of_one_that_ends() {
        let mut stock = stock(0, None);
        let (mut first, is_missing) = wait(&mut stock, "me");
        assert!(is_missing);
        assert!(stock.arrived(network("a")).is_none());
        assert_eq!(first.try_recv().unwrap().unwrap().id, "a");
        let (mut second, is_missing) = wait(&mut stock, "me");
        assert!(is_missing);
        assert!(matches!(stock.release("a"), Released::Kept));
        assert_eq!(second.try_recv().unwrap().unwrap().id, "a");
        // The one that was made for it is not needed any more.
        assert_eq!(stock.arrived(network("b")).unwrap().id, "b");
        assert!(matches!(stock.release("b"), Released::Unknown));
        assert!(matches!(stock.release("a"), Released::Surplus(_)));
    }

    #[test]
    fn a_used_network_is_never_another_owner_s() {
        let mut stock = stock(1, None);
        let (_first, _) = wait(&mut stock, "me");
        stock.arrived(network("a"));
        let (mut other, _) = wait(&mut stock, "somebody");
        assert!(matches!(stock.release("a"), Released::Kept));
        assert!(other.try_recv().is_err());
        assert!(stock.arrived(network("b")).is_none());
        assert_eq!(other.try_recv().unwrap().unwrap().owner.as_deref(), Some("somebody"));
        assert!(matches!(stock.take("me", &Shape::default()), Taken::Here(network) if network.id == "a"));
    }

    #[test]
    fn who_asks_while_one_is_coming_has_it() {
        let mut stock = stock(2, Some(2));
        assert_eq!(stock.missing(&Shape::default()), 2);
        assert_eq!(stock.missing(&Shape::default()), 0);
        let (_first, is_missing) = wait(&mut stock, "me");
        assert!(!is_missing);
        let (_second, is_missing) = wait(&mut stock, "me");
        assert!(!is_missing);
        let (_third, is_missing) = wait(&mut stock, "me");
        assert!(is_missing, "a job does not wait for the limit");
    }

    #[test]
    fn no_more_are_made_or_kept_than_jobs_are_to_come() {
        let mut stock = stock(4, Some(4));
        stock.expect(1);
        assert_eq!(stock.missing(&Shape::default()), 1);
        stock.expect(3);
        assert_eq!(stock.missing(&Shape::default()), 2);
        for id in ["a", "b", "c"] {
            assert!(stock.arrived(network(id)).is_none());
        }
        assert!(matches!(stock.take("me", &Shape::default()), Taken::Here(_)));
        assert!(matches!(stock.take("me", &Shape::default()), Taken::Here(_)));
        assert_eq!(stock.missing(&Shape::default()), 0);
        let used: Vec<String> = stock.used.keys().cloned().collect();
        assert!(matches!(stock.release(&used[0]), Released::Surplus(_)), "the last job has one that waits for it");
        assert!(matches!(stock.take("me", &Shape::default()), Taken::Here(_)));
        assert!(matches!(stock.release(&used[1]), Released::Surplus(_)));
    }

    #[test]
    fn many_jobs_are_more_than_twice_the_networks() {
        let mut two = stock(2, Some(2));
        assert!(!two.expects_many(), "nobody knows");
        two.expect(4);
        assert!(!two.expects_many());
        two.expect(6);
        two.pass();
        assert!(two.expects_many());
        two.pass();
        assert!(!two.expects_many());
    }

    #[test]
    fn a_failure_reaches_one_that_waits_for_it() {
        let mut stock = stock(1, None);
        assert_eq!(stock.missing(&Shape::default()), 1);
        let (mut first, _) = wait(&mut stock, "me");
        let (gone, _) = wait(&mut stock, "me");
        drop(gone);
        assert!(stock.failed(&Shape::default(), error()).is_some(), "another one is still coming");
        assert!(first.try_recv().is_err());
        assert!(stock.failed(&Shape::default(), error()).is_none());
        assert!(first.try_recv().unwrap().is_err());
    }

    #[test]
    fn nothing_is_kept_after_the_end() {
        let mut stock = stock(2, None);
        assert_eq!(stock.missing(&Shape::default()), 2);
        assert!(stock.arrived(network("a")).is_none());
        assert_eq!(stock.close().len(), 1);
        assert_eq!(stock.arrived(network("b")).unwrap().id, "b");
        assert_eq!(stock.missing(&Shape::default()), 0);
        assert!(stock.known().is_empty());
    }
}
