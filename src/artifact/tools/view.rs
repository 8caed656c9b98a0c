//! The tools that an owner's jobs see.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::{ToolCache, ToolError, ToolName};
use crate::artifact::store::{Listed, VerificationResult, What};
use crate::pipeline::{JobKey, Owner, Trust};

/// What tools say of themselves in the store, so that nothing else is taken for one.
pub(super) const KIND: (&str, &str) = ("kind", "tool");

/// Tools that one job is shown, at most.
const MAX_TOOLS: usize = 1000;

/// Between two notes that a tool is used.
const NOTED_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// From the least trusted on: of those that a job may read, its own come first.
pub(super) const TRUSTS: [Trust; 3] = [Trust::Fork, Trust::Member, Trust::Protected];

/// The tools that an owner's jobs see, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub(super) tools: BTreeMap<ToolName, Listed>,
}

impl View {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// A name for exactly these tools of exactly this content.
    pub(super) fn layer(&self) -> String {
        let mut hash = Sha256::new();
        for (name, found) in &self.tools {
            for part in [name.to_string(), found.info.owner.slug(), found.info.content_hash.to_string()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hex::encode(&hash.finalize()[..16])
    }
}

impl ToolCache {
    /// The tools that jobs of `reader` see: its own, then those of more trusted ones of its project. Of several of one name the one that
    /// was kept first.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub fn view(&self, reader: &Owner) -> Result<View, ToolError> {
        let mut view = View::default();
        let owners = TRUSTS.into_iter().map(|trust| Owner { trust, ..reader.clone() });
        for writer in owners.filter(|writer| reader.may_read(writer)) {
            for (name, found) in self.of(&writer)? {
                if view.tools.len() < MAX_TOOLS {
                    view.tools.entry(name).or_insert(found);
                }
            }
        }
        Ok(view)
    }

    /// The tools that are kept under this owner.
    pub(super) fn of(&self, writer: &Owner) -> Result<BTreeMap<ToolName, Listed>, ToolError> {
        let mut all: BTreeMap<ToolName, Vec<Listed>> = BTreeMap::new();
        for found in self.store.list(Some(writer))? {
            if let Some(name) = tool(&found) {
                all.entry(name).or_default().push(found);
            }
        }
        let mut tools = BTreeMap::new();
        for (name, mut found) in all {
            found.sort_by_key(|one| one.info.created_at);
            if let Some(first) = self.first_sound(found)? {
                tools.insert(name, first);
            }
        }
        Ok(tools)
    }

    /// The first that is not known to be damaged; where all are, the first.
    fn first_sound(&self, found: Vec<Listed>) -> Result<Option<Listed>, ToolError> {
        if found.len() > 1 {
            for one in &found {
                if !self.is_damaged(one)? {
                    return Ok(Some(one.clone()));
                }
            }
        }
        Ok(found.into_iter().next())
    }

    /// Whether somebody found out that it is not whole.
    pub(super) fn is_damaged(&self, found: &Listed) -> Result<bool, ToolError> {
        use VerificationResult::{Corrupted, Failed, Missing};
        let known = self.store.verification(&found.info)?.map(|verification| verification.result);
        Ok(matches!(known, Some(Corrupted | Missing | Failed)))
    }

    /// Notes that a job is given these of a view. Only how long they are kept hangs on it.
    pub(super) fn note_use(&self, view: &View, given: &BTreeSet<ToolName>, job: &JobKey) {
        let now = jiff::Timestamp::now();
        let is_due = |found: &Listed| now.duration_since(found.last_accessed) >= NOTED_EVERY;
        for (_, found) in view.tools.iter().filter(|(name, found)| given.contains(name) && is_due(found)) {
            if let Err(error) = self.store.used(found, Some(job)) {
                tracing::warn!(%error, "that a tool is used could not be noted");
            }
        }
    }
}

/// Which tool it is, if it is one.
fn tool(found: &Listed) -> Option<ToolName> {
    let What::Artifact { name: Some(name) } = &found.info.what else { return None };
    let is_tool = found.info.metadata.get(KIND.0).is_some_and(|kind| kind == KIND.1);
    ToolName::from_stored(name).filter(|_| is_tool)
}
