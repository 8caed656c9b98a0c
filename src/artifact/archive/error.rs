//! Why an archive could not be packed or unpacked.

use std::io;

use crate::artifact::beneath;
use crate::pipeline::FailureCategory;

/// Why an archive could not be packed or unpacked. Trouble with single files is a remark, not an error.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk or a quota is full.
    #[error("{doing}: no space left on the disk; free some, or pack less")]
    NoSpace {
        /// What was being done.
        doing: String,
    },
    /// The operating system refused.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The archive is not what it says.
    #[error("the archive is damaged: {0}; make it again")]
    Damaged(String),
    /// The archive is something that cannot be read here.
    #[error("the archive cannot be read: {0}")]
    Unsupported(String),
    /// An entry that would lie outside of the work tree.
    #[error("the archive is refused: its entry `{0}` would lie outside of the work tree")]
    UnsafeName(String),
    /// More than the [`super::Limits`] allow.
    #[error("the archive is refused: it has {kind}, and the limit is {limit}")]
    Limit {
        /// What there is too much of.
        kind: LimitKind,
        /// How much is allowed.
        limit: u64,
    },
    /// The raw format takes one file.
    #[error("only one file can be sent as raw")]
    OnlyOneFile,
    /// Formats without folders take regular files only.
    #[error("`{0}` is not a regular file, and this format holds nothing else; use `zip`")]
    NotRegular(String),
    /// A name longer than the format can hold.
    #[error("the name of `{0}` is longer than this format can hold")]
    NameTooLong(String),
    /// Somebody ended the work.
    #[error("the work on the archive was ended early")]
    Interrupted,
}

/// What an archive can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Entries.
    Entries,
    /// Bytes of content, unpacked.
    Bytes,
    /// Content in proportion to the archive.
    Ratio,
    /// Bytes of a path.
    PathBytes,
    /// Folders inside each other.
    Depth,
}

impl std::fmt::Display for LimitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LimitKind::Entries => "too many entries",
            LimitKind::Bytes => "too many bytes of content",
            LimitKind::Ratio => "far more content than its size explains (bytes of content for each of its own)",
            LimitKind::PathBytes => "a path of too many bytes",
            LimitKind::Depth => "a path of too many folders",
        })
    }
}

impl ArchiveError {
    /// An error of the operating system, sorted by whether the disk is full.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        if beneath::is_no_space(&source) { Self::NoSpace { doing } } else { Self::Io { doing, source } }
    }

    /// Whether the archive is what is wrong, and another one could be unpacked.
    pub(crate) fn is_of_the_archive(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Unsupported(_) | Self::UnsafeName(_) | Self::Limit { .. })
    }

    /// Whose fault it is, for retries and for the forge's failure reason.
    pub fn category(&self) -> FailureCategory {
        match self {
            Self::NoSpace { .. } | Self::Limit { .. } => FailureCategory::Resource,
            Self::Io { .. } | Self::Interrupted => FailureCategory::Transient,
            Self::Damaged(_) | Self::UnsafeName(_) => FailureCategory::Corruption,
            Self::Unsupported(_) | Self::OnlyOneFile | Self::NotRegular(_) | Self::NameTooLong(_) => {
                FailureCategory::Configuration
            }
        }
    }
}
