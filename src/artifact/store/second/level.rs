//! What a second level has to be able to do: blobs by name, on a machine that may be slow, wrong or gone.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::artifact::Interrupt;

/// The name of a blob: parts of ASCII letters, digits, `.`, `_` and `-`, joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(String);

impl BlobName {
    /// A name. `None`: it is not one.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let is_part = |part: &str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
        };
        (text.len() <= 1000 && text.split('/').all(is_part)).then_some(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A blob as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub name: BlobName,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the clock of the second level.
    pub modified: jiff::Timestamp,
}

/// Why a second level did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// It could not be reached, or refused.
    #[error("{doing} `{name}` in {level} failed")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Which blob, or the beginning of which names.
        name: String,
        /// Where: [`SecondLevel::title`].
        level: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{doing} `{name}` in {level} took longer than {seconds} s")]
    Slow {
        /// What was being done.
        doing: &'static str,
        /// Which blob, or the beginning of which names.
        name: String,
        /// Where.
        level: String,
        /// How long was waited.
        seconds: u64,
    },
    /// What it sent is not what it should be.
    #[error("`{name}` in {level} {what}")]
    Wrong {
        /// Which blob.
        name: String,
        /// Where.
        level: String,
        /// What is wrong with it: the end of the sentence.
        what: String,
    },
    /// A file on this machine's disk could not be read or written.
    #[error("`{path}` cannot be used")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The work was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// A store that other machines use, too: blobs by name.
///
/// Calls block on the network, each for a bounded time. Any number may run at the same time. A blob is seen whole or not at all.
/// What comes back is not to be believed: whoever asked proves it.
pub trait SecondLevel: Send + Sync {
    /// How people call it: `s3://bucket/prefix`.
    fn title(&self) -> &str;

    /// Writes the content of a file, in bounded memory. What was there under the name gives way.
    fn upload(&self, name: &BlobName, from: &Path, interrupt: &Interrupt) -> Result<(), LevelError>;

    /// Writes a small blob. What was there under the name gives way.
    fn write(&self, name: &BlobName, bytes: &[u8], interrupt: &Interrupt) -> Result<(), LevelError>;

    /// Writes a small blob, unless there is one of the name: `false`.
    fn create(&self, name: &BlobName, bytes: &[u8], interrupt: &Interrupt) -> Result<bool, LevelError>;

    /// Writes a blob of at most `limit` bytes to the file, and says how long it is. `None`: there is none.
    fn download(
        &self,
        name: &BlobName,
        into: &mut File,
        limit: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<u64>, LevelError>;

    /// The content of a blob of at most `limit` bytes. `None`: there is none.
    fn read(&self, name: &BlobName, limit: u64, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, LevelError>;

    /// Calls `each` with every blob whose name begins with `prefix`, in no order. Names that no [`BlobName`] can be are left out.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Blob), interrupt: &Interrupt) -> Result<(), LevelError>;

    /// Removes a blob; one that is gone already is no error.
    fn remove(&self, name: &BlobName, interrupt: &Interrupt) -> Result<(), LevelError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for text in ["a", "a/b-c_d.e", "0/1"] {
            assert_eq!(BlobName::new(text).unwrap().as_str(), text);
        }
        for text in
            ["", "/a", "a/", "a//b", "..", "a/../b", "a/./b", "a b", "a%2fb", "\u{e4}", "a\n", &"x".repeat(1001)]
        {
            assert!(BlobName::new(text).is_none(), "{text:?}");
        }
    }
}
