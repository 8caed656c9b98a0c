//! What was decided and removed, line by line, in a file for each month. Nothing else says so: it is never removed by us.

use std::fs::File;
use std::io::Write as _;

use super::error::StoreError;
use super::opened::Store;
use super::record::{ArtifactInfo, Record};
use crate::artifact::retention::{AuditEvent, ContentHash, EntryId, Withdrawn};

/// What the audit says of something that went, where the owner's folder is called `slug`.
pub(super) fn gone(slug: &str, info: &ArtifactInfo) -> Withdrawn {
    let key = Record::Kept(info.clone()).key();
    Withdrawn {
        artifact: ContentHash::new(info.content_hash.to_string()),
        entry: EntryId::new(format!("{slug}/{key}")),
        name: info.what.text().map_or_else(|| info.content_hash.to_string(), str::to_owned),
        size: info.stored_size,
        created_at: info.created_at,
    }
}

impl Store {
    /// Adds events to the audit. They are on disk when this returns.
    pub(super) fn audit(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let month = self.now().strftime("%Y-%m").to_string();
        let path = self.layout.audit().join(format!("{month}.jsonl"));
        let fail = |e| StoreError::file("writing", &path, e);
        let mut text = String::new();
        for event in events {
            text.push_str(&event.line().map_err(|e| fail(std::io::Error::other(e)))?);
        }
        let mut file = File::options().create(true).append(true).open(&path).map_err(fail)?;
        // One call: lines of several processes do not mix.
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(fail)
    }
}
