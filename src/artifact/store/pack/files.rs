//! The files of packs that are open. A store has any number of packs and a process a limited number of files: few of them are open at the
//! same time, whoever reads. And what an error of reading one says: that the pack is damaged, or nothing about it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;

/// Packs that are open in this process, besides those that are just being read from.
const OPEN: usize = 32;

/// Those that are open, the one that was opened first at the front.
static OPENED: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

/// Where the file of a pack is kept while it is open. Dropped with the pack, it is closed.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Arc<File>>>);

impl Slot {
    /// The file, opened where it is not open.
    pub(super) fn open(self: &Arc<Self>, path: &Path) -> io::Result<Arc<File>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(file) = known {
            return Ok(file);
        }
        let file = Arc::new(File::open(path)?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&file));
        self.close_others();
        Ok(file)
    }

    /// Closes those that were opened first, where there are too many.
    fn close_others(self: &Arc<Self>) {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|slot| slot.strong_count() > 0);
        opened.push_back(Arc::downgrade(self));
        while opened.len() > OPEN {
            if let Some(slot) = opened.pop_front().and_then(|slot| slot.upgrade()) {
                *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    }
}

/// What an error of reading a pack says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Trouble {
    /// What was read is not what was written, or there is no file.
    Wrong,
    /// The disk does not give the bytes back. Perhaps it does another time.
    Unreadable,
    /// Nothing: there was no memory, no file could be opened any more, it was forbidden.
    Elsewhere,
}

impl Trouble {
    pub(in super::super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => Self::Wrong,
            _ => match Errno::from_io_error(error) {
                // The last two: a file system's own checksums.
                Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN) => Self::Unreadable,
                _ => Self::Elsewhere,
            },
        }
    }

    /// Whether the pack is to blame.
    pub(in super::super) fn is_damage(self) -> bool {
        self != Self::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn only_what_the_pack_is_to_blame_for_is_damage() {
        let of = |errno: Errno| Trouble::of(&errno.into());
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::PERM, Errno::LOOP, Errno::STALE] {
            assert_eq!(of(errno), Trouble::Elsewhere, "{errno:?}");
        }
        assert_eq!((of(Errno::IO), of(Errno::NOENT)), (Trouble::Unreadable, Trouble::Wrong));
        assert_eq!(Trouble::of(&io::ErrorKind::UnexpectedEof.into()), Trouble::Wrong);
    }

    #[test]
    fn few_files_are_open_and_each_is_read_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..OPEN * 3).map(|n| temp.path().join(n.to_string())).collect();
        for path in &paths {
            std::fs::write(path, path.to_str().unwrap()).unwrap();
        }
        let slots: Vec<Arc<Slot>> = paths.iter().map(|_| Arc::default()).collect();
        for _ in 0..2 {
            for (slot, path) in slots.iter().zip(&paths) {
                let (file, expected) = (slot.open(path).unwrap(), path.to_str().unwrap().as_bytes());
                let mut found = vec![0; expected.len()];
                file.read_exact_at(&mut found, 0).unwrap();
                assert_eq!(found, expected);
                let open = slots.iter().filter(|slot| slot.0.lock().unwrap().is_some()).count();
                assert!(open <= OPEN, "{open} files are open");
            }
        }
    }
}
