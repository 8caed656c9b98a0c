//! One network for all jobs of a local run that need no names on it: a network costs the engine as much as two containers. The jobs do
//! not reach each other there, the engine drops what goes from one to another. For that the machine's bridges must be filtered; an engine
//! would have all of them filtered from then on, so where they are not, there is no common network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::watch;

use super::pool::PooledNetwork;

/// How it stands.
#[derive(Clone)]
enum State {
    Coming,
    There(Arc<PooledNetwork>),
    /// It could not be made.
    Refused,
}

/// The common network of a pool.
pub(super) struct Common {
    is_begun: AtomicBool,
    sender: Arc<watch::Sender<State>>,
    has_places: AtomicBool,
    next_place: AtomicU32,
}

/// Whoever makes it. Dropped without having made it: it could not be made.
pub(super) struct Begun(Arc<watch::Sender<State>>);

impl Begun {
    pub(super) fn made(&self, network: PooledNetwork) {
        self.0.send_replace(State::There(Arc::new(network)));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            let is_missing = matches!(state, State::Coming);
            if is_missing {
                *state = State::Refused;
            }
            is_missing
        });
    }
}

/// Whether the machine hands what goes over bridges to its packet filter. Blocking, but only memory.
pub(super) fn are_bridges_filtered(ipv6: bool) -> bool {
    let is_on = |name: &str| {
        let value = std::fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{name}"));
        value.is_ok_and(|value| value.trim() == "1")
    };
    is_on("iptables") && (!ipv6 || is_on("ip6tables"))
}

impl Common {
    pub(super) fn new() -> Self {
        let sender = Arc::new(watch::channel(State::Coming).0);
        Self {
            is_begun: AtomicBool::new(false),
            sender,
            has_places: AtomicBool::new(false),
            next_place: AtomicU32::new(0),
        }
    }

    /// For the first who asks: it makes it.
    pub(super) fn begin(&self) -> Option<Begun> {
        let is_first = !self.is_begun.swap(true, Ordering::Relaxed);
        is_first.then(|| Begun(Arc::clone(&self.sender)))
    }

    /// The network, once it is there. Not to be asked before somebody has begun.
    pub(super) async fn network(&self) -> Option<Arc<PooledNetwork>> {
        let mut receiver = self.sender.subscribe();
        let state = receiver.wait_for(|state| !matches!(state, State::Coming)).await.ok()?.clone();
        match state {
            State::There(network) => Some(network),
            State::Coming | State::Refused => None,
        }
    }

    /// The network, if it is there now.
    pub(super) fn known(&self) -> Option<Arc<PooledNetwork>> {
        match &*self.sender.borrow() {
            State::There(network) => Some(Arc::clone(network)),
            State::Coming | State::Refused => None,
        }
    }

    /// Whether it could not be made.
    pub(super) fn is_refused(&self) -> bool {
        matches!(&*self.sender.borrow(), State::Refused)
    }

    /// From now on jobs have places: so many are to come that it pays.
    pub(super) fn make_places(&self) {
        self.has_places.store(true, Ordering::Relaxed);
    }

    /// Whether jobs have places in it, or connect their containers themselves.
    pub(super) fn has_places(&self) -> bool {
        self.has_places.load(Ordering::Relaxed)
    }

    /// A place that nobody has had.
    pub(super) async fn next_place(&self) -> Option<PooledNetwork> {
        let network = self.network().await?;
        Some(network.place(self.next_place.fetch_add(1, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::Shape;
    use super::*;

    #[tokio::test]
    async fn who_waits_for_it_hears_that_it_could_not_be_made() {
        let common = Common::new();
        let begun = common.begin().unwrap();
        assert!(common.begin().is_none(), "once");
        let (network, ()) = tokio::join!(common.network(), async { drop(begun) });
        assert!(network.is_none() && common.known().is_none() && common.next_place().await.is_none());
    }

    #[tokio::test]
    async fn its_places_differ_in_all_that_tells_them_apart() {
        let common = Common::new();
        let begun = common.begin().unwrap();
        begun.made(PooledNetwork::new("id".into(), "net".into(), 7, Shape::default()));
        drop(begun);
        let (first, second) = (common.next_place().await.unwrap(), common.next_place().await.unwrap());
        assert_eq!(common.network().await.unwrap().id, "id");
        assert!(first.id != second.id && first.holder_name() != second.holder_name());
        assert_ne!(first.held_host_name(), second.held_host_name());
    }
}
