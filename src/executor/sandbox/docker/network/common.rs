//! One network for all jobs of a local run that need no names on it: a network costs the engine as much as two containers. The jobs do
//! not reach each other there, the engine drops what goes from one to another. Where it cannot, there is none.

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
