//! What a repository consisted of when we last left it, kept where no job can reach it.
//!
//! A job may write anything into `.git`. Instead of looking for what is bad there, the next job of the same owner gets
//! only what this record knows: packs that were not touched since (inode, size, times: a job cannot set a file's change
//! time), refs, the shallow boundary, and the index, from our own copies. Everything else goes. No record, no reuse.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat, Timespec};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;

/// The form of the record; others are not read.
const VERSION: u32 = 1;

/// A repository with more files than this is not worth recording.
const FILE_LIMIT: usize = 100_000;

/// The largest index that is kept; a million files have about 100 MB.
const INDEX_LIMIT: u64 = 1 << 30;

/// The largest record; ours alone, but nothing is read without a limit.
const RECORD_LIMIT: u64 = 256 << 20;

/// What we left in a work tree's repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TreeRecord {
    version: u32,
    /// `sha1` or `sha256`.
    pub object_format: String,
    /// The work tree's own first, then those of submodules, outer ones before inner ones.
    pub repositories: Vec<RepositoryRecord>,
}

/// What we left in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RepositoryRecord {
    /// Where it is, relative to `.git`; empty for the work tree's own.
    pub path: PathBuf,
    /// The submodule's folder, relative to the work tree; empty for the work tree itself.
    pub worktree: PathBuf,
    /// The commit that was checked out.
    pub head: String,
    /// Lines `OBJECT REF`.
    pub refs: String,
    /// Content of `shallow`.
    pub shallow: Option<String>,
    /// The remote, without credentials.
    pub origin: Option<String>,
    /// Whether objects were left out on purpose.
    pub is_partial: bool,
    /// Files of objects, relative to the repository.
    pub files: BTreeMap<PathBuf, Identity>,
    /// When the index was written; git compares files' times with it.
    pub index_time: Option<(i64, u32)>,
}

/// What tells a file from one that was changed or put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    inode: u64,
    size: i64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Identity {
    /// The identity of a regular file with one name; others have none.
    pub fn of(stat: &Stat) -> Option<Self> {
        let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
        is_plain.then(|| Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        })
    }

    /// Whether a change right after this look could go unnoticed, since it would get the same time.
    fn is_fresh(&self, now: Timespec) -> bool {
        /// More than the coarsest clock of a kernel, 10 ms.
        const GRAIN_NANOSECONDS: i128 = 20_000_000;
        let nanoseconds = |(seconds, rest): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        nanoseconds((now.tv_sec, now.tv_nsec)) - nanoseconds((self.changed.0, i64::from(self.changed.1)))
            < GRAIN_NANOSECONDS
    }
}

fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(0)
}

impl TreeRecord {
    /// A record of these repositories.
    pub fn new(object_format: &str, repositories: Vec<RepositoryRecord>) -> Self {
        Self { version: VERSION, object_format: object_format.to_owned(), repositories }
    }
}

/// Where the record of one work tree is kept, with the copies of its indexes.
pub(super) struct RecordFolder {
    path: PathBuf,
}

impl RecordFolder {
    /// The record of the work tree at `project_dir`, below `root`, a folder of the same owner.
    pub fn of(root: &Path, project_dir: &Path) -> Self {
        let name = hex::encode(&Sha256::digest(project_dir.as_os_str().as_encoded_bytes())[..12]);
        Self { path: root.join(name) }
    }

    /// Takes the record out, so that a crash from here on leaves none. `None` where there is none that can be used.
    pub fn take(&self) -> Option<TreeRecord> {
        let file = self.path.join("record.json");
        let content = read_limited(&file, RECORD_LIMIT).ok()?;
        std::fs::remove_file(&file).ok()?;
        let record: TreeRecord = serde_json::from_slice(&content).ok()?;
        (record.version == VERSION).then_some(record)
    }

    /// The copy of the index of the repository with this number.
    pub fn index(&self, number: usize) -> PathBuf {
        self.path.join(format!("index-{number}"))
    }

    /// Keeps the record; the copies of the indexes were made before.
    pub fn put(&self, record: &TreeRecord) -> io::Result<()> {
        let content = serde_json::to_vec(record).map_err(io::Error::other)?;
        let temporary = self.path.join("record.new");
        std::fs::write(&temporary, content)?;
        std::fs::rename(temporary, self.path.join("record.json"))
    }

    /// Makes an empty folder for a new record.
    pub fn renew(&self) -> io::Result<()> {
        self.forget()?;
        std::fs::create_dir_all(&self.path)
    }

    /// Removes record and copies.
    pub fn forget(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies the index of a repository out of it. Returns when it was written; `None` where there is none.
    pub fn keep_index(&self, git: &Folder, number: usize) -> io::Result<Option<(i64, u32)>> {
        let Some(index) = git.open_regular("index".as_ref())? else { return Ok(None) };
        let stat = rustix::fs::fstat(&index)?;
        if stat.st_size < 0 || stat.st_size as u64 > INDEX_LIMIT {
            return Ok(None);
        }
        let mut copy = std::fs::File::create(self.index(number))?;
        io::copy(&mut io::Read::take(index, INDEX_LIMIT), &mut copy)?;
        Ok(Some((stat.st_mtime, nanoseconds(stat.st_mtime_nsec))))
    }
}

/// The identities of all files of objects in a repository; `None` where there is something that git does not make, or a
/// file so fresh that a later change could look the same.
pub(super) fn identities(git: &Folder) -> io::Result<Option<BTreeMap<PathBuf, Identity>>> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let mut found = BTreeMap::new();
    for part in KEPT {
        if let Some(folder) = git.folder(part)?
            && !gather(&folder, Path::new(part), 0, now, &mut found)?
        {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// Folders of a repository whose files are kept: objects, and those of git-lfs.
pub(super) const KEPT: &[&str] = &["objects", "lfs"];

/// Deeper than git and git-lfs go.
const DEPTH_LIMIT: usize = 6;

fn gather(
    folder: &Folder,
    path: &Path,
    depth: usize,
    now: Timespec,
    found: &mut BTreeMap<PathBuf, Identity>,
) -> io::Result<bool> {
    if depth > DEPTH_LIMIT {
        return Ok(false);
    }
    for entry in folder.entries(FILE_LIMIT)? {
        let path = path.join(&entry.name);
        if is_derived(&path) {
            continue;
        }
        match folder.folder(&entry.name)? {
            Some(inner) if entry.kind == FileType::Directory => {
                if !gather(&inner, &path, depth + 1, now, found)? {
                    return Ok(false);
                }
            }
            _ => match folder.stat(&entry.name)?.as_ref().and_then(Identity::of) {
                Some(identity) if !identity.is_fresh(now) && found.len() < FILE_LIMIT => {
                    found.insert(path, identity);
                }
                _ => return Ok(false),
            },
        }
    }
    Ok(true)
}

/// What git can make again, and would believe if it were there: commit graphs, alternates, pack indexes of many packs,
/// all of git-lfs but its objects.
pub(super) fn is_derived(path: &Path) -> bool {
    let is_info = path.starts_with("objects/info");
    let is_lfs = path.starts_with("lfs/") && path != Path::new("lfs") && !path.starts_with("lfs/objects");
    is_info || is_lfs || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("multi-pack-index"))
}

/// The folder of a submodule as its repository's configuration names it (`core.worktree`, relative to the repository),
/// relative to the work tree. `None` where it leads elsewhere.
pub(super) fn worktree_of(repository: &Path, configured: &str) -> Option<PathBuf> {
    let mut parts: Vec<Component<'_>> = Vec::new();
    let base = Path::new(".git").join(repository);
    for part in base.components().chain(Path::new(configured).components()) {
        match part {
            Component::Normal(_) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let path: PathBuf = parts.into_iter().collect();
    let is_inside = path.components().next().is_some_and(|first| first.as_os_str() != ".git");
    is_inside.then_some(path)
}

/// Reads a file of ours.
pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodules_folder_is_inside_the_work_tree_or_nowhere() {
        let of = |repository: &str, configured: &str| worktree_of(Path::new(repository), configured);
        assert_eq!(of("modules/lib", "../../../lib"), Some(PathBuf::from("lib")));
        assert_eq!(of("modules/a/modules/b", "../../../../../a/b"), Some(PathBuf::from("a/b")));
        for outside in ["../../../../etc", "/etc", "../../..", "../../hooks", "."] {
            assert_eq!(of("modules/lib", outside), None, "{outside}");
        }
    }

    #[test]
    fn a_file_that_was_changed_or_exchanged_has_another_identity() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pack");
        std::fs::write(&path, "aaaa").expect("written");
        let folder = Folder::open(dir.path()).expect("opened");
        let identity = || Identity::of(&folder.stat("pack").expect("asked").expect("there"));
        let before = identity().expect("a plain file");
        let modified = std::fs::metadata(&path).expect("there").modified().expect("a time");

        // The same size, and the time of the last change set back: the kernel's change time tells.
        std::fs::write(dir.path().join("new"), "bbbb").expect("written");
        std::fs::rename(dir.path().join("new"), &path).expect("renamed");
        std::fs::File::open(&path).expect("opened").set_modified(modified).expect("set");
        assert_ne!(identity(), Some(before));
        std::fs::hard_link(&path, dir.path().join("second")).expect("linked");
        assert_eq!(identity(), None, "a file with two names can be changed by the other");
    }
}
