//! Which version of the store's files this is.

use std::path::{Path, PathBuf};

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
    /// It cannot be read, or is not what was written.
    Damaged(StoreError),
    /// The line, and whether its sum is there, too.
    Format(String, bool),
}

impl Said {
    /// Reads a file: a line of JSON, and one with its SHA-256.
    fn read(path: &Path, copy: &Path) -> Self {
        let damaged = || Self::Damaged(StoreError::Format { path: path.to_owned(), copy: copy.to_owned() });
        let bytes = match disk::read_small(path, 64 << 10) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Self::Nothing,
            Err(error) => return Self::Damaged(error),
        };
        let Ok(text) = String::from_utf8(bytes) else { return damaged() };
        let (format, sum) = text.trim_end().split_once('\n').unwrap_or((text.trim_end(), ""));
        let is_sound = sum.is_empty() || sum == ObjectId::of(format.as_bytes()).to_string();
        if is_sound && version(format).is_some() { Self::Format(format.to_owned(), !sum.is_empty()) } else { damaged() }
    }
}

fn version(format: &str) -> Option<u32> {
    serde_json::from_str::<Versioned>(format).ok().map(|found| found.version)
}

/// Refuses a store of a newer version; brings an older one, or a new one, up to ours. It is said twice, since one of the files may be
/// damaged: the other tells then. One whose sum is right counts more than one without.
pub(super) fn check(layout: &Layout) -> Result<(), StoreError> {
    let paths = [layout.format(), layout.format_copy()];
    let ours = serde_json::to_string(&Format::ours())
        .map_err(|e| StoreError::file("writing", &paths[0], std::io::Error::other(e)))?;
    let said = [Said::read(&paths[0], &paths[1]), Said::read(&paths[1], &paths[0])];
    let of = |sums: bool| {
        let told = said.iter().filter_map(move |said| match said {
            Said::Format(format, has_sum) if *has_sum == sums => Some(format),
            _ => None,
        });
        told.max_by_key(|format| version(format))
    };
    let told = of(true).or(of(false));
    if let Some(found) = told.and_then(|format| version(format)).filter(|found| *found > VERSION) {
        return Err(StoreError::Newer { path: layout.root().to_owned(), found, known: VERSION });
    }
    let is_ours = told.is_some_and(|format| *format == ours);
    let is_told = told.is_some();
    let mut to_write = Vec::new();
    for (path, said) in paths.into_iter().zip(said) {
        match said {
            Said::Format(format, true) if format == ours => continue,
            Said::Damaged(error) if !is_told => return Err(error),
            Said::Damaged(error) => {
                tracing::warn!(%error, "a file of the store is damaged, and is written again by its copy");
            }
            Said::Format(..) | Said::Nothing => {}
        }
        to_write.push(path);
    }
    match write(layout, &to_write, &ours) {
        // It is told all the same: a disk that is full must not keep anybody from what is there.
        Err(error) if is_ours => {
            tracing::warn!(%error, "a file of the store that is damaged or missing cannot be written again");
            Ok(())
        }
        done => done,
    }
}

fn write(layout: &Layout, to_write: &[PathBuf], format: &str) -> Result<(), StoreError> {
    if to_write.is_empty() {
        return Ok(());
    }
    disk::make_folder(&layout.sessions())?;
    let session = Session::begin(layout)?;
    let text = format!("{format}\n{}\n", ObjectId::of(format.as_bytes()));
    to_write.iter().try_for_each(|path| disk::replace(session.folder(), path, text.as_bytes()))
}
