//! Concurrency groups: one member of a group runs; one waits, and a newcomer takes the place of the one that waits, or as many as
//! the group's `queue` allows wait in their order.

use std::collections::{HashMap, VecDeque};

use super::{Concurrency, Queue};

/// So many wait with `queue: max`.
const MOST_WAITING: usize = 100;

/// The groups of a run, with members of any kind.
#[derive(Debug)]
pub struct Groups<M> {
    groups: HashMap<String, Group<M>>,
}

#[derive(Debug)]
struct Group<M> {
    running: M,
    waiting: VecDeque<M>,
}

/// What a newcomer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission<M> {
    /// It may go.
    Go,
    /// It waits for the one that runs.
    Wait {
        /// The one that runs is to be cancelled.
        cancel: Option<M>,
        /// The one that waited until now, which never runs.
        superseded: Option<M>,
    },
    /// It never runs: as many wait as may.
    Full,
}

impl<M> Default for Groups<M> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

impl<M: Copy + PartialEq> Groups<M> {
    /// Asks for a member. Names of groups do not tell cases apart.
    pub fn ask(&mut self, concurrency: &Concurrency, member: M) -> Admission<M> {
        let name = concurrency.group.to_lowercase();
        let Some(known) = self.groups.get_mut(&name) else {
            self.groups.insert(name, Group { running: member, waiting: VecDeque::new() });
            return Admission::Go;
        };
        let superseded = match concurrency.queue {
            Queue::Max if known.waiting.len() >= MOST_WAITING => return Admission::Full,
            Queue::Max => None,
            Queue::Single => known.waiting.pop_back(),
        };
        known.waiting.push_back(member);
        Admission::Wait { cancel: concurrency.cancel_in_progress.then_some(known.running), superseded }
    }

    /// Who runs in a group.
    pub fn running(&self, group: &str) -> Option<M> {
        self.groups.get(&group.to_lowercase()).map(|group| group.running)
    }

    /// A member is over, or does not wait any more; the one that may go now.
    pub fn leave(&mut self, group: &str, member: M) -> Option<M> {
        let name = group.to_lowercase();
        let known = self.groups.get_mut(&name)?;
        if known.running != member {
            known.waiting.retain(|waiting| *waiting != member);
            return None;
        }
        match known.waiting.pop_front() {
            Some(next) => {
                known.running = next;
                Some(next)
            }
            None => {
                self.groups.remove(&name);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, cancel_in_progress: bool, queue: Queue) -> Concurrency {
        Concurrency { group: name.to_owned(), cancel_in_progress, queue }
    }

    #[test]
    fn one_runs_one_waits_and_the_newest_waits_on() {
        let mut groups = Groups::default();
        let one = |name: &str, cancels: bool| group(name, cancels, Queue::Single);
        assert_eq!(groups.ask(&one("G", false), 1), Admission::Go);
        assert_eq!(groups.ask(&one("g", false), 2), Admission::Wait { cancel: None, superseded: None });
        assert_eq!(groups.ask(&one("g", true), 3), Admission::Wait { cancel: Some(1), superseded: Some(2) });
        assert_eq!(groups.ask(&one("other", true), 4), Admission::Go);
        assert_eq!(groups.leave("g", 2), None);
        assert_eq!(groups.leave("g", 1), Some(3));
        assert_eq!(groups.leave("g", 3), None);
        assert_eq!(groups.ask(&one("g", false), 5), Admission::Go);
    }

    #[test]
    fn a_long_queue_keeps_its_order_and_is_full_at_a_hundred() {
        let mut groups = Groups::default();
        let long = group("g", false, Queue::Max);
        assert_eq!(groups.ask(&long, 0), Admission::Go);
        for member in 1..=100 {
            assert_eq!(groups.ask(&long, member), Admission::Wait { cancel: None, superseded: None });
        }
        assert_eq!(groups.ask(&long, 101), Admission::Full);
        assert_eq!(groups.leave("g", 2), None, "it does not wait any more");
        assert_eq!(groups.leave("g", 0), Some(1));
        assert_eq!(groups.leave("g", 1), Some(3));
        assert_eq!(
            groups.ask(&group("g", false, Queue::Single), 102),
            Admission::Wait { cancel: None, superseded: Some(100) }
        );
    }
}
