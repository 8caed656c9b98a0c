//! `hashFiles`: the files of a job's work tree, opened by handle, links not followed.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use crate::parser::expression::FileHasher;

/// Files that a work tree may have before `hashFiles` gives up on it.
const MOST: usize = 1_000_000;

/// A work tree.
pub(super) struct TreeHasher {
    root: io::Result<Dir>,
}

impl TreeHasher {
    /// The tree at `root`, a folder of this machine.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: Dir::open_ambient_dir(root, ambient_authority()) }
    }

    fn root(&self) -> Result<&Dir, String> {
        self.root.as_ref().map_err(|error| format!("the work tree cannot be opened: {error}"))
    }
}

impl FileHasher for TreeHasher {
    fn files(&self) -> Result<Arc<[String]>, String> {
        let words = |error: io::Error| format!("the work tree cannot be listed: {error}");
        let mut found = Vec::new();
        let mut open = vec![(self.root()?.try_clone().map_err(words)?, String::new())];
        while let Some((folder, prefix)) = open.pop() {
            for entry in folder.entries().map_err(words)? {
                let entry = entry.map_err(words)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = format!("{prefix}{name}");
                let kind = entry.file_type().map_err(words)?;
                if kind.is_dir() {
                    open.push((entry.open_dir().map_err(words)?, format!("{path}/")));
                } else if kind.is_file() {
                    found.push(path);
                }
                if found.len() > MOST {
                    return Err(format!("the work tree has more than {MOST} files"));
                }
            }
        }
        Ok(found.into())
    }

    fn sha256(&self, path: &str) -> Result<[u8; 32], String> {
        let words = |error: io::Error| format!("{path} cannot be read: {error}");
        let mut file = self.root()?.open(path).map_err(words)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(words)? {
                0 => return Ok(digest.finalize().into()),
                read => digest.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    }
}
