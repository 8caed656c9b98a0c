//! What the second level is still to be told of: a file for each record, written before the record is acknowledged. So nothing is forgotten
//! when the process or the network is gone.
//!
//! Whoever works on one renames it first: what is kept anew under the same name meanwhile makes another file.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::artifact::store::disk;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::layout::Layout;
use crate::artifact::store::record::RecordKey;

/// Of the names of those that somebody works on, or did when his process ended.
const TAKEN: &str = ".taken";

/// A record that is to be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slug: String,
    pub(super) key: RecordKey,
    path: PathBuf,
    /// Not before this.
    pub(super) due: SystemTime,
}

/// Has a record offered, as soon as somebody comes to it.
pub(super) fn add(layout: &Layout, session: &Path, slug: &str, key: &RecordKey) -> Result<(), StoreError> {
    disk::replace(session, &layout.queue().join(format!("{slug}.{key}")), b"")
}

/// What is to be offered, the oldest first.
pub(super) fn list(layout: &Layout) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<Entry> = disk::names(&layout.queue())?.into_iter().filter_map(entry).collect();
    entries.sort_by_key(|entry| entry.due);
    Ok(entries)
}

fn entry(path: PathBuf) -> Option<Entry> {
    let name = path.file_name()?.to_str()?;
    let (slug, key) = name.strip_suffix(TAKEN).unwrap_or(name).split_once('.')?;
    let (slug, key) = (slug.to_owned(), RecordKey::from_file_name(&format!("{key}.json"))?);
    let due = std::fs::metadata(&path).and_then(|file| file.modified()).ok()?;
    Some(Entry { slug, key, path, due })
}

impl Entry {
    /// Takes it, so that what comes after counts as new. `None`: it is gone.
    pub(super) fn take(mut self) -> Result<Option<Self>, StoreError> {
        let name = format!("{}.{}{TAKEN}", self.slug, self.key);
        let taken = self.path.with_file_name(name);
        if taken != self.path {
            match std::fs::rename(&self.path, &taken) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                done => done.map_err(|e| StoreError::file("moving", &self.path, e))?,
            }
            self.path = taken;
        }
        Ok(Some(self))
    }

    /// It is done.
    pub(super) fn done(self) -> Result<(), StoreError> {
        disk::remove(&self.path)
    }

    /// It is to be done again, not before `due`.
    pub(super) fn postpone(self, due: SystemTime) -> Result<(), StoreError> {
        let fail = |e| StoreError::file("writing", &self.path, e);
        let file = std::fs::File::options().write(true).open(&self.path).map_err(fail)?;
        file.set_modified(due).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::artifact::store::record::cache_key;

    #[test]
    fn what_comes_while_one_is_at_work_is_not_lost() {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path());
        let (key, slug) = (cache_key("6b"), "0123456789abcdef");
        add(&layout, temp.path(), slug, &key).unwrap();
        add(&layout, temp.path(), slug, &key).unwrap();
        let taken = list(&layout).unwrap().remove(0).take().unwrap().unwrap();
        assert_eq!((taken.slug.as_str(), taken.key), (slug, key));
        add(&layout, temp.path(), slug, &key).unwrap();
        assert_eq!(list(&layout).unwrap().len(), 2);
        taken.done().unwrap();
        // One whose process ended is found again.
        let left = list(&layout).unwrap().remove(0).take().unwrap().unwrap();
        drop(left);
        let again = list(&layout).unwrap().remove(0).take().unwrap().unwrap();
        let later = SystemTime::now() + Duration::from_secs(900);
        again.postpone(later).unwrap();
        let postponed = list(&layout).unwrap();
        assert_eq!(postponed.len(), 1);
        assert!(postponed[0].due > SystemTime::now());
    }

    #[test]
    fn other_files_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path());
        disk::make_folder(&layout.queue()).unwrap();
        std::fs::write(layout.queue().join("notes.txt"), "x").unwrap();
        assert!(list(&layout).unwrap().is_empty());
    }
}
