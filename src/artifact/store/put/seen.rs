//! What was put from a folder before: files that the file system proves to be unchanged are not read again.
//!
//! Device, inode, size, time of change and of status change must be the same, and the status must not have changed shortly before it
//! was looked at: a file that is written twice within a tick of the clock does not show it.
//!
//! ```text
//! "fhseen\0\1", then for each file: length of the beginning of its path that the one before has, too (2), length of the rest (2), the
//! rest, a hash of what the file system says (16), id (32); SHA-256 of what comes before (32)
//! ```
//!
//! Where there is a key: "fhseen\0\2", a salt (16), and all of the above encrypted, since it names files.

use std::path::PathBuf;

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};

use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::seal::{SALT, StoreKey};
use super::super::session::Session;

/// The first bytes ...
const MAGIC: [u8; 8] = *b"fhseen\0\x01";
/// ... of a file that is encrypted.
const SEALED: [u8; 8] = *b"fhseen\0\x02";
const FACTS: usize = 16;

/// Bytes of such a file, at most: a tree of more files is read again.
const LIMIT: usize = 16 << 20;

/// Bytes of what stands around the entries, encrypted or not.
const ENDS: usize = 128;

/// How long before a look the status must have changed last. The clock of file systems ticks 100 times a second or more often.
const TICK: i128 = 100_000_000;

/// What the file system says of a file, hashed: it is only compared.
pub(super) type Facts = [u8; FACTS];

/// The facts of a file: device, inode, size, time of change and of status change.
pub(super) fn facts(stat: &Stat) -> Facts {
    let (mtime, ctime) = (stat.st_mtime as u64, stat.st_ctime as u64);
    let (mtime_nanos, ctime_nanos) = (stat.st_mtime_nsec, stat.st_ctime_nsec);
    let numbers = [stat.st_dev, stat.st_ino, stat.st_size as u64, mtime, mtime_nanos, ctime, ctime_nanos];
    let hash: [u8; 32] = Sha256::digest(numbers.map(u64::to_le_bytes).as_flattened()).into();
    let [facts, _] = hash.as_chunks::<FACTS>().0 else { return [0; FACTS] };
    *facts
}

/// Whether the file's status changed long enough before `now` (nanoseconds since 1970) for its facts to prove something.
pub(super) fn is_settled(stat: &Stat, now: i128) -> bool {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec) < now - TICK
}

/// What was put from a folder before.
pub(super) struct Seen {
    path: PathBuf,
    old: Vec<u8>,
    at: usize,
    /// The path of the entry before.
    before: Vec<u8>,
}

/// An entry that is looked at.
struct Entry {
    path: Vec<u8>,
    known: Known,
    end: usize,
}

/// What was known of one file.
#[derive(Clone)]
pub(super) struct Known {
    facts: Facts,
    pub(super) id: ObjectId,
}

impl Known {
    /// Whether the file is as it was.
    pub(super) fn proves(&self, stat: &Stat) -> bool {
        self.facts == facts(stat)
    }
}

impl Seen {
    /// What was put from the folder that `root` is the status of. Nothing, where that is lost or damaged.
    pub(super) fn load(home: &Home, root: &Stat, key: Option<&StoreKey>) -> Result<Self, StoreError> {
        let folder = ObjectId::of(&[root.st_dev.to_le_bytes(), root.st_ino.to_le_bytes()].concat());
        let path = home.seen().join(folder.to_string());
        let bytes = disk::read_small(&path, LIMIT as u64)?.unwrap_or_default();
        let mut old = match key {
            None => bytes,
            Some(key) => unsealed(&bytes, key)?.unwrap_or_default(),
        };
        let body = match old.split_last_chunk::<32>() {
            Some((body, hash)) if body.starts_with(&MAGIC) && Sha256::digest(body)[..] == *hash => body.len(),
            _ => 0,
        };
        old.truncate(body);
        Ok(Self { path, old, at: MAGIC.len(), before: Vec::new() })
    }

    /// Believes nothing of it.
    pub(super) fn forget(&mut self) {
        self.old.clear();
    }

    /// What is known of the file at `path`. Paths must be asked for in order.
    pub(super) fn find(&mut self, path: &[u8]) -> Option<Known> {
        loop {
            let Entry { path: known_path, known, end } = self.entry()?;
            let order = known_path.as_slice().cmp(path);
            if order == std::cmp::Ordering::Greater {
                return None;
            }
            (self.at, self.before) = (end, known_path);
            if order == std::cmp::Ordering::Equal {
                return Some(known);
            }
        }
    }

    fn entry(&self) -> Option<Entry> {
        let (lengths, rest) = self.old.get(self.at..)?.split_first_chunk::<4>()?;
        let [a, b, c, d] = *lengths;
        let (shared, length) = (usize::from(u16::from_le_bytes([a, b])), usize::from(u16::from_le_bytes([c, d])));
        let path = [self.before.get(..shared)?, rest.get(..length)?].concat();
        let (facts, rest) = rest.get(length..)?.split_first_chunk::<FACTS>()?;
        let (id, _) = rest.split_first_chunk::<32>()?;
        let known = Known { facts: *facts, id: ObjectId::from_bytes(*id) };
        Some(Entry { path, known, end: self.at + 4 + length + FACTS + 32 })
    }

    /// Keeps what is known now, where that is something else.
    pub(super) fn save(self, new: SeenWriter, session: &Session, key: Option<&StoreKey>) -> Result<(), StoreError> {
        let mut bytes = new.bytes;
        if bytes.len() > LIMIT - ENDS || bytes == self.old || (bytes.len() == MAGIC.len() && self.old.is_empty()) {
            return Ok(());
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        if let Some(key) = key {
            let salt: [u8; SALT] = rand::random();
            key.for_seen(&salt)?.seal_frame(0, &mut bytes)?;
            bytes.splice(..0, SEALED.into_iter().chain(salt));
        }
        // Nothing hangs on it: what is not whole after a loss of power is not believed.
        let fail = |e| StoreError::file("writing", &self.path, e);
        let temporary = session.new_file();
        std::fs::write(&temporary, &bytes).map_err(fail)?;
        std::fs::create_dir_all(self.path.parent().unwrap_or(&self.path)).map_err(fail)?;
        std::fs::rename(&temporary, &self.path).map_err(fail)
    }
}

/// The content of an encrypted file. `None`: it is none, or of another key.
fn unsealed(file: &[u8], key: &StoreKey) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((salt, sealed)) = file.strip_prefix(&SEALED).and_then(|rest| rest.split_first_chunk::<SALT>()) else {
        return Ok(None);
    };
    let mut bytes = sealed.to_vec();
    Ok(key.for_seen(salt)?.open_frame(0, &mut bytes).map(|()| bytes))
}

/// What is known now.
pub(super) struct SeenWriter {
    bytes: Vec<u8>,
    before: Vec<u8>,
}

impl SeenWriter {
    pub(super) fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), before: Vec::new() }
    }

    /// Takes the next file, in the order of the paths.
    pub(super) fn push(&mut self, path: &[u8], facts: &Facts, id: &ObjectId) {
        // Beyond the limit nothing is kept; so nothing more has to be remembered either.
        if self.bytes.len() > LIMIT {
            return;
        }
        let shared = path.iter().zip(&self.before).take_while(|(a, b)| a == b).count();
        // Paths are shorter than that.
        let lengths = (u16::try_from(shared), u16::try_from(path.len() - shared));
        let (Ok(shared_length), Ok(length)) = lengths else { return };
        self.bytes.extend_from_slice(&shared_length.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&path[shared..]);
        self.before.clear();
        self.before.extend_from_slice(path);
        self.bytes.extend_from_slice(facts);
        self.bytes.extend_from_slice(id.as_bytes());
    }
}
