//! What services print, in the log of a job that asks for it (`CI_DEBUG_SERVICES`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::log::{JobLog, ServiceVoice};
use super::sandbox::SandboxRecord;
use super::tools::Tools;

/// How long the last lines may take to get into the log.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Services that are listened to. Ends when it goes.
pub(super) struct Listening {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Listens from now on to the services of a sandbox: to all they said, or to what they say after `since`.
pub(super) fn listen(tools: Arc<Tools>, sandbox: SandboxRecord, log: JobLog, since: Option<SystemTime>) -> Listening {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut voices = BTreeMap::new();
        let said = tools.place.follow_services(&sandbox, since, |aliases, bytes| {
            let voice = voices.entry(aliases.to_vec()).or_insert_with(|| ServiceVoice::new(&log, aliases));
            voice.write(bytes);
        });
        tokio::select! {
            () = said => {}
            () = stopped.cancelled() => {}
        }
        voices.into_values().for_each(ServiceVoice::close);
    });
    Listening { task, stop }
}

impl Listening {
    /// Listens no more; what was heard is in the log.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        // A task that fails has said so itself; one that hangs is ended.
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
