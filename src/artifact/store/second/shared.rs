//! What the second level is told of something that is kept: the record, and which packs have its objects.
//!
//! One line, checksummed as all records are. Where the operator has set a key, a second line proves that somebody wrote it who has the key, too:
//! HMAC-SHA-256 over the first. Without one, whoever may write to the second level is believed as to what is called how; what the
//! names stand for is proved in any case.

use serde::{Deserialize, Serialize};

use crate::artifact::store::error::StoreError;
use crate::artifact::store::pack::{PACK_SIZE, PackId};
use crate::artifact::store::record::{self, ArtifactInfo, MAX_RECORD, What};
use crate::artifact::store::seal::StoreKey;

/// Bytes of such a blob, at most.
pub(super) const MAX_SHARED: u64 = 4 << 20;

/// Packs that one thing may lie in, at most.
const MAX_PACKS: usize = 16_384;

/// Bytes of a pack, at most: it is closed when it has [`PACK_SIZE`], and its footer comes on top.
pub(super) const MAX_PACK: u64 = 4 * PACK_SIZE;

/// What stands around an entry in a record here.
const ENVELOPE: u64 = 1024;

/// A pack as the second level has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedPack {
    pub(super) id: PackId,
    pub(super) bytes: u64,
}

/// Something that is kept, and where its objects are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) info: ArtifactInfo,
    pub(super) packs: Vec<SharedPack>,
}

impl Shared {
    /// The bytes of its blob.
    pub(super) fn to_bytes(&self, key: Option<&StoreKey>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = record::to_bytes(self).map_err(|error| {
            StoreError::file("writing", "a record for the second level".as_ref(), std::io::Error::other(error))
        })?;
        if let Some(key) = key {
            let proof = key.prove(&bytes)?;
            bytes.extend_from_slice(hex::encode(proof).as_bytes());
            bytes.push(b'\n');
        }
        Ok(bytes)
    }

    /// What a blob's bytes say. `None`: they are damaged, or nobody with the key wrote them.
    pub(super) fn from_bytes(bytes: &[u8], key: Option<&StoreKey>) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')? + 1;
        let (line, proof) = bytes.split_at(end);
        if let Some(key) = key {
            let proof = hex::decode(proof.trim_ascii()).ok()?;
            key.check_proof(line, &proof)?;
        }
        let shared: Self = record::from_bytes(line)?;
        let fits = shared.packs.len() <= MAX_PACKS && shared.packs.iter().all(|pack| pack.bytes <= MAX_PACK);
        (fits && shared.has_name() && shared.fits_here()).then_some(shared)
    }
}

impl Shared {
    /// Whether it is called as things are called here: a cache by the digits of its key.
    fn has_name(&self) -> bool {
        match &self.info.what {
            What::Artifact { .. } => true,
            What::Cache { key, .. } => hex::decode(key).is_ok_and(|bytes| What::cache(&bytes) == self.info.what),
        }
    }

    /// Whether a record here can hold it.
    fn fits_here(&self) -> bool {
        serde_json::to_vec(&self.info).is_ok_and(|text| (text.len() as u64) < MAX_RECORD - ENVELOPE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::store::ObjectId;
    use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

    fn shared() -> Shared {
        let owner = Owner { forge: ForgeInstance::new("f"), project: ProjectId::new("1"), trust: Trust::Member };
        let info = ArtifactInfo {
            content_hash: ObjectId::of(b"tree"),
            content_id: ObjectId::of(b"content"),
            what: What::cache(b"key"),
            owner,
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            size: 1,
            stored_size: 1,
            entries: 1,
            mime_type: String::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            newest_since: None,
            expires: Default::default(),
            metadata: Default::default(),
        };
        Shared { info, packs: vec![SharedPack { id: ObjectId::of(b"pack"), bytes: 7 }] }
    }

    #[test]
    fn only_who_has_the_key_is_believed() {
        let (key, other) = (StoreKey::parse(&[1; 32]).unwrap(), StoreKey::parse(&[2; 32]).unwrap());
        let proved = shared().to_bytes(Some(&key)).unwrap();
        assert_eq!(Shared::from_bytes(&proved, Some(&key)).unwrap(), shared());
        assert!(Shared::from_bytes(&proved, Some(&other)).is_none());
        let plain = shared().to_bytes(None).unwrap();
        assert!(Shared::from_bytes(&plain, Some(&key)).is_none());
        assert_eq!(Shared::from_bytes(&plain, None).unwrap(), shared());
    }

    #[test]
    fn every_byte_counts() {
        let key = StoreKey::parse(&[1; 32]).unwrap();
        let bytes = shared().to_bytes(Some(&key)).unwrap();
        for at in 0..bytes.len() - 1 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Shared::from_bytes(&changed, Some(&key)).is_none(), "byte {at}");
            assert!(Shared::from_bytes(&bytes[..at], Some(&key)).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn what_no_key_can_be_is_refused() {
        let long = format!("{}\u{e4}", "0".repeat(399));
        for key in ["abc", "AB", "zz", &long] {
            let mut odd = shared();
            odd.info.what = What::Cache { key: key.to_owned(), text: "k".to_owned() };
            assert!(Shared::from_bytes(&odd.to_bytes(None).unwrap(), None).is_none(), "{key}");
        }
        let mut large = shared();
        large.info.metadata.insert("k".to_owned(), "x".repeat(MAX_RECORD as usize));
        assert!(Shared::from_bytes(&large.to_bytes(None).unwrap(), None).is_none());
    }

    #[test]
    fn what_no_pack_can_be_is_refused() {
        let mut much = shared();
        much.packs[0].bytes = MAX_PACK + 1;
        assert!(Shared::from_bytes(&much.to_bytes(None).unwrap(), None).is_none());
    }
}
