//! A job's log and what is masked in it.

use crate::pipeline::secret::Secret;

/// What a job's log looks like.
#[derive(Clone, Debug)]
pub struct LogSpec {
    /// Markers by which the forge folds and times the parts of the log.
    pub sections: bool,
    /// Each command of several lines in a folded section of its own.
    pub script_sections: bool,
    /// A header with time and stream before each line (protocols: GitLab 4.6).
    pub timestamps: bool,
    /// Whether shells print each command as it runs.
    pub trace_commands: bool,
    /// Whether the output of services is shown.
    pub services: bool,
    /// Texts to hide.
    pub mask: Vec<Secret>,
    /// What stands in their place.
    pub mask_word: MaskWord,
    /// What follows one of these, as far as token characters go, is hidden.
    pub mask_prefixes: Vec<String>,
    /// Bytes after which the log is cut.
    pub limit: u64,
}

/// What stands in place of a text that is hidden: users of each forge know one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskWord {
    /// `[MASKED]`, as on GitLab.
    #[default]
    Bracketed,
    /// `***`, as on GitHub.
    Stars,
}

impl MaskWord {
    /// The word.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            MaskWord::Bracketed => b"[MASKED]",
            MaskWord::Stars => b"***",
        }
    }
}

impl LogSpec {
    /// Text alone: no sections, no time stamps, nothing to hide, at most `limit` bytes.
    pub fn plain(limit: u64) -> Self {
        Self {
            sections: false,
            script_sections: false,
            timestamps: false,
            trace_commands: false,
            services: false,
            mask: Vec::new(),
            mask_word: MaskWord::Bracketed,
            mask_prefixes: Vec::new(),
            limit,
        }
    }
}
