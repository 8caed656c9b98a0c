//! Records: small files that say what is kept. They are the truth; the index is made from them.
//!
//! ```text
//! {"sha256":"<of the record's text>","record":{...}}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::id::ObjectId;
use crate::artifact::retention::Expiry;
use crate::pipeline::{JobKey, Owner};

/// Bytes of a record, at most.
pub(super) const MAX_RECORD: u64 = 1 << 20;

/// The name of a record's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(ObjectId);

impl RecordKey {
    fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Self(ObjectId::of(&bytes))
    }

    /// The key that a file is named after. `None`: it is not the file of a record.
    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        name.strip_suffix(".json")?.parse().ok()
    }

    pub(super) fn file_name(self) -> String {
        format!("{}.json", self.0)
    }
}

impl std::str::FromStr for RecordKey {
    type Err = <ObjectId as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What something is kept as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Files under a name, or under none: then only the id finds them.
    Artifact {
        /// The name.
        name: Option<String>,
    },
    /// A cache under a key, of which there is one at a time.
    Cache {
        /// The key's bytes, hexadecimal.
        key: String,
        /// The key for people.
        text: String,
    },
}

impl What {
    /// A cache entry of this key.
    pub fn cache(key: &[u8]) -> Self {
        Self::Cache { key: hex::encode(key), text: crate::artifact::shown(key) }
    }

    /// How people call it.
    pub fn text(&self) -> Option<&str> {
        match self {
            What::Artifact { name } => name.as_deref(),
            What::Cache { text, .. } => Some(text),
        }
    }
}

/// Where an artifact of a job comes from, in the words of whoever wrote the pipeline: the same run after run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What the pipeline's file calls it, expanded. `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The branch, tag or merge request of its project that the pipeline ran for. Of what was downloaded that is not known: it is
    /// what the job that downloaded it ran for.
    pub pipeline: String,
    /// What it has in common with the same artifact of other runs: its job, and its title before that was expanded.
    pub series: String,
}

/// What is known of something that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// The id of the tree: the SHA-256 of its manifest.
    pub content_hash: ObjectId,
    /// The id of the content alone: without times and owners.
    pub content_id: ObjectId,
    /// What it is kept as.
    pub what: What,
    /// On whose behalf: forge, project and trust.
    pub owner: Owner,
    /// The job that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<JobKey>,
    /// The job's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The pipeline it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// What retention policies go by, for what a job left: its name begins with a number that nobody knows before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Bytes of content.
    pub size: u64,
    /// Bytes that the store had to write for it; what was there already is not counted.
    pub stored_size: u64,
    /// Files, folders and symlinks.
    pub entries: u64,
    /// What it is, by its name: `inode/directory` for several files.
    pub mime_type: String,
    /// When it was kept.
    pub created_at: jiff::Timestamp,
    /// When it became the newest of its name, where that is another time: the same was kept again after something else had taken the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_since: Option<jiff::Timestamp>,
    /// Until when.
    #[serde(default)]
    pub expires: Expiry,
    /// What whoever kept it wanted to be known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl ArtifactInfo {
    /// Since when the name stands for it: of several the newest counts.
    pub fn named_at(&self) -> jiff::Timestamp {
        self.newest_since.map_or(self.created_at, |since| since.max(self.created_at))
    }
}

/// A promise to keep a tree until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) tree: ObjectId,
    pub(super) owner: Owner,
    pub(super) created_at: jiff::Timestamp,
}

/// The trees that a job needs, from when it is queued until it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) holder: JobKey,
    pub(super) trees: Vec<ObjectId>,
    pub(super) owner: Owner,
    pub(super) created_at: jiff::Timestamp,
    /// The agent that runs the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// Nearly all of them are of the largest kind.
#[allow(clippy::large_enum_variant)]
pub(super) enum Record {
    Kept(ArtifactInfo),
    Pin(Pin),
    Reference(Reference),
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    sha256: ObjectId,
    #[serde(borrow)]
    record: &'a RawValue,
}

impl Record {
    /// Whose it is.
    pub(super) fn owner(&self) -> &Owner {
        match self {
            Record::Kept(info) => &info.owner,
            Record::Pin(pin) => &pin.owner,
            Record::Reference(reference) => &reference.owner,
        }
    }

    /// The trees it keeps.
    pub(super) fn trees(&self) -> &[ObjectId] {
        match self {
            Record::Kept(info) => std::slice::from_ref(&info.content_hash),
            Record::Pin(pin) => std::slice::from_ref(&pin.tree),
            Record::Reference(reference) => &reference.trees,
        }
    }

    /// The name of its file. A cache has one for each key; an artifact one for each name, tree and job.
    pub(super) fn key(&self) -> RecordKey {
        match self {
            Record::Kept(info) => match &info.what {
                What::Cache { key, .. } => cache_key(key),
                What::Artifact { name } => {
                    let job = info.producer.as_ref().map_or("", JobKey::as_str);
                    let named: &[u8] = if name.is_some() { b"named" } else { b"" };
                    let name = name.as_deref().unwrap_or_default().as_bytes();
                    RecordKey::of(&[b"artifact", named, name, info.content_hash.as_bytes(), job.as_bytes()])
                }
            },
            Record::Pin(pin) => pin_key(&pin.tree),
            Record::Reference(reference) => reference_key(&reference.holder),
        }
    }
}

/// The bytes of a file that holds `what` and says whether it is whole.
pub(super) fn to_bytes(what: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::value::to_raw_value(what)?;
    let sha256 = ObjectId::of(record.get().as_bytes());
    let mut bytes = serde_json::to_vec(&Envelope { sha256, record: &record })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads such a file. `None`: damaged.
pub(super) fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
    let text = envelope.record.get();
    if Sha256::digest(text.as_bytes())[..] != *envelope.sha256.as_bytes() {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The record of the cache of this key, hexadecimal.
pub(super) fn cache_key(key: &str) -> RecordKey {
    RecordKey::of(&[b"cache", key.as_bytes()])
}

/// The record of a tree's pin.
pub(super) fn pin_key(tree: &ObjectId) -> RecordKey {
    RecordKey::of(&[b"pin", tree.as_bytes()])
}

/// The record of a job's references.
pub(super) fn reference_key(holder: &JobKey) -> RecordKey {
    RecordKey::of(&[b"reference", holder.as_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{ForgeInstance, ProjectId, Trust};

    #[test]
    fn every_bit_of_a_record_counts() {
        let owner =
            Owner { forge: ForgeInstance::new("https://f"), project: ProjectId::new("1"), trust: Trust::Member };
        let pin = Record::Pin(Pin { tree: ObjectId::of(b"x"), owner, created_at: jiff::Timestamp::UNIX_EPOCH });
        let bytes = to_bytes(&pin).unwrap();
        assert_eq!(from_bytes::<Record>(&bytes).as_ref(), Some(&pin));
        for bit in 0..(bytes.len() - 1) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = from_bytes::<Record>(&flipped);
            // A hash in capitals is the same hash.
            assert!(read.is_none() || read.as_ref() == Some(&pin), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn a_record_of_an_older_version_means_what_it_meant() {
        let id = "a".repeat(64);
        let text = format!(
            r#"{{"kept":{{"content_hash":"{id}","content_id":"{id}","what":{{"artifact":{{"name":"41/out.zip"}}}},
            "owner":{{"forge":"https://f","project":"1","trust":"member"}},"job":"test-unit","pipeline":"7","size":1,
            "stored_size":1,"entries":1,"mime_type":"application/zip","created_at":"2026-01-01T00:00:00Z","expires":"none",
            "compression":"zstd"}}}}"#
        );
        let Ok(Record::Kept(info)) = serde_json::from_str(&text) else { panic!("{text}") };
        assert_eq!((info.origin.as_ref(), info.named_at()), (None, info.created_at));
        assert_eq!((info.job.as_deref(), info.pipeline.as_deref()), (Some("test-unit"), Some("7")));
        let written = serde_json::to_value(Record::Kept(info)).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        // It said the same of everything.
        expected["kept"].as_object_mut().unwrap().remove("compression");
        assert_eq!(written, expected, "it is not written otherwise");
    }
}
