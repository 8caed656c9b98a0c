//! Folders that are only there because something lies in them.

use std::collections::BTreeSet;

/// Folders of a tree that no entry of its archive or manifest names: nobody said what mode and time they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unnamed {
    folders: BTreeSet<Vec<u8>>,
    bytes: usize,
    is_cut: bool,
}

impl Unnamed {
    /// Memory that they may take. An archive can name many deep paths in few bytes.
    const LIMIT: usize = 32 << 20;

    /// About what one takes besides its path.
    const EACH: usize = 64;

    /// One more, unless there are too many already.
    pub(in crate::artifact) fn add(&mut self, path: &[u8]) {
        let bytes = self.bytes + path.len() + Self::EACH;
        if bytes > Self::LIMIT {
            self.is_cut = true;
        } else if self.folders.insert(path.to_vec()) {
            self.bytes = bytes;
        }
    }

    /// An entry names it after all, or it is gone.
    pub(in crate::artifact) fn take(&mut self, path: &[u8]) {
        if self.folders.remove(path) {
            self.bytes = self.bytes.saturating_sub(path.len() + Self::EACH);
        }
    }

    /// Whether this is one of them.
    pub(in crate::artifact) fn has(&self, path: &[u8]) -> bool {
        self.folders.contains(path)
    }

    /// Whether none was left out because there are too many.
    pub fn is_complete(&self) -> bool {
        !self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_until_there_are_too_many() {
        let mut unnamed = Unnamed::default();
        unnamed.add(b"a");
        unnamed.add(b"a/b");
        unnamed.take(b"a");
        assert!(!unnamed.has(b"a") && unnamed.has(b"a/b") && unnamed.is_complete());
        let long = vec![b'x'; 1 << 20];
        (0..40_u8).for_each(|n| unnamed.add(&[&long[..], &[n]].concat()));
        assert!(!unnamed.is_complete());
        assert!(unnamed.bytes <= Unnamed::LIMIT);
    }
}
