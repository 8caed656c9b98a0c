//! Which version of the store's files this is.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chunks;
use super::disk;
use super::error::StoreError;
use super::id::ObjectId;
use super::layout::Layout;
use super::session::Session;

/// The layout that this version writes.
const VERSION: u32 = 1;

/// The content of `format`. Chunks are found by their hashes alone: a store that was written with other numbers is read as well,
/// and only what is put from then on is cut by the new ones.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    version: u32,
    chunker: Chunker,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chunker {
    algorithm: String,
    min: u32,
    mean: u32,
    max: u32,
}

impl Format {
    fn ours() -> Self {
        let chunker =
            Chunker { algorithm: "fastcdc-2020".to_owned(), min: chunks::MIN, mean: chunks::MEAN, max: chunks::MAX };
        Self { version: VERSION, chunker }
    }
}

/// Only what every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// What one of the two files says.
enum Said {
    Nothing,
    /// It is not what was written.
    Damaged,
    Format(String),
}

impl Said {
    /// Reads a file: a line of JSON, and one with its SHA-256.
    fn read(path: &Path) -> Result<Self, StoreError> {
        let Some(bytes) = disk::read_small(path, 64 << 10)? else { return Ok(Self::Nothing) };
        let Ok(text) = String::from_utf8(bytes) else { return Ok(Self::Damaged) };
        let (format, sum) = text.trim_end().split_once('\n').unwrap_or((text.trim_end(), ""));
        // Without a sum it was written by hand.
        let is_sound = sum.is_empty() || sum == ObjectId::of(format.as_bytes()).to_string();
        let is_format = is_sound && serde_json::from_str::<Versioned>(format).is_ok();
        Ok(if is_format { Self::Format(format.to_owned()) } else { Self::Damaged })
    }
}

/// Refuses a store of a newer version; brings an older one, or a new one, up to ours. It is said twice, since one of the files may be
/// damaged: the other tells then.
pub(super) fn check(layout: &Layout) -> Result<(), StoreError> {
    let ours = serde_json::to_string(&Format::ours())
        .map_err(|e| StoreError::file("writing", &layout.format(), std::io::Error::other(e)))?;
    let (mut is_told, mut damaged, mut to_write) = (false, None, Vec::new());
    for path in [layout.format(), layout.format_copy()] {
        match Said::read(&path)? {
            Said::Format(format) => {
                refuse_newer(layout, &format)?;
                is_told = true;
                if format == ours {
                    continue;
                }
            }
            Said::Nothing => {}
            Said::Damaged => damaged = Some(path.clone()),
        }
        to_write.push(path);
    }
    if let Some(path) = damaged {
        if !is_told {
            return Err(StoreError::Format { path: layout.format(), copy: layout.format_copy() });
        }
        tracing::warn!(path = %path.display(), "a file of the store was damaged, and is written again by its copy");
    }
    if to_write.is_empty() {
        return Ok(());
    }
    disk::make_folder(&layout.sessions())?;
    let session = Session::begin(layout)?;
    let text = format!("{ours}\n{}\n", ObjectId::of(ours.as_bytes()));
    to_write.iter().try_for_each(|path| disk::replace(session.folder(), path, text.as_bytes()))
}

fn refuse_newer(layout: &Layout, format: &str) -> Result<(), StoreError> {
    match serde_json::from_str::<Versioned>(format) {
        Ok(found) if found.version > VERSION => {
            Err(StoreError::Newer { path: layout.root().to_owned(), found: found.version, known: VERSION })
        }
        _ => Ok(()),
    }
}
