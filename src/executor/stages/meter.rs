//! How far a transfer is, in the job's log: a line now and then while it lasts, so that a long one does not look stuck.

use std::path::Path;
use std::time::Duration;

use indicatif::BinaryBytes;

use crate::config::units::parse_duration;
use crate::executor::log::{StageLog, Tone};
use crate::executor::running::Running;
use crate::forge::Reporter;

/// Says how often, as for the official runner: a duration, `0` for never.
const VARIABLE: &str = "TRANSFER_METER_FREQUENCY";

/// How often where nobody says.
const USUAL: Duration = Duration::from_secs(30);

/// Lines that come faster nobody reads.
const FASTEST: Duration = Duration::from_millis(500);

/// How much of something has been sent or has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    /// Of how many, where that is known.
    pub(super) of: Option<u64>,
}

impl Moved {
    /// Of a download of `size` bytes to a file.
    pub(super) fn of_download(to: &Path, size: u64) -> Self {
        let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).ok();
        let bytes = length(&crate::outbound::Download::partial(to)).or_else(|| length(to)).unwrap_or(0);
        Self { bytes, of: Some(size).filter(|size| *size >= bytes) }
    }
}

/// Waits for a transfer, and says now and then how far it is.
pub(super) async fn told<R: Reporter, T>(
    running: &Running<R>,
    what: String,
    moved: impl Fn() -> Moved,
    transfer: impl Future<Output = T>,
) -> T {
    let Some(every) = frequency(running.environment.value(VARIABLE)) else { return transfer.await };
    let mut transfer = std::pin::pin!(transfer);
    loop {
        match tokio::time::timeout(every, &mut transfer).await {
            Ok(done) => return done,
            Err(_) => running.run.log.say(Tone::Plain, &line(&what, moved())),
        }
    }
}

fn line(what: &str, moved: Moved) -> String {
    let bytes = BinaryBytes(moved.bytes);
    match moved.of {
        Some(all) => format!("{what}: {bytes} of {}", BinaryBytes(all)),
        None => format!("{what}: {bytes}"),
    }
}

/// `None`: never.
fn frequency(text: Option<&str>) -> Option<Duration> {
    let wanted = match text.map(str::trim) {
        None | Some("") => USUAL,
        Some("0") => Duration::ZERO,
        // What is no duration is as good as nothing.
        Some(text) => parse_duration(text).unwrap_or(USUAL),
    };
    (!wanted.is_zero()).then(|| wanted.max(FASTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_the_jobs_to_say() {
        assert_eq!(frequency(None), Some(USUAL));
        assert_eq!(frequency(Some("")), Some(USUAL));
        assert_eq!(frequency(Some("often")), Some(USUAL));
        assert_eq!(frequency(Some("0")), None);
        assert_eq!(frequency(Some("0s")), None);
        assert_eq!(frequency(Some("2s")), Some(Duration::from_secs(2)));
        assert_eq!(frequency(Some("1ms")), Some(FASTEST), "nobody can read faster");
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let moved = |bytes, of| line("Uploading a.zip", Moved { bytes, of });
        assert_eq!(moved(3 << 20, Some(12 << 20)), "Uploading a.zip: 3.00 MiB of 12.00 MiB");
        assert_eq!(moved(3 << 20, None), "Uploading a.zip: 3.00 MiB");
    }
}
