//! Two pieces of work at once.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// From so many jobs on, two threads are sooner done with them than one.
pub const JOBS_FOR_TWO: usize = 200;

/// Does both, the second in a thread of its own, and gives what both gave. Where the machine has no thread to give, one after the
/// other. Starting the thread takes some 50 µs: both have to be worth that.
pub fn join<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    let second = Mutex::new(Some(second));
    let take = || second.lock().unwrap_or_else(PoisonError::into_inner).take();
    thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, || take().map(|second| second()));
        let first = first();
        let second = match other.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(second)) => second,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => take().map(|second| second()),
        };
        match second {
            Some(second) => (first, second),
            // The work is there until one of the two takes it, and only one of them tries.
            None => unreachable!("the second piece of work was taken by nobody"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn both_are_done_and_each_gives_its_own() {
        let (mut left, mut right) = (vec![1], vec![2]);
        let given = join(|| left.push(3), || right.drain(..).sum::<i32>());
        assert_eq!((given, left, right), (((), 2), vec![1, 3], vec![]));
    }

    #[test]
    #[should_panic(expected = "in the other thread")]
    fn a_panic_of_the_second_is_one_of_the_caller() {
        join(|| (), || panic!("in the other thread"));
    }
}
