//! Concurrency groups: one member of a group runs, one waits, and a newcomer takes the place of the one that waits.

use std::collections::HashMap;

/// The groups of a run, with members of any kind.
#[derive(Debug)]
pub struct Groups<M> {
    groups: HashMap<String, Group<M>>,
}

#[derive(Debug)]
struct Group<M> {
    running: M,
    waiting: Option<M>,
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
}

impl<M> Default for Groups<M> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

impl<M: Copy + PartialEq> Groups<M> {
    /// Asks for a member. Names of groups do not tell cases apart.
    pub fn ask(&mut self, group: &str, member: M, cancel_in_progress: bool) -> Admission<M> {
        match self.groups.get_mut(&group.to_lowercase()) {
            None => {
                self.groups.insert(group.to_lowercase(), Group { running: member, waiting: None });
                Admission::Go
            }
            Some(known) => Admission::Wait {
                cancel: cancel_in_progress.then_some(known.running),
                superseded: known.waiting.replace(member),
            },
        }
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
            known.waiting = known.waiting.filter(|waiting| *waiting != member);
            return None;
        }
        match known.waiting.take() {
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

    #[test]
    fn one_runs_one_waits_and_the_newest_waits_on() {
        let mut groups = Groups::default();
        assert_eq!(groups.ask("G", 1, false), Admission::Go);
        assert_eq!(groups.ask("g", 2, false), Admission::Wait { cancel: None, superseded: None });
        assert_eq!(groups.ask("g", 3, true), Admission::Wait { cancel: Some(1), superseded: Some(2) });
        assert_eq!(groups.ask("other", 4, true), Admission::Go);
        assert_eq!(groups.leave("g", 2), None);
        assert_eq!(groups.leave("g", 1), Some(3));
        assert_eq!(groups.leave("g", 3), None);
        assert_eq!(groups.ask("g", 5, false), Admission::Go);
    }
}
