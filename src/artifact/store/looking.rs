//! What is being looked at just now, to see whether it is whole: a file in the folder of whoever looks. It goes with that folder, which
//! the next process removes where its owner was killed: so nothing is said to be looked at for ever.

use std::collections::HashMap;
use std::path::PathBuf;

use super::disk;
use super::error::StoreError;
use super::id::ObjectId;
use super::layout::Layout;
use super::opened::Store;
use super::record::ArtifactInfo;
use super::session::Session;
use super::verify::Verification;

/// In a session's folder.
const FILE: &str = "verifying";

/// Bytes of such a file, at most.
const MAX_FILE: u64 = 1 << 10;

/// Says what is being looked at, until dropped. `None`: on a disk that has no room for it, nobody is told.
pub(super) struct Looking(Option<Session>);

impl Looking {
    pub(super) fn begin(layout: &Layout) -> Self {
        Self(Session::begin(layout).ok())
    }

    /// Everything of this owner, or this tree of it, is being looked at.
    pub(super) fn at(&self, slug: &str, tree: Option<&ObjectId>) {
        let Some(session) = &self.0 else { return };
        let tree = tree.map(ToString::to_string).unwrap_or_default();
        // Best effort: it is looked at all the same.
        let _ = std::fs::write(session.folder().join(FILE), format!("{slug} {tree}\n"));
    }
}

/// What is known about whether things that are kept are whole.
#[derive(Clone, Debug, Default)]
pub struct Verifications {
    known: HashMap<(String, ObjectId), Verification>,
    /// Owner, and the tree where it is only one.
    looked_at: Vec<(String, Option<ObjectId>)>,
}

impl Verifications {
    /// What is known of one.
    pub fn of(&self, info: &ArtifactInfo) -> Verification {
        let (slug, tree) = (info.owner.slug(), info.content_hash);
        let is_looked_at = self.looked_at.iter().any(|(of, only)| *of == slug && only.is_none_or(|only| only == tree));
        let known = self.known.get(&(slug, tree)).cloned().unwrap_or_else(|| Verification::pending(tree));
        if is_looked_at { known.looked_at() } else { known }
    }
}

impl Store {
    /// What is known about whether what is kept is whole, and what is being looked at just now.
    pub fn verifications(&self) -> Result<Verifications, StoreError> {
        self.heal()?;
        let mut looked_at = Vec::new();
        for folder in disk::names(&self.layout.sessions())? {
            looked_at.extend(looked_at_by(folder)?);
        }
        Ok(Verifications { known: self.index()?.verifications()?, looked_at })
    }
}

fn looked_at_by(session: PathBuf) -> Result<Option<(String, Option<ObjectId>)>, StoreError> {
    let bytes = disk::read_small(&session.join(FILE), MAX_FILE)?.unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    // Without its newline it is just being written.
    let Some((slug, tree)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { return Ok(None) };
    match tree.parse() {
        Ok(tree) => Ok(Some((slug.to_owned(), Some(tree)))),
        Err(_) if tree.is_empty() => Ok(Some((slug.to_owned(), None))),
        Err(_) => Ok(None),
    }
}
