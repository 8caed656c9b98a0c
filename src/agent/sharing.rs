//! Tells the shared store of what is kept here, while the agent runs. What is left when it ends is told by the next.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::storekeeper::interruptible;
use crate::artifact::in_full;
use crate::artifact::store::{Offering, Progress, Store};

/// Between two looks at what is to be told.
const PAUSE: Duration = Duration::from_secs(2);

/// After a failure, and twice as long after each further one ...
const AFTER_TROUBLE: Duration = Duration::from_secs(15);

/// ... up to this.
const AT_MOST: Duration = Duration::from_secs(10 * 60);

/// Tells the second level of a store what is kept.
pub struct Sharing {
    /// The store.
    pub store: Arc<Store>,
}

impl Sharing {
    /// Works until it is told to stop. Ends at once where there is no second level.
    pub async fn run(self, stop: CancellationToken) {
        let Some(level) = self.store.second_title().map(str::to_owned) else { return };
        let mut pause = PAUSE;
        let mut is_away = false;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let (records, trouble) = self.offer(&stop).await;
            if stop.is_cancelled() {
                return;
            }
            match trouble {
                // Something is wrong with some of it alone; the others do not wait for that.
                Some(error) if records > 0 => {
                    debug!(level, error, "the shared store does not take something that is kept");
                    pause = PAUSE;
                }
                None => {
                    if std::mem::take(&mut is_away) {
                        info!(level, "the shared store takes what is kept again");
                    }
                    pause = PAUSE;
                }
                Some(error) => {
                    pause = if is_away { (pause * 2).min(AT_MOST) } else { AFTER_TROUBLE };
                    is_away = true;
                    warn!(
                        level,
                        error,
                        again_in_seconds = pause.as_secs(),
                        "the shared store does not take what is kept; it waits here"
                    );
                }
            }
        }
    }

    /// How many records were told, and what kept it from telling everything.
    async fn offer(&self, stop: &CancellationToken) -> (u64, Option<String>) {
        let store = self.store.clone();
        let offered = interruptible(stop, move |interrupt| {
            store.offer(&Offering { until: None, interrupt }, &Progress::default())
        });
        match offered.await {
            Ok(Some(offered)) => {
                if offered.records > 0 {
                    debug!(records = offered.records, bytes = offered.bytes, "told the shared store");
                }
                (offered.records, offered.trouble.map(|error| in_full(&error)))
            }
            // Another process does it.
            Ok(None) => (0, None),
            Err(error) => (0, Some(error)),
        }
    }
}
