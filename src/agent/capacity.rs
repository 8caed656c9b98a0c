//! How many jobs run at once, who may ask for more, and who starts next.
//!
//! One lock over a small state; every change ends in [`State::settle`], the only place that decides. It may be called at
//! any time and looks only at the state, never at what happened.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// For how long at most a question reserves a slot: a forge that has a job answers within it.
const GRACE: Duration = Duration::from_millis(200);

/// Within this all registrations get to ask, however many there are and however many forges hold their questions.
const ALL_ASK_WITHIN: Duration = Duration::from_millis(500);

/// The agent's capacity. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Capacity {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    concurrent: u32,
    /// Whether anybody may ask: not while paused.
    is_open: bool,
    shares: BTreeMap<String, Share>,
    running: u32,
    /// Jobs that are ours and wait for a slot, first come first served.
    queue: VecDeque<Waiter<Slot>>,
    /// Poll loops that would like to ask.
    askers: Vec<Waiter<Question>>,
    /// Questions that are open at a forge.
    questions: Vec<OpenQuestion>,
    next_id: u64,
}

/// What one registration has of the capacity.
#[derive(Default)]
struct Share {
    /// 0: no limit of its own.
    limit: u32,
    running: u32,
    /// When it got its last job, in ids: the smaller, the longer ago.
    last_job: u64,
}

struct Waiter<T> {
    id: u64,
    registration: String,
    stop: CancellationToken,
    grant: oneshot::Sender<T>,
}

struct OpenQuestion {
    id: u64,
    registration: String,
    /// Whether it still reserves a slot.
    is_fresh: bool,
    stop: CancellationToken,
}

/// The right to ask a forge once. Given back when dropped.
pub struct Question {
    capacity: Capacity,
    id: u64,
    registration: String,
    stop: CancellationToken,
    is_armed: bool,
}

/// A place in the queue for a slot. Given up when dropped.
pub struct Ticket {
    capacity: Capacity,
    id: u64,
    slot: oneshot::Receiver<Slot>,
}

/// The right to run a job. Given back when dropped.
pub struct Slot {
    capacity: Capacity,
    registration: String,
    is_armed: bool,
}

/// How much is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// How many jobs may run at once.
    pub concurrent: u32,
    /// How many do.
    pub running: u32,
    /// How many are ours and wait for a slot.
    pub waiting: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { is_open: true, ..State::default() })) }
    }
}

// === impl Capacity ===

impl Capacity {
    /// Sets how many jobs may run at once, over all and by registration (0: no limit of its own). Running jobs go on
    /// where there is room for fewer now.
    pub fn set_limits<'a>(&self, concurrent: u32, limits: impl Iterator<Item = (&'a str, u32)>) {
        let mut state = self.lock();
        state.concurrent = concurrent;
        let mut before = std::mem::take(&mut state.shares);
        for (name, limit) in limits {
            let share = before.remove(name).unwrap_or_default();
            state.shares.insert(name.to_owned(), Share { limit, ..share });
        }
        // Registrations that are gone count as long as jobs of theirs run.
        let busy = before.into_iter().filter(|(_, share)| share.running > 0);
        state.shares.extend(busy.map(|(name, share)| (name, Share { limit: 0, ..share })));
        state.settle(self);
    }

    /// Whether anybody may ask for jobs. Questions that are open are withdrawn when it becomes false.
    pub fn set_open(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        state.settle(self);
    }

    /// How much is going on.
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        Figures { concurrent: state.concurrent, running: state.running, waiting: state.queue.len() as u32 }
    }

    /// For how long a new question reserves a slot.
    pub fn grace(&self) -> Duration {
        let registrations = self.lock().shares.len().max(1) as u32;
        GRACE.min(ALL_ASK_WITHIN / registrations)
    }

    /// Waits until `registration` may ask its forge; `None` when `stop` came first. Cancel-safe.
    pub async fn ask(&self, registration: &str, stop: &CancellationToken) -> Option<Question> {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.lock();
            let id = state.new_id();
            let waiter = Waiter { id, registration: registration.to_owned(), stop: stop.clone(), grant };
            state.askers.push(waiter);
            state.settle(self);
        }
        stop.run_until_cancelled(granted).await?.ok()
    }

    /// A slot for a job that runs already, after a restart: even where there is no room.
    pub fn occupy(&self, registration: &str) -> Slot {
        let mut state = self.lock();
        state.begin(registration);
        state.settle(self);
        Slot { capacity: self.clone(), registration: registration.to_owned(), is_armed: true }
    }

    /// A place in the queue for a job of `registration`.
    fn queue(&self, state: &mut State, registration: &str) -> Ticket {
        let (grant, slot) = oneshot::channel();
        let id = state.new_id();
        state.shares.entry(registration.to_owned()).or_default().last_job = id;
        let stop = CancellationToken::new(); // a job that is ours is not stopped by a drain
        state.queue.push_back(Waiter { id, registration: registration.to_owned(), stop, grant });
        Ticket { capacity: self.clone(), id, slot }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Brings everything that waits in line with what there is: jobs get slots, poll loops may ask, questions beyond
    /// the capacity are withdrawn.
    fn settle(&mut self, capacity: &Capacity) {
        self.seat_jobs(capacity);
        self.let_ask(capacity);
        for question in &self.questions {
            if !self.is_open || !self.has_room(&question.registration) {
                question.stop.cancel();
            }
        }
    }

    fn seat_jobs(&mut self, capacity: &Capacity) {
        self.queue.retain(|waiter| !waiter.grant.is_closed());
        while self.running < self.concurrent {
            let fits = |waiter: &Waiter<Slot>| self.below_limit(&waiter.registration, 0);
            let Some(at) = self.queue.iter().position(fits) else { return };
            let Some(waiter) = self.queue.remove(at) else { return };
            self.begin(&waiter.registration);
            let slot = Slot { capacity: capacity.clone(), registration: waiter.registration, is_armed: true };
            if let Err(mut slot) = waiter.grant.send(slot) {
                slot.is_armed = false; // its drop would wait for the lock that we hold
                self.end(&slot.registration);
            }
        }
    }

    fn let_ask(&mut self, capacity: &Capacity) {
        self.askers.retain(|asker| !asker.grant.is_closed() && !asker.stop.is_cancelled());
        while let Some(at) = self.next_asker() {
            let asker = self.askers.swap_remove(at);
            let (id, stop) = (asker.id, asker.stop.child_token());
            let registration = asker.registration;
            let question = Question {
                capacity: capacity.clone(),
                id,
                registration: registration.clone(),
                stop: stop.clone(),
                is_armed: true,
            };
            match asker.grant.send(question) {
                Ok(()) => self.questions.push(OpenQuestion { id, registration, is_fresh: true, stop }),
                Err(mut question) => question.is_armed = false,
            }
        }
    }

    /// Of those who may ask now: whose last job is longest ago, then who has waited longest.
    fn next_asker(&self) -> Option<usize> {
        let fresh = self.questions.iter().filter(|question| question.is_fresh);
        if !self.is_open || self.running + self.queue.len() as u32 + fresh.count() as u32 >= self.concurrent {
            return None;
        }
        let may_ask = |asker: &Waiter<Question>| {
            let fresh = self.questions.iter().filter(|q| q.is_fresh && q.registration == asker.registration);
            self.below_limit(&asker.registration, self.queued(&asker.registration) + fresh.count() as u32)
        };
        let candidates = self.askers.iter().enumerate().filter(|(_, asker)| may_ask(asker));
        let order = |asker: &Waiter<Question>| {
            (self.shares.get(&asker.registration).map_or(0, |share| share.last_job), asker.id)
        };
        candidates.min_by_key(|(_, asker)| order(asker)).map(|(at, _)| at)
    }

    /// Whether a job of `registration` could start at once.
    fn has_room(&self, registration: &str) -> bool {
        self.running + (self.queue.len() as u32) < self.concurrent
            && self.below_limit(registration, self.queued(registration))
    }

    fn queued(&self, registration: &str) -> u32 {
        self.queue.iter().filter(|waiter| waiter.registration == registration).count() as u32
    }

    fn below_limit(&self, registration: &str, besides: u32) -> bool {
        self.shares.get(registration).is_none_or(|share| share.limit == 0 || share.running + besides < share.limit)
    }

    fn begin(&mut self, registration: &str) {
        self.running += 1;
        self.shares.entry(registration.to_owned()).or_default().running += 1;
    }

    fn end(&mut self, registration: &str) {
        self.running = self.running.saturating_sub(1);
        if let Some(share) = self.shares.get_mut(registration) {
            share.running = share.running.saturating_sub(1);
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

// === impl Question, Ticket, Slot ===

impl Question {
    /// Cancelled when the answer is no longer wanted: the agent drains, pauses, or has no room any more.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The forge holds the question open: it does not reserve a slot any more, and others may ask.
    pub fn is_held(&self) {
        let mut state = self.capacity.lock();
        if let Some(question) = state.questions.iter_mut().find(|question| question.id == self.id) {
            question.is_fresh = false;
        }
        state.settle(&self.capacity);
    }

    /// The answer was a job: it gets a slot, or a place in the queue when there is none.
    pub fn brought_job(mut self) -> Ticket {
        let mut state = self.capacity.lock();
        self.is_armed = false;
        state.questions.retain(|question| question.id != self.id);
        let ticket = self.capacity.queue(&mut state, &self.registration);
        state.settle(&self.capacity);
        ticket
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if self.is_armed {
            let mut state = self.capacity.lock();
            state.questions.retain(|question| question.id != self.id);
            state.settle(&self.capacity);
        }
    }
}

impl Ticket {
    /// The slot, when it is this job's turn. Cancel-safe: the place in the queue is kept.
    pub async fn slot(&mut self) -> Slot {
        match (&mut self.slot).await {
            Ok(slot) => slot,
            // Not before the ticket is dropped, or when it was asked again after it gave its slot.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.slot.close();
        drop(self.slot.try_recv()); // a slot that came meanwhile goes back
        let mut state = self.capacity.lock();
        state.queue.retain(|waiter| waiter.id != self.id);
        state.settle(&self.capacity);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_armed {
            let mut state = self.capacity.lock();
            state.end(&self.registration);
            state.settle(&self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn capacity(concurrent: u32, limits: &[(&str, u32)]) -> Capacity {
        let capacity = Capacity::default();
        capacity.set_limits(concurrent, limits.iter().copied());
        capacity
    }

    fn ask(capacity: &Capacity, registration: &str) -> Option<Question> {
        capacity.ask(registration, &CancellationToken::new()).now_or_never().flatten()
    }

    fn seated(ticket: &mut Ticket) -> Option<Slot> {
        ticket.slot().now_or_never()
    }

    #[test]
    fn a_held_question_takes_no_slot_from_the_others() {
        let capacity = capacity(1, &[("a", 0), ("b", 0)]);
        let a = ask(&capacity, "a").unwrap();
        assert!(ask(&capacity, "b").is_none(), "at first it reserves the slot");
        a.is_held();
        let b = ask(&capacity, "b").unwrap();
        let mut ticket = b.brought_job();
        let _running = seated(&mut ticket).unwrap();
        assert!(a.stop().is_cancelled(), "no room any more: the open question is withdrawn");
        drop(a);
        assert!(ask(&capacity, "a").is_none());
    }

    #[test]
    fn an_answer_to_a_withdrawn_question_waits_for_its_turn() {
        let capacity = capacity(1, &[("a", 0), ("b", 0)]);
        let a = ask(&capacity, "a").unwrap();
        a.is_held();
        let mut first = ask(&capacity, "b").unwrap().brought_job();
        let running = seated(&mut first).unwrap();
        let mut second = a.brought_job();
        assert!(seated(&mut second).is_none());
        assert_eq!(capacity.figures(), Figures { concurrent: 1, running: 1, waiting: 1 });
        drop(running);
        assert!(ask(&capacity, "b").is_none(), "the waiting job comes before new questions");
        assert!(seated(&mut second).is_some());
    }

    #[test]
    fn the_registration_whose_last_job_is_longest_ago_asks_first() {
        let capacity = capacity(1, &[("a", 0), ("b", 0)]);
        let mut ticket = ask(&capacity, "a").unwrap().brought_job();
        let running = seated(&mut ticket).unwrap();
        let stop = CancellationToken::new();
        let (mut again, mut other) = (Box::pin(capacity.ask("a", &stop)), Box::pin(capacity.ask("b", &stop)));
        assert!(again.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(running);
        assert!(again.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().flatten().is_some());
    }

    #[test]
    fn a_registration_at_its_limit_leaves_the_rest_to_the_others() {
        let capacity = capacity(3, &[("a", 1), ("b", 0)]);
        let a = ask(&capacity, "a").unwrap();
        assert!(ask(&capacity, "a").is_none());
        let mut ticket = a.brought_job();
        let _running = seated(&mut ticket).unwrap();
        assert!(ask(&capacity, "a").is_none());
        let (one, two) = (ask(&capacity, "b").unwrap(), ask(&capacity, "b").unwrap());
        assert!(ask(&capacity, "b").is_none());
        drop((one, two));
    }

    #[test]
    fn jobs_that_run_already_count_even_beyond_the_limit() {
        let capacity = capacity(1, &[("a", 0)]);
        let (one, two) = (capacity.occupy("a"), capacity.occupy("gone"));
        assert!(ask(&capacity, "a").is_none());
        drop(one);
        assert!(ask(&capacity, "a").is_none());
        drop(two);
        assert!(ask(&capacity, "a").is_some());
    }

    #[test]
    fn a_pause_withdraws_questions_and_a_resume_lets_them_be_asked_again() {
        let capacity = capacity(1, &[("a", 0)]);
        let question = ask(&capacity, "a").unwrap();
        capacity.set_open(false);
        assert!(question.stop().is_cancelled());
        drop(question);
        assert!(ask(&capacity, "a").is_none());
        capacity.set_open(true);
        assert!(ask(&capacity, "a").is_some());
    }

    #[test]
    fn nothing_leaks_when_those_who_wait_go_away() {
        let capacity = capacity(1, &[("a", 0)]);
        let slot = capacity.occupy("a");
        let stop = CancellationToken::new();
        let mut waiting = Box::pin(capacity.ask("a", &stop));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(slot); // granted, but never fetched
        drop(waiting);
        let mut ticket = ask(&capacity, "a").unwrap().brought_job();
        let running = seated(&mut ticket).unwrap();
        let queued = {
            let mut state = capacity.lock();
            capacity.queue(&mut state, "a")
        };
        drop(running); // its slot is granted, and dropped with the ticket
        drop(queued);
        assert_eq!(capacity.figures(), Figures { concurrent: 1, running: 0, waiting: 0 });
        assert!(ask(&capacity, "a").is_some());
    }

    #[test]
    fn however_many_registrations_there_are_all_ask_within_half_a_second() {
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let capacity = Capacity::default();
        capacity.set_limits(1, names.iter().map(|name| (name.as_str(), 0)));
        assert!(capacity.grace() * 100 <= ALL_ASK_WITHIN);
    }
}
