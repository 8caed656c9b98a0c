//! Which jobs restored a tree: lines of a small file for each, beside the records, so that the index can be made anew with them.
//!
//! They are appended, each in one call, and not synced: a loss of power may take the last ones back.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk;
use super::error::StoreError;
use super::id::ObjectId;
use super::index::Index;
use super::layout::Home;
use super::opened::{Store, slug_of};
use crate::artifact::in_full;
use crate::pipeline::JobKey;

/// Bytes of such a file, at most. When it is full, the older half goes.
const MAX_FILE: u64 = 64 << 10;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Consumer {
    job: String,
    at: jiff::Timestamp,
}

impl Store {
    /// Notes that a job restored a tree.
    pub(super) fn note_consumer(&self, home: &Home, tree: &ObjectId, job: &JobKey) -> Result<(), StoreError> {
        let (slug, now) = (slug_of(home), self.now());
        let index = self.index()?;
        // Nobody else writes to the index meanwhile, nor to the file.
        index.at_once(|| {
            if index.has_consumed(&slug, tree, job.as_str())? {
                return index.consumed(&slug, tree, job.as_str(), now);
            }
            let path = disk::fan(&home.consumers(), &tree.to_string());
            let consumer = Consumer { job: job.as_str().to_owned(), at: now };
            match append(&path, &consumer) {
                Ok(Room::Enough) => {}
                Ok(Room::OlderHalfGone) => {
                    index.forget_consumers(&slug, tree)?;
                    tell(&index, &slug, tree, &path)?;
                }
                // What was restored is of use without it.
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "it could not be noted which job restored something")
                }
            }
            index.consumed(&slug, tree, job.as_str(), now)
        })
    }

    /// Has an index that is new know the consumers of everything that an owner has: of a tree at a time, so that others need not wait long.
    /// A file that cannot be read keeps nobody from using the store.
    pub(super) fn index_consumers(&self, home: &Home) -> Result<(), StoreError> {
        let Ok(paths) = disk::fanned(&home.consumers()) else { return Ok(()) };
        for path in paths {
            let Some(tree) = tree_of(&path) else { continue };
            let index = self.index()?;
            match index.at_once(|| tell(&index, &slug_of(home), &tree, &path)) {
                Err(error @ StoreError::File { .. }) => {
                    tracing::warn!(path = %path.display(), error = in_full(&error), "which jobs restored something is not known any more");
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Removes what is known of trees that are not among these, unless it is new.
    pub(super) fn forget_consumers_but(
        &self,
        home: &Home,
        trees: &HashSet<ObjectId>,
        age: std::time::Duration,
    ) -> Result<(), StoreError> {
        for path in disk::fanned(&home.consumers()).unwrap_or_default() {
            let modified = fs::metadata(&path).and_then(|file| file.modified());
            let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|old| old > age));
            if is_old && tree_of(&path).is_none_or(|tree| !trees.contains(&tree)) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }
}

fn tree_of(path: &Path) -> Option<ObjectId> {
    path.file_name()?.to_str()?.parse().ok()
}

fn tell(index: &Index, slug: &str, tree: &ObjectId, path: &Path) -> Result<(), StoreError> {
    let bytes = disk::read_small(path, MAX_FILE)?.unwrap_or_default();
    consumers(&bytes).try_for_each(|consumer| index.consumed(slug, tree, &consumer.job, consumer.at))
}

/// What the lines say. One that is cut or damaged says nothing.
fn consumers(bytes: &[u8]) -> impl Iterator<Item = Consumer> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

enum Room {
    Enough,
    OlderHalfGone,
}

fn append(path: &Path, consumer: &Consumer) -> io::Result<Room> {
    let mut line = serde_json::to_vec(consumer)?;
    line.push(b'\n');
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut file = File::options().create(true).append(true).read(true).open(path)?;
    let length = file.metadata()?.len();
    if length + line.len() as u64 <= MAX_FILE {
        // Half a line would take the next one with it.
        return file.write_all(&line).map(|()| Room::Enough).inspect_err(|_| drop(file.set_len(length)));
    }
    let mut all = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&file, MAX_FILE), &mut all)?;
    let middle = all.len() / 2;
    let kept = all[middle..].iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &all[middle + end + 1..]);
    let new = path.with_extension("new");
    fs::write(&new, [kept, line.as_slice()].concat())?;
    fs::rename(&new, path)?;
    Ok(Room::OlderHalfGone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_consumers_stays_small_and_has_the_last() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ab/file");
        let mut halved = 0;
        for n in 0..3000 {
            let consumer = Consumer { job: format!("job {n}"), at: jiff::Timestamp::UNIX_EPOCH };
            halved += usize::from(matches!(append(&path, &consumer).unwrap(), Room::OlderHalfGone));
            assert!(fs::metadata(&path).unwrap().len() <= MAX_FILE);
        }
        let jobs: Vec<String> = consumers(&fs::read(&path).unwrap()).map(|consumer| consumer.job).collect();
        assert!(halved > 0 && jobs.len() > 300, "{halved} {}", jobs.len());
        let last: Vec<String> = (3000 - jobs.len()..3000).map(|n| format!("job {n}")).collect();
        assert_eq!(jobs, last);
    }

    #[test]
    fn a_line_that_is_damaged_takes_no_other_with_it() {
        let consumer = |job: &str| {
            serde_json::to_string(&Consumer { job: job.to_owned(), at: jiff::Timestamp::UNIX_EPOCH }).unwrap()
        };
        let text = format!("{}\n{}\ngarbage\n{}", consumer("a"), &consumer("b")[3..], consumer("c"));
        assert_eq!(consumers(text.as_bytes()).map(|one| one.job).collect::<Vec<_>>(), ["a", "c"]);
    }
}
