//! Progress bars, for people who wait.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::House;
use crate::artifact::store::Progress;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// Whether somebody watches.
pub(super) fn is_wanted() -> bool {
    std::io::stderr().is_terminal()
}

/// How much work there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// So many bytes of content.
    Bytes(u64),
    /// Bytes of content, nobody knows how many.
    Unknown,
    /// What is done is not counted: only the time that it takes is shown.
    Uncounted,
}

/// Does the work, and shows how far it is.
pub(super) fn shown<T>(house: &House, doing: &str, extent: Extent, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    if !house.shows_progress {
        return work(&progress);
    }
    let (bar, template) = match extent {
        Extent::Bytes(total) => (ProgressBar::new(total), "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        Extent::Unknown => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes} {bytes_per_sec}"),
        Extent::Uncounted => (ProgressBar::new_spinner(), "{msg} {spinner} {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(doing.to_owned());
    let is_over = Arc::new(AtomicBool::new(false));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                bar.set_position(progress.bytes());
                thread::park_timeout(EVERY);
            }
        });
        let result = work(&progress);
        is_over.store(true, Ordering::Relaxed);
        result
    });
    bar.finish_and_clear();
    result
}
