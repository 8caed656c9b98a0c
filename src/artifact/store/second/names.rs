//! What things are called in the second level.
//!
//! ```text
//! OWNER/packs/ID                     a pack, as it is on disk
//! OWNER/condemned/ID                 empty: nobody needed the pack when somebody looked
//! OWNER/unfit/ID                     empty: somebody got something else, or nothing, in place of the pack
//! OWNER/records/c-KEY-RECORD         what is kept as a cache; KEY is the beginning of its key
//! OWNER/records/a-NAME-TREE-RECORD   what is kept as an artifact; NAME is the beginning of the SHA-256 of its name
//! tidy/begun                         empty: when somebody began to tidy up
//! tidy/now-AGENT                     empty: tells somebody what time it is there
//! ```
//!
//! OWNER is the owner's slug, RECORD the beginning of the record's name. So what is wanted is found by its name, and what begins alike lies
//! together. No part is longer than file systems take, and servers that make file names of whole names.

use super::level::BlobName;
use crate::artifact::store::id::ObjectId;
use crate::artifact::store::pack::PackId;
use crate::artifact::store::record::{ArtifactInfo, Record, What};
use crate::artifact::store::restore::{Wanted, may_be_id};

/// Characters of a key that the name of its blob has.
const NAMED_KEY: usize = 96;

/// Where all packs of an owner are.
pub(super) fn packs(slug: &str) -> String {
    format!("{slug}/packs/")
}

/// Where the marks of packs are that nobody needed.
pub(super) fn condemned(slug: &str) -> String {
    format!("{slug}/condemned/")
}

/// Where the marks of packs are that somebody could not use.
pub(super) fn unfit(slug: &str) -> String {
    format!("{slug}/unfit/")
}

/// Where all records of an owner are.
pub(super) fn records(slug: &str) -> String {
    format!("{slug}/records/")
}

pub(super) fn pack(slug: &str, id: &PackId) -> BlobName {
    BlobName::ours(format!("{}{id}", packs(slug)))
}

pub(super) fn condemned_pack(slug: &str, id: &PackId) -> BlobName {
    BlobName::ours(format!("{}{id}", condemned(slug)))
}

pub(super) fn unfit_pack(slug: &str, id: &PackId) -> BlobName {
    BlobName::ours(format!("{}{id}", unfit(slug)))
}

/// Where those who tidy up meet.
pub(super) const TIDY: &str = "tidy/";

/// Written when somebody begins to tidy up.
pub(super) fn begun() -> BlobName {
    BlobName::ours(format!("{TIDY}begun"))
}

/// Tells an agent what time it is there.
pub(super) fn clock(agent: &str) -> BlobName {
    BlobName::ours(format!("{TIDY}now-{agent}"))
}

/// The id that the last part of a name is.
pub(super) fn id_of(name: &BlobName) -> Option<ObjectId> {
    name.as_str().rsplit('/').next()?.parse().ok()
}

/// The owner and the rest of a name.
pub(super) fn split(name: &BlobName) -> Option<(&str, &str)> {
    let (slug, rest) = name.as_str().split_once('/')?;
    let is_slug = slug.len() == 16 && slug.bytes().all(|b| b.is_ascii_hexdigit());
    is_slug.then_some((slug, rest))
}

/// The record of something that is kept.
pub(super) fn record(info: &ArtifactInfo) -> BlobName {
    let head = records(&info.owner.slug());
    let key = Record::Kept(info.clone()).key().to_string();
    BlobName::ours(match &info.what {
        What::Cache { key: hex, .. } => cache(&head, &hex::decode(hex).unwrap_or_default(), &key),
        What::Artifact { name } => {
            let name = hashed(name.as_deref().unwrap_or_default());
            format!("{head}a-{name}-{}-{}", info.content_hash, &key[..16])
        }
    })
}

fn cache(head: &str, key: &[u8], record: &str) -> String {
    format!("{head}c-{}-{}", named(key), &record[..32])
}

/// The beginning of a key, in characters that names have. What begins alike is written alike.
fn named(key: &[u8]) -> String {
    let mut text = String::new();
    for byte in key.iter().take(NAMED_KEY) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => text.push(char::from(*byte)),
            other => text.push_str(&format!("_{other:02x}")),
        }
    }
    // All of it is ASCII.
    text.truncate(NAMED_KEY);
    text
}

fn hashed(name: &str) -> String {
    ObjectId::of(name.as_bytes()).to_string()[..16].to_owned()
}

/// How something is looked for.
pub(super) enum Search {
    /// Under this name.
    Named(BlobName),
    /// Below this, all or those of trees that begin so.
    Below { prefix: String, tree: Option<String> },
}

impl Search {
    /// Ways to find what is wanted of an owner, one after the other.
    pub(super) fn ways(slug: &str, wanted: &Wanted) -> Vec<Self> {
        let head = records(slug);
        match wanted {
            Wanted::Exact(key) => {
                let record = super::super::record::cache_key(&hex::encode(key)).to_string();
                vec![Self::Named(BlobName::ours(cache(&head, key, &record)))]
            }
            Wanted::Prefix(prefix) => {
                vec![Self::Below { prefix: format!("{head}c-{}", named(prefix)), tree: None }]
            }
            Wanted::Named(name) => {
                let mut ways = vec![Self::Below { prefix: format!("{head}a-{}-", hashed(name)), tree: None }];
                if may_be_id(name) {
                    ways.push(Self::of_tree(slug, &name.to_ascii_lowercase()));
                }
                ways
            }
        }
    }

    /// Artifacts and caches of a tree whose id begins so. A cache's name does not have its tree.
    pub(super) fn of_tree(slug: &str, tree: &str) -> Self {
        Self::Below { prefix: format!("{}a-", records(slug)), tree: Some(tree.to_owned()) }
    }

    /// Whether a blob that is there may be what is looked for.
    pub(super) fn may_be(&self, name: &BlobName) -> bool {
        match self {
            Search::Named(wanted) => name == wanted,
            Search::Below { prefix, tree: None } => name.as_str().starts_with(prefix.as_str()),
            Search::Below { prefix, tree: Some(tree) } => {
                let rest = name.as_str().strip_prefix(prefix.as_str());
                let own = rest.and_then(|rest| rest.split('-').nth(1));
                own.is_some_and(|own| own.starts_with(tree.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

    fn info(what: What) -> ArtifactInfo {
        let owner =
            Owner { forge: ForgeInstance::new("https://f"), project: ProjectId::new("1"), trust: Trust::Member };
        ArtifactInfo {
            content_hash: ObjectId::of(b"tree"),
            content_id: ObjectId::of(b"content"),
            what,
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
        }
    }

    fn finds(info: &ArtifactInfo, wanted: &Wanted) -> bool {
        Search::ways(&info.owner.slug(), wanted).iter().any(|way| way.may_be(&record(info)))
    }

    #[test]
    fn what_is_kept_is_found_by_its_name() {
        for key in [&b"deps"[..], b"", b"../../x\n\xff", &[b'k'; 8000]] {
            let kept = info(What::cache(key));
            assert!(BlobName::new(record(&kept).as_str()).is_some());
            assert!(record(&kept).as_str().len() < 160, "{}", record(&kept));
            assert!(finds(&kept, &Wanted::Exact(key.to_vec())));
            assert!(finds(&kept, &Wanted::Prefix(key[..key.len().min(3)].to_vec())));
            assert!(finds(&kept, &Wanted::Prefix(key.to_vec())));
            assert!(!finds(&kept, &Wanted::Exact([key, b"x"].concat())));
            assert!(!finds(&kept, &Wanted::Prefix(b"z".to_vec())));
        }
        let kept = info(What::Artifact { name: Some("42/a b.zip".to_owned()) });
        assert!(BlobName::new(record(&kept).as_str()).is_some());
        let tree = kept.content_hash.to_string();
        for name in ["42/a b.zip", &tree, &tree[..8].to_uppercase()] {
            assert!(finds(&kept, &Wanted::Named(name.to_owned())), "{name}");
        }
        for name in ["42/a b", &tree[..7], "0123456789"] {
            assert!(!finds(&kept, &Wanted::Named(name.to_owned())), "{name}");
        }
    }
}
