//! The YAML of the root file, read before the rest is known.

use std::sync::{Arc, Mutex, PoisonError};

use super::load;
use crate::parser::document::{FileId, Node};

/// The root file's YAML, read while somebody else still finds out what a pipeline's variables are: big files take as long for that
/// as git for saying where a checkout stands. It serves once, for a file of the very same bytes.
#[derive(Clone, Debug)]
pub struct ReadAhead {
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    documents: Vec<Node>,
}

impl ReadAhead {
    /// `None` where it is no YAML: whoever reads it in its turn says what is wrong.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let documents = load::documents(load::ROOT, bytes)?;
        Some(Self { kept: Arc::new(Mutex::new(Some(Kept { bytes: bytes.to_owned(), documents }))) })
    }

    /// The documents, if `file` is the root and has these bytes.
    pub(super) fn take(&self, file: FileId, bytes: &[u8]) -> Option<Vec<Node>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = file == load::ROOT && kept.as_ref().is_some_and(|kept| kept.bytes == bytes);
        kept.take_if(|_| is_it).map(|kept| kept.documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_once_and_for_the_same_bytes_only() {
        let ahead = ReadAhead::of(b"a: 1").unwrap();
        assert!(ahead.take(FileId(0), b"a: 2").is_none());
        assert!(ahead.take(FileId(1), b"a: 1").is_none());
        assert_eq!(ahead.take(FileId(0), b"a: 1").map(|documents| documents.len()), Some(1));
        assert!(ahead.take(FileId(0), b"a: 1").is_none());
        assert!(ReadAhead::of(b"a: [").is_none());
        assert!(ReadAhead::of(b"a: \xff").is_none());
    }
}
