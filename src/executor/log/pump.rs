//! Brings the job's log to its forge, and brings back whether the job is still wanted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::job_log::JobLog;
use crate::forge::{Demand, FinishAck, ReportError, Reporter};
use crate::pipeline::JobOutcome;

/// The most that goes into one piece (protocols: GitLab 4.3).
const LARGEST_PIECE: usize = 1 << 20;
/// The pause after a piece that did not get through, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// For how long the end of a job is told again and again to a forge that does not answer.
const LAST_WORD_FOR: Duration = Duration::from_secs(3 * 3600);

/// How the pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpEnd {
    /// The forge has the whole log and the last word.
    Acknowledged,
    /// The forge does not want to hear of the job any more.
    Refused,
    /// The forge could not be reached for so long that it has given the job up. Log and outcome stay on this machine.
    GaveUp,
}

/// Carries one job's log to its forge. Back-pressure on the step: none; the log file is the queue, and at most one piece
/// is held in memory.
pub struct LogPump<R> {
    reporter: Arc<R>,
    log: JobLog,
    sent: u64,
    heard: Instant,
    demand: watch::Sender<Demand>,
    on_sent: Box<dyn Fn(u64) + Send + Sync>,
}

impl<R: Reporter> LogPump<R> {
    /// A pump that goes on at offset `sent`. `demand` learns what the forge wants; `on_sent` hears how far the forge has
    /// the log, so that it can be journalled.
    pub fn new(
        reporter: Arc<R>,
        log: JobLog,
        sent: u64,
        demand: watch::Sender<Demand>,
        on_sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self { reporter, log, sent, heard: Instant::now(), demand, on_sent: Box::new(on_sent) }
    }

    /// Runs beside the job until `outcome` says how it ended, sends the rest, and says the last word.
    pub async fn run(mut self, mut outcome: watch::Receiver<Option<JobOutcome>>) -> PumpEnd {
        let mut growth = self.log.growth();
        let mut retry = FIRST_RETRY;
        loop {
            if *self.demand.borrow() == Demand::Abort {
                return self.after_abort(&mut outcome).await;
            }
            let ended = outcome.borrow_and_update().clone();
            if let Some(ended) = ended {
                return self.finish(&ended).await;
            }
            let began = Instant::now();
            let result =
                if growth.borrow_and_update().size > self.sent { self.send_piece().await } else { self.alive().await };
            let next_piece = match result {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    // From the beginning of one piece to the beginning of the next: a slow answer does not add to it,
                    // but a forge that is slower than its own interval gets some rest.
                    let interval = self.reporter.update_interval();
                    (began + interval).max(Instant::now() + interval / 4)
                }
                Err(ReportError::Final(message)) => {
                    warn!(%message, "the forge does not take the log");
                    self.demand.send_replace(Demand::Abort);
                    continue;
                }
                Err(ReportError::Transient(message) | ReportError::NotFound(message)) => {
                    debug!(%message, ?retry, "the log did not get through");
                    retry = (retry * 2).min(LONGEST_RETRY);
                    Instant::now() + retry / 2
                }
            };
            self.wait(next_piece, &mut growth, &mut outcome).await;
        }
    }

    /// Waits until there is something to do: the pause between pieces is over and there is a piece, a sign of life is
    /// due, or the job has ended.
    async fn wait(
        &self,
        next_piece: Instant,
        growth: &mut watch::Receiver<super::Growth>,
        outcome: &mut watch::Receiver<Option<JobOutcome>>,
    ) {
        let sign_of_life = self.heard + self.reporter.keep_alive_interval();
        let sent = self.sent;
        let piece = async {
            sleep_until(next_piece).await;
            // Cancel-safe; an error means that the log is gone, and with it the job: `outcome` tells.
            if growth.wait_for(|growth| growth.size > sent).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ended = async { outcome.wait_for(Option::is_some).await.is_err() };
        tokio::select! {
            () = piece => {}
            () = sleep_until(sign_of_life.max(next_piece)) => {}
            is_orphan = ended => if is_orphan { sleep_until(next_piece).await },
        }
    }

    async fn send_piece(&mut self) -> Result<(), ReportError> {
        let bytes = self
            .log
            .read_at(self.sent, LARGEST_PIECE)
            .map_err(|error| ReportError::Transient(format!("the job's log cannot be read: {error}")))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let ack = self.reporter.append_log(self.sent, Bytes::from(bytes)).await?;
        self.sent = ack.next;
        self.heard = Instant::now();
        (self.on_sent)(self.sent);
        self.take(ack.demand);
        Ok(())
    }

    async fn alive(&mut self) -> Result<(), ReportError> {
        if self.heard.elapsed() < self.reporter.keep_alive_interval() {
            return Ok(());
        }
        let demand = self.reporter.keep_alive(self.log.digest()).await?;
        self.heard = Instant::now();
        self.take(demand);
        Ok(())
    }

    /// A demand only ever becomes more urgent.
    fn take(&self, demand: Demand) {
        self.demand.send_if_modified(|known| {
            let is_news = demand > *known;
            if is_news {
                *known = demand;
            }
            is_news
        });
    }

    /// The forge has given the job up: wait for its end here, and say the last word once, in case it still listens.
    async fn after_abort(&self, outcome: &mut watch::Receiver<Option<JobOutcome>>) -> PumpEnd {
        if let Ok(ended) = outcome.wait_for(Option::is_some).await.map(|ended| ended.clone())
            && let Some(ended) = ended
            && let Err(error) = self.reporter.finish(&ended, self.log.digest()).await
        {
            debug!(%error, "the forge did not hear the end of a job it had given up");
        }
        PumpEnd::Refused
    }

    /// Sends what is left, then the last word, until the forge has both or does not want them.
    async fn finish(&mut self, outcome: &JobOutcome) -> PumpEnd {
        let began = Instant::now();
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.finish_once(outcome).await {
                Ok(FinishAck::Done) => return PumpEnd::Acknowledged,
                Ok(FinishAck::Again { pause }) => pause,
                Ok(FinishAck::ResendLog) => {
                    self.sent = 0;
                    retry
                }
                Err(ReportError::Final(message) | ReportError::NotFound(message)) => {
                    debug!(%message, "the forge does not want the end of the job");
                    return PumpEnd::Refused;
                }
                Err(ReportError::Transient(message)) => {
                    warn!(%message, pause = ?retry, "the end of the job did not get through; trying again");
                    retry
                }
            };
            if began.elapsed() > LAST_WORD_FOR {
                return PumpEnd::GaveUp;
            }
            tokio::time::sleep(pause).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    async fn finish_once(&mut self, outcome: &JobOutcome) -> Result<FinishAck, ReportError> {
        let digest = self.log.digest();
        while self.sent < digest.size {
            let before = self.sent;
            self.send_piece().await?;
            if *self.demand.borrow() == Demand::Abort {
                return Err(ReportError::Final("the forge gave the job up before it had all of its log".to_owned()));
            }
            if self.sent <= before {
                let message = format!("the forge asked for the log from byte {} again", self.sent);
                return Err(ReportError::Transient(message));
            }
        }
        self.reporter.finish(outcome, digest).await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::executor::log::LogStream;
    use crate::forge::{ArchiveFile, LogAck, LogDigest, TransferError};
    use crate::pipeline::definition::{ArtifactSpec, DependencySpec, LogSpec};

    /// What a forge does with pieces of a log, and what it was sent.
    struct ScriptedForge {
        takes: fn(u64, usize) -> Result<LogAck, ReportError>,
        ends: fn(usize) -> FinishAck,
        said: Mutex<Vec<&'static str>>,
    }

    impl ScriptedForge {
        fn note(&self, what: &'static str) -> usize {
            let mut said = self.said.lock().unwrap();
            said.push(what);
            said.iter().filter(|before| **before == what).count()
        }
    }

    impl Reporter for ScriptedForge {
        async fn accept(&self) -> Result<Demand, ReportError> {
            Ok(Demand::Wanted)
        }

        async fn append_log(&self, at: u64, bytes: Bytes) -> Result<LogAck, ReportError> {
            self.note("piece");
            (self.takes)(at, bytes.len())
        }

        async fn keep_alive(&self, _: LogDigest) -> Result<Demand, ReportError> {
            Ok(Demand::Wanted)
        }

        async fn finish(&self, _: &JobOutcome, _: LogDigest) -> Result<FinishAck, ReportError> {
            Ok((self.ends)(self.note("end")))
        }

        fn update_interval(&self) -> Duration {
            Duration::from_secs(1)
        }

        fn keep_alive_interval(&self) -> Duration {
            Duration::from_secs(30)
        }

        async fn upload_artifact(&self, _: &ArtifactSpec, _: &str, _: &ArchiveFile) -> Result<(), TransferError> {
            unreachable!("a pump carries no artifacts")
        }

        async fn download_artifact(&self, _: &DependencySpec, _: &Path) -> Result<(), TransferError> {
            unreachable!("a pump carries no artifacts")
        }
    }

    /// A job that has printed a line and ended; how its pump ended, and what the forge was sent.
    async fn end_of(
        takes: fn(u64, usize) -> Result<LogAck, ReportError>,
        ends: fn(usize) -> FinishAck,
    ) -> (PumpEnd, Vec<&'static str>) {
        let dir = tempfile::tempdir().unwrap();
        let spec = LogSpec::plain(1000);
        let log = JobLog::open(&dir.path().join("log"), &spec, 0).unwrap();
        log.write(LogStream::Stdout, 0, b"a line\n");
        log.close();
        let forge = Arc::new(ScriptedForge { takes, ends, said: Mutex::default() });
        let pump = LogPump::new(forge.clone(), log, 0, watch::Sender::new(Demand::Wanted), |_| {});
        let (_sender, outcome) = watch::channel(Some(JobOutcome::Success));
        let end = tokio::time::timeout(2 * LAST_WORD_FOR, pump.run(outcome)).await.expect("it ends");
        let said = forge.said.lock().unwrap().clone();
        (end, said)
    }

    fn takes_all(at: u64, length: usize) -> Result<LogAck, ReportError> {
        Ok(LogAck { next: at + length as u64, demand: Demand::Wanted })
    }

    /// A server's own time limit, a cancel, an erased job: any of them may meet the last piece.
    #[tokio::test(start_paused = true)]
    async fn a_forge_that_gives_the_job_up_at_the_last_piece_is_not_asked_again() {
        let refuses = |at, _| Ok(LogAck { next: at, demand: Demand::Abort });
        assert_eq!(end_of(refuses, |_| FinishAck::Done).await, (PumpEnd::Refused, vec!["piece"]));
        let lost = |_, _| Err(ReportError::NotFound("404".to_owned()));
        assert_eq!(end_of(lost, |_| FinishAck::Done).await, (PumpEnd::Refused, vec!["piece"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forge_that_never_has_enough_is_left_alone_in_the_end() {
        let (end, said) = end_of(|_, _| Ok(LogAck { next: 0, demand: Demand::Wanted }), |_| FinishAck::Done).await;
        assert_eq!(end, PumpEnd::GaveUp);
        assert!(said.len() < 300, "about one a minute: {}", said.len());
        let (end, said) = end_of(takes_all, |_| FinishAck::ResendLog).await;
        assert_eq!(end, PumpEnd::GaveUp);
        assert!(said.len() < 600, "{}", said.len());
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_log_is_sent_again_where_the_forge_asks_for_it() {
        let ends = |time| if time == 1 { FinishAck::ResendLog } else { FinishAck::Done };
        assert_eq!(end_of(takes_all, ends).await, (PumpEnd::Acknowledged, vec!["piece", "end", "piece", "end"]));
    }
}
