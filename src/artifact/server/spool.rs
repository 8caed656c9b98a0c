//! Files on the disk that are no entries yet, or copies of entries for those who fetch them: bounded, and gone when nobody needs them.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::{Refusal, disk};

/// A folder that goes with whoever holds it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one below `parent`, which only we can read.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(uuid::Uuid::new_v4().simple().to_string());
        make(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: the folder above goes with the server.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets go of what has files on a thread for it: removing many takes its time.
pub(super) fn discard<T: Send + 'static>(thing: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(thing))),
        Err(_) => drop(thing),
    }
}

/// Something that requests share. Where one is the last that holds it, it is let go of on another thread.
pub(super) struct Held<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Held<T> {
    pub(super) fn new(thing: Arc<T>) -> Self {
        Self(Some(thing))
    }

    /// It, for as long as this holds it.
    pub(super) fn get(&self) -> Result<&T, Refusal> {
        self.0.as_deref().ok_or(Refusal::Over)
    }
}

impl<T: Send + Sync + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(last) = self.0.take().and_then(Arc::into_inner) {
            discard(last);
        }
    }
}

/// Makes a folder that only we can read, with those above it.
pub(super) fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Bytes that may be taken.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(most: u64) -> Self {
        Self { most, used: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that were taken; given back when it goes.
#[derive(Debug)]
pub(super) struct Hold {
    budgets: Vec<Arc<Budget>>,
    bytes: u64,
}

impl Hold {
    /// Nothing yet of these.
    pub(super) fn of(budgets: Vec<Arc<Budget>>) -> Self {
        Self { budgets, bytes: 0 }
    }

    /// Holds at least `bytes` from now on. False: there are not so many, and it is as before.
    pub(super) fn raise(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        for (at, budget) in self.budgets.iter().enumerate() {
            if !budget.take(more) {
                self.budgets.iter().take(at).for_each(|taken| taken.give_back(more));
                return false;
            }
        }
        self.bytes += more;
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budgets.iter().for_each(|budget| budget.give_back(self.bytes));
    }
}

/// Refuses where the disk of `folder` has no more than `reserve` bytes beside `bytes`. Blocking.
pub(super) fn check_room(folder: &Path, bytes: u64, reserve: u64) -> Result<(), Refusal> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| disk("looking at the disk", &error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < bytes.saturating_add(reserve) {
        return Err(Refusal::NoRoom(format!(
            "the disk for cache entries has {free} bytes left, and {reserve} of them are kept free"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_by_each_and_given_back() {
        let (job, all) = (Arc::new(Budget::new(10)), Arc::new(Budget::new(15)));
        let both = || vec![Arc::clone(&job), Arc::clone(&all)];
        let (mut one, mut other) = (Hold::of(both()), Hold::of(vec![Arc::new(Budget::new(10)), Arc::clone(&all)]));
        assert!(one.raise(8) && one.raise(3), "it holds as many already");
        assert!(!one.raise(11) && one.raise(10));
        assert!(!other.raise(6) && other.raise(5));
        assert!(!other.raise(u64::MAX));
        drop(one);
        assert!(other.raise(10));
        assert_eq!((job.used.load(Ordering::Relaxed), all.used.load(Ordering::Relaxed)), (0, 10));
    }

    #[test]
    fn a_disk_that_is_to_be_left_alone_takes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        assert!(check_room(temp.path(), 1, 0).is_ok());
        assert!(matches!(check_room(temp.path(), 1, u64::MAX), Err(Refusal::NoRoom(_))));
    }
}
