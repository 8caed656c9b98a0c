//! Which number a job has among those that run beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pipeline::ProjectId;

/// Numbers of running jobs: among those of their registration, and among those of their registration and project
/// (protocols: GitLab 2.6). The smallest free one each time, so that folders named after them are used again. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct Numbers {
    used: Arc<Mutex<BTreeMap<Scope, BTreeSet<u32>>>>,
}

type Scope = (String, Option<ProjectId>);

/// The numbers of one job, free again when this is dropped.
pub struct JobNumbers {
    numbers: Numbers,
    /// In the order of [`scopes`].
    taken: [(Scope, u32); 2],
}

impl Numbers {
    /// Numbers for a job that begins.
    pub fn take(&self, registration: &str, project: &ProjectId) -> JobNumbers {
        let mut used = self.lock();
        let taken = scopes(registration, project).map(|scope| {
            let set = used.entry(scope.clone()).or_default();
            let number = (0..).find(|number| !set.contains(number)).unwrap_or(u32::MAX);
            set.insert(number);
            (scope, number)
        });
        drop(used);
        JobNumbers { numbers: self.clone(), taken }
    }

    /// The numbers that a job had before the agent was started again. It keeps them even where the journal gives them
    /// to two jobs: folders carry them by now.
    pub fn restore(&self, registration: &str, project: &ProjectId, numbers: [u32; 2]) -> JobNumbers {
        let mut used = self.lock();
        let mut number = numbers.into_iter();
        let taken = scopes(registration, project).map(|scope| {
            let number = number.next().unwrap_or_default();
            used.entry(scope.clone()).or_default().insert(number);
            (scope, number)
        });
        drop(used);
        JobNumbers { numbers: self.clone(), taken }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Scope, BTreeSet<u32>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobNumbers {
    /// `CI_CONCURRENT_ID`.
    pub fn concurrent_id(&self) -> u32 {
        self.taken[0].1
    }

    /// `CI_CONCURRENT_PROJECT_ID`.
    pub fn concurrent_project_id(&self) -> u32 {
        self.taken[1].1
    }
}

impl Drop for JobNumbers {
    fn drop(&mut self) {
        let mut used = self.numbers.lock();
        for (scope, number) in &self.taken {
            if let Some(set) = used.get_mut(scope) {
                set.remove(number);
                if set.is_empty() {
                    used.remove(scope);
                }
            }
        }
    }
}

fn scopes(registration: &str, project: &ProjectId) -> [Scope; 2] {
    [(registration.to_owned(), None), (registration.to_owned(), Some(project.clone()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(numbers: &JobNumbers) -> (u32, u32) {
        (numbers.concurrent_id(), numbers.concurrent_project_id())
    }

    #[test]
    fn the_smallest_free_number_is_taken_and_given_back() {
        let numbers = Numbers::default();
        let (one, two) = (ProjectId::new("1"), ProjectId::new("2"));
        let a = numbers.take("r", &one);
        let b = numbers.take("r", &two);
        let c = numbers.take("r", &one);
        assert_eq!((both(&a), both(&b), both(&c)), ((0, 0), (1, 0), (2, 1)));
        assert_eq!(both(&numbers.take("other", &one)), (0, 0), "registrations do not know each other");
        drop(a);
        assert_eq!(both(&numbers.take("r", &two)), (0, 1));
        drop((b, c));
        assert!(numbers.lock().is_empty());
    }

    #[test]
    fn a_job_that_goes_on_after_a_restart_keeps_its_numbers() {
        let numbers = Numbers::default();
        let project = ProjectId::new("1");
        let old = numbers.restore("r", &project, [0, 1]);
        assert_eq!(both(&old), (0, 1));
        assert_eq!(both(&numbers.take("r", &project)), (1, 0));
    }
}
