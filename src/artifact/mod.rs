//! What jobs leave for others: archives, caches.
//!
//! - [`select`]: which files of a work tree a list of globs means.
//! - [`archive`]: packing and unpacking, in the forges' formats, within limits.
//! - [`cache`]: folders kept from job to job; the trait every store implements, and the one on the local disk.
//! - [`remote`]: a store in a bucket or a folder that several machines share.
//! - [`retention`]: what stays, what goes, and when.
//! - [`server`]: caches that tools in a job ask for themselves, over HTTP.
//! - [`tools`]: what one job installs and later ones find.
//!
//! Every access to a work tree goes through a directory handle: nothing a job names leads out of it. Everything here
//! blocks on the disk: call it from `spawn_blocking`, and hand in an [`Interrupt`] to end it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub mod archive;
pub(crate) mod beneath;
pub mod cache;
mod fingerprint;
#[cfg(test)]
mod measure;
pub(crate) mod merge;
mod moment;
pub mod remote;
pub mod retention;
pub mod select;
pub mod server;
pub mod store;
pub mod tools;
mod unnamed;

pub use fingerprint::fingerprint;
pub use moment::Moment;
pub use unnamed::Unnamed;

/// How much a [`Remark`] should be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Progress: what was found, what was left out on request.
    Note,
    /// Something the user asked for did not happen, or not as written.
    Warning,
}

/// One line for the job's log about something that did not stop the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How much it should be noticed.
    pub severity: Severity,
    /// The line, without a `WARNING: ` head and without a newline.
    pub text: String,
}

impl Remark {
    /// A line of progress.
    pub fn note(text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, text: text.into() }
    }

    /// A line about something that went otherwise than asked.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into() }
    }
}

/// Remarks about single files. There can be as many as there are files, and a log is no place for millions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    list: Vec<Remark>,
    more: u64,
}

impl Remarks {
    /// How many are kept; of the rest only the number.
    const KEPT: usize = 100;

    pub(crate) fn push(&mut self, remark: Remark) {
        if self.list.len() < Self::KEPT { self.list.push(remark) } else { self.more += 1 }
    }

    pub(crate) fn into_list(mut self) -> Vec<Remark> {
        if self.more > 0 {
            self.list.push(Remark::warning(format!("and {} more of this kind", self.more)));
        }
        self.list
    }
}

/// Ends long work on files from another thread: packing and unpacking look at it between pieces of at most 4 MiB.
/// Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the work to end. It does so with an error, having removed what it had half written.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work was asked to end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An error with all its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A file name for people: bytes that are not UTF-8 and control characters are written as escapes, so that a name cannot
/// write its own lines into a log.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_do_not_flood_the_log() {
        let mut remarks = Remarks::default();
        (0..250).for_each(|n| remarks.push(Remark::warning(n.to_string())));
        let list = remarks.into_list();
        assert_eq!(list.len(), 101);
        assert_eq!(list[100].text, "and 150 more of this kind");
    }

    #[test]
    fn a_name_cannot_write_lines_of_its_own() {
        assert_eq!(shown(b"a\nERROR: b\x1b[0m\xff.txt"), "a\\nERROR: b\\u{1b}[0m\\xff.txt");
        assert_eq!(shown("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
    }
}
