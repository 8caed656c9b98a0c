//! Looks after the store while the agent runs: removes what need not be kept, looks for damage, gives back what jobs that are over
//! held.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::storage;
use crate::artifact::retention::ReferenceCause;
use crate::artifact::store::{Collected, Collection, Progress, Store, StoreError, Verifying};
use crate::artifact::{Interrupt, Moment, in_full};
use crate::config::StoreConfig;
use crate::state::Journal;

/// After a collection that failed.
const AFTER_TROUBLE: Duration = Duration::from_secs(15 * 60);

/// Before the first, and before the first look at whether it is time to read everything, so that an agent that starts is not busy with it.
const AT_FIRST: Duration = Duration::from_secs(60);

/// Between two such looks.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Between two looks at everything.
const SCRUB_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Looks after a store.
pub struct Storekeeper {
    /// The store.
    pub store: Arc<Store>,
    /// How the operator wants things to go.
    pub config: StoreConfig,
    /// Which jobs are not over.
    pub journal: Journal,
}

impl Storekeeper {
    /// Works until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        // Reading everything takes hours, and nothing waits for it.
        tokio::join!(self.clean_up(&stop), self.look_through(&stop));
    }

    async fn look_through(&self, stop: &CancellationToken) {
        let mut pause = AT_FIRST;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = LOOK_EVERY;
            if let Err(error) = self.scrub_if_due(stop).await
                && !stop.is_cancelled()
            {
                warn!(error, "the store cannot be looked through now");
            }
        }
    }

    async fn clean_up(&self, stop: &CancellationToken) {
        let mut last: Option<Moment> = None;
        let mut pause = AT_FIRST;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            if let Err(error) = self.release_the_dead().await {
                warn!(error, "references of jobs that are over stay for now");
            }
            let elapsed = last.map(Moment::elapsed);
            pause = match self.collect(elapsed, stop).await {
                Ok(Some(collected)) => {
                    last = Some(Moment::now());
                    tell(&collected);
                    if let Err(error) = self.tidy_shared(stop).await
                        && !stop.is_cancelled()
                    {
                        warn!(error, "the shared store cannot be tidied up now");
                    }
                    collected.plan.next_cycle()
                }
                // Another process did it.
                Ok(None) => AFTER_TROUBLE,
                Err(_) if stop.is_cancelled() => return,
                Err(error) => {
                    warn!(error, "the store cannot be cleaned up now");
                    AFTER_TROUBLE
                }
            };
        }
    }

    async fn collect(&self, elapsed: Option<Duration>, stop: &CancellationToken) -> Result<Option<Collected>, String> {
        let (policies, cycle) = storage::retention(&self.config).map_err(|error| error.to_string())?;
        let store = self.store.clone();
        interruptible(stop, move |interrupt| {
            store.collect(&Collection { policies: &policies, cycle, is_dry_run: false, elapsed, interrupt })
        })
        .await
    }

    /// Removes what nobody needs any more from the store that machines share.
    async fn tidy_shared(&self, stop: &CancellationToken) -> Result<(), String> {
        let store = self.store.clone();
        let tidied = interruptible(stop, move |interrupt| store.tidy_second(&interrupt)).await?;
        if let Some(tidied) = tidied.filter(|tidied| tidied.records + tidied.packs > 0) {
            info!(records = tidied.records, packs = tidied.packs, bytes = tidied.bytes, "tidied up the shared store");
        }
        Ok(())
    }

    /// Reads everything, where that was last done long ago: by this agent, one before it, or `forgehand store verify`.
    async fn scrub_if_due(&self, stop: &CancellationToken) -> Result<(), String> {
        let rate = self.config.scrub_rate.as_u64();
        if rate == 0 {
            return Ok(());
        }
        let store = self.store.clone();
        let verified = interruptible(stop, move |interrupt| {
            if !store.is_scrub_due(SCRUB_EVERY)? {
                return Ok(None);
            }
            store.verify(&Verifying { only: None, rate: Some(rate), interrupt }, &Progress::default()).map(Some)
        })
        .await?;
        match verified {
            Some(verified) if verified.is_sound() => {
                info!(objects = verified.objects, "the store was read through: all sound");
            }
            Some(verified) => warn!(
                damaged_packs = verified.damaged_packs.len(),
                lost_records = verified.lost_records.len(),
                "something in the store is damaged; `forgehand store verify` says what"
            ),
            None => {}
        }
        Ok(())
    }

    /// Jobs that an agent before this one could not bring to their end hold nothing any more.
    async fn release_the_dead(&self) -> Result<(), String> {
        // First who holds something: a job is in the journal before it does.
        let store = self.store.clone();
        let holders = blocking(move || store.holders()).await?;
        let open = self.journal.open_jobs().await.map_err(|error| error.to_string())?;
        let store = self.store.clone();
        blocking(move || {
            for holder in holders {
                if !open.iter().any(|job| job.assignment.key == holder.job) && store.answers_for(&holder)? {
                    store.release(&holder.owner, &holder.job, ReferenceCause::JobCancelled)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn tell(collected: &Collected) {
    if collected.lost_records > 0 {
        warn!(lost_records = collected.lost_records, "records of the store are damaged: nothing is removed");
    }
    if collected.deleted > 0 || collected.freed > 0 {
        info!(deleted = collected.deleted, freed_bytes = collected.freed, "cleaned up the store");
    }
}

/// Runs work that blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))
}

/// Runs work that blocks and ends early when it is told to stop.
pub(super) async fn interruptible<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce(Interrupt) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let mut work = tokio::task::spawn_blocking(move || work(interrupt));
    let done = tokio::select! {
        done = &mut work => done,
        () = stop.cancelled() => {
            raised.raise();
            work.await
        }
    };
    done.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))
}
