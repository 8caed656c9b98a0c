//! How something that is kept is stored: what its frames say.

use serde::Serialize;

use super::collect::mark::Marks;
use super::error::StoreError;
use super::frame::Encoding;
use super::opened::Store;
use super::record::ArtifactInfo;
use crate::artifact::Interrupt;

/// How the content of a tree is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Compressed by Zstandard, all of it.
    Zstd,
    /// As it is: it would not shrink.
    Raw,
    /// Some of it compressed, some as it is.
    Mixed,
}

impl Compression {
    fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Compression::Zstd => "zstd",
            Compression::Raw => "raw",
            Compression::Mixed => "mixed",
        })
    }
}

impl Store {
    /// How the content of something that is kept is stored. `None`: there is no content, or it is damaged.
    ///
    /// Reads manifest and footers, so it is told of one thing at a time.
    pub fn compression(&self, info: &ArtifactInfo) -> Result<Option<Compression>, StoreError> {
        let interrupt = Interrupt::default();
        let _held = self.hold_still(&interrupt)?;
        let catalog = self.catalog(&self.home(&info.owner))?;
        let mut marks = Marks::new(&catalog, &interrupt)?;
        match marks.whole_tree(&info.content_hash) {
            Err(error) if error.is_damage() => return Ok(None),
            done => done?,
        }
        let mut found: Option<Compression> = None;
        for short in marks.objects() {
            let one = match catalog.content_encoding(short)? {
                Some(Encoding::Zstd) => Compression::Zstd,
                Some(Encoding::Raw) => Compression::Raw,
                None => continue,
            };
            found = Some(found.map_or(one, |found| found.with(one)));
        }
        Ok(found)
    }
}
