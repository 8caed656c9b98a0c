//! Which version of the store's files this is.

use serde::{Deserialize, Serialize};

use super::chunks;
use super::disk;
use super::error::StoreError;
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

/// Refuses a store of a newer version; brings an older one, or a new one, up to ours.
pub(super) fn check(layout: &Layout) -> Result<(), StoreError> {
    let path = layout.format();
    let ours = Format::ours();
    if let Some(bytes) = disk::read_small(&path, 64 << 10)? {
        let found: Versioned = serde_json::from_slice(&bytes).map_err(|_| StoreError::Format { path: path.clone() })?;
        if found.version > VERSION {
            return Err(StoreError::Newer { path: layout.root().to_owned(), found: found.version, known: VERSION });
        }
        if serde_json::from_slice::<Format>(&bytes).is_ok_and(|format| format == ours) {
            return Ok(());
        }
    }
    disk::make_folder(&layout.sessions())?;
    let session = Session::begin(layout)?;
    let text =
        serde_json::to_string(&ours).map_err(|e| StoreError::file("writing", &path, std::io::Error::other(e)))?;
    disk::replace(session.folder(), &path, format!("{text}\n").as_bytes())
}
