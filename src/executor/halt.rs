//! Why a job that could go on must not: its time is up, its forge does not want it, the agent is told to end it.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::forge::Demand;
use crate::pipeline::duration::in_words;
use crate::pipeline::{FailureReason, JobFailure};

/// How long a part of a job that was told to stop may take to do so.
const STOPPING: Duration = Duration::from_secs(60);

/// Why a job must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltCause {
    /// The job's own time limit.
    JobTimeout,
    /// A limit of one part of the job.
    PartTimeout,
    /// The forge wants it to end tidily.
    CancelledGracefully,
    /// The forge has given it up.
    Aborted,
    /// The agent was told to end its jobs.
    Interrupted,
}

impl HaltCause {
    /// The failure that a job has which ended for this cause. `limit` is the time limit that passed.
    pub fn failure(self, limit: Duration) -> JobFailure {
        let limit = in_words(limit);
        match self {
            HaltCause::JobTimeout => JobFailure::new(
                FailureReason::JobExecutionTimeout,
                format!("execution took longer than {limit}: the job's time limit"),
            ),
            HaltCause::PartTimeout => {
                JobFailure::new(FailureReason::JobExecutionTimeout, format!("execution took longer than {limit}"))
            }
            HaltCause::CancelledGracefully | HaltCause::Aborted => {
                JobFailure::new(FailureReason::JobCanceled, "canceled")
            }
            HaltCause::Interrupted => JobFailure::new(
                FailureReason::RunnerInterrupted,
                "the runner was told to stop while the job ran; run the job again",
            ),
        }
    }
}

/// What can halt one job.
#[derive(Clone)]
pub struct Halt {
    /// When the job's time is up.
    pub deadline: Instant,
    /// What the forge wants.
    pub demand: watch::Receiver<Demand>,
    /// The agent ends its jobs.
    pub interrupt: CancellationToken,
    /// When the clock stands still.
    pub pauses: Pauses,
}

/// A clock that somebody may stop: no limit passes while a person looks at a job. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pauses {
    state: watch::Sender<Paused>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Paused {
    holders: u32,
    since: Option<Instant>,
    /// How long it stood still in all before.
    total: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { state: watch::Sender::new(Paused::default()) }
    }
}

impl Pauses {
    /// Stops the clock until what comes back is dropped.
    pub fn hold(&self) -> Hold {
        self.state.send_modify(|paused| {
            paused.holders += 1;
            paused.since.get_or_insert_with(Instant::now);
        });
        Hold { pauses: self.clone() }
    }

    /// How long the clock has stood still.
    pub fn total(&self) -> Duration {
        let paused = *self.state.borrow();
        paused.total + paused.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Waits until a clock that stood still meanwhile shows `at`.
    pub async fn until(&self, at: Instant) {
        let mut state = self.state.subscribe();
        loop {
            let paused = *state.borrow_and_update();
            // The sender lives as long as this does.
            if paused.since.is_some() {
                let _ = state.changed().await;
                continue;
            }
            tokio::select! {
                () = sleep_until(at + paused.total) => return,
                _ = state.changed() => {}
            }
        }
    }
}

/// The clock stands still.
pub struct Hold {
    pauses: Pauses,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pauses.state.send_modify(|paused| {
            paused.holders = paused.holders.saturating_sub(1);
            if paused.holders == 0
                && let Some(since) = paused.since.take()
            {
                paused.total += since.elapsed();
            }
        });
    }
}

impl Halt {
    /// Waits until the job must not go on. With `limit`, also for that limit of the part at hand.
    /// `ignores_graceful`: a tidy end has begun already, only an abort counts.
    pub async fn wait(&self, limit: Option<Instant>, ignores_graceful: bool) -> HaltCause {
        let mut demand = self.demand.clone();
        let threshold = if ignores_graceful { Demand::Abort } else { Demand::CancelGracefully };
        let demanded = async {
            match demand.wait_for(|demand| *demand >= threshold).await.map(|demand| *demand) {
                Ok(Demand::Abort) => HaltCause::Aborted,
                Ok(Demand::CancelGracefully | Demand::Wanted) => HaltCause::CancelledGracefully,
                // Nobody listens to the forge any more; the deadline is left.
                Err(_) => std::future::pending().await,
            }
        };
        let part = async {
            match limit {
                Some(limit) => self.pauses.until(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            cause = demanded => cause,
            () = self.interrupt.cancelled() => HaltCause::Interrupted,
            () = self.pauses.until(self.deadline) => HaltCause::JobTimeout,
            () = part => HaltCause::PartTimeout,
        }
    }

    /// Runs a part of the agent's own work, unless the job must not go on as it is. When that is so later, the part is told
    /// through its token and given a minute to put its things away: it must not go on either, only come to an end.
    /// `ignores_graceful`: the part belongs to a tidy end, or comes after what a tidy cancel ends.
    pub async fn guard<T, F: Future<Output = T>>(
        &self,
        limit: Option<Duration>,
        ignores_graceful: bool,
        part: impl FnOnce(CancellationToken) -> F,
    ) -> Result<T, HaltCause> {
        let limit = limit.map(|limit| Instant::now() + limit);
        if let Some(cause) = self.wait(limit, ignores_graceful).now_or_never() {
            return Err(cause);
        }
        let stop = CancellationToken::new();
        let work = part(stop.clone());
        tokio::pin!(work);
        let cause = tokio::select! {
            done = &mut work => return Ok(done),
            cause = self.wait(limit, ignores_graceful) => cause,
        };
        stop.cancel();
        // What it was about to say does not count any more.
        let _ = timeout(STOPPING, work).await;
        Err(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(deadline: Duration) -> (Halt, watch::Sender<Demand>) {
        let (sender, demand) = watch::channel(Demand::Wanted);
        let (deadline, interrupt) = (Instant::now() + deadline, CancellationToken::new());
        (Halt { deadline, demand, interrupt, pauses: Pauses::default() }, sender)
    }

    #[tokio::test(start_paused = true)]
    async fn the_forge_comes_before_the_clock() {
        let (halt, forge) = halt(Duration::ZERO);
        forge.send_replace(Demand::Abort);
        assert_eq!(halt.wait(None, false).await, HaltCause::Aborted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tidy_end_that_has_begun_is_not_begun_again() {
        let (halt, forge) = halt(Duration::from_secs(10));
        forge.send_replace(Demand::CancelGracefully);
        assert_eq!(halt.wait(None, false).await, HaltCause::CancelledGracefully);
        assert_eq!(halt.wait(None, true).await, HaltCause::JobTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_passes_while_somebody_holds_the_clock() {
        let (halt, _forge) = halt(Duration::from_secs(10));
        let began = Instant::now();
        let (first, second) = (halt.pauses.hold(), halt.pauses.hold());
        drop(first);
        tokio::select! {
            cause = halt.wait(None, false) => panic!("{cause:?}"),
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
        drop(second);
        assert_eq!(halt.wait(None, false).await, HaltCause::JobTimeout);
        assert_eq!(began.elapsed().as_secs(), 3610);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guarded_part_is_told_and_waited_for() {
        let (halt, _forge) = halt(Duration::from_secs(5));
        let put_away = std::cell::Cell::new(false);
        let result = halt
            .guard(None, false, |stop| async {
                stop.cancelled_owned().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                put_away.set(true);
            })
            .await;
        assert_eq!(result, Err(HaltCause::JobTimeout));
        assert!(put_away.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_job_that_is_over_does_not_begin() {
        let (halt, forge) = halt(Duration::from_secs(5));
        forge.send_replace(Demand::Abort);
        let result = halt.guard(None, false, |_stop| async { panic!("it begins") }).await;
        assert_eq!(result, Err::<(), _>(HaltCause::Aborted));
    }
}
