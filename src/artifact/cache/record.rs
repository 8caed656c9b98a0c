//! The record of an entry: a small JSON file beside the objects, with a checksum of its own.
//!
//! Layout of a store, version 1:
//!
//! ```text
//! format                                   {"version":1}
//! lock                                     flock: shared to read and write, exclusive to remove
//! tmp/                                     what is being written
//! damaged/                                 what did not match its checksum
//! projects/PROJECT/TRUST/entries/KEY.json  one record an entry; its mtime is when it was last used
//! projects/PROJECT/TRUST/objects/aa/bb/OBJECT.tar.zst
//! ```
//!
//! PROJECT is the SHA-256 of forge and project, KEY that of the key, OBJECT that of the object's bytes. Objects lie below their owner,
//! so equal content is kept once for each owner and no owner can learn what another keeps.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::pipeline::{JobKey, Owner};

/// Bytes of a record file. Keys are at most some hundred bytes at the forges.
pub(super) const MAX_RECORD: u64 = 256 << 10;

/// What is known about an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The key for people; bytes that are not UTF-8 are replaced.
    pub(super) key_text: String,
    /// The key, hexadecimal.
    pub(super) key: String,
    /// Whose it is.
    pub(super) owner: Owner,
    /// The job that wrote it.
    pub(super) job: JobKey,
    /// SHA-256 of the object's bytes, hexadecimal.
    pub(super) object: String,
    /// Bytes of the object.
    pub(super) stored_bytes: u64,
    /// Bytes of content.
    pub(super) content_bytes: u64,
    /// Entries in the object.
    pub(super) entries: u64,
    /// SHA-256 over names, kinds, modes, sizes and times of the files. Cheap to compare; equal ones may still differ.
    pub(super) outline: String,
    /// SHA-256 of the tar stream: the identity of the files with their content.
    pub(super) content_id: String,
    /// When it was written.
    pub(super) created_at: jiff::Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    sha256: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

impl Record {
    /// The bytes of the record file.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let record = serde_json::value::to_raw_value(self)?;
        let sha256 = hex::encode(Sha256::digest(record.get().as_bytes()));
        let mut bytes = serde_json::to_vec(&Envelope { sha256, record: &record })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a record file. `None`: damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
        let sum = hex::encode(Sha256::digest(envelope.record.get().as_bytes()));
        if sum != envelope.sha256 {
            return None;
        }
        let record: Record = serde_json::from_str(envelope.record.get()).ok()?;
        // The name of a file is made from it: nothing but a hash.
        let is_hash = record.object.len() == 64 && record.object.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then_some(record)
    }

    /// The key as it was given.
    pub(super) fn key_bytes(&self) -> Vec<u8> {
        hex::decode(&self.key).unwrap_or_default()
    }
}

/// The name of a project's folder.
pub(super) fn project_name(owner: &Owner) -> String {
    let mut hash = Sha256::new();
    for part in [owner.forge.as_str(), owner.project.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// The name of a key's record file.
pub(super) fn entry_name(key: &[u8]) -> String {
    format!("{}.json", hex::encode(Sha256::digest(key)))
}

/// The path of an object below its owner's folder.
pub(super) fn object_path(hash: &str) -> String {
    format!("objects/{}/{}/{hash}.tar.zst", &hash[..2], &hash[2..4])
}
