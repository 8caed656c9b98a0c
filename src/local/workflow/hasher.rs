//! `hashFiles`: the files of a job's work tree, opened by handle. Links to files of the tree count, others do not.

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
pub(super) struct TreeHasher<'a> {
    root: io::Result<Dir>,
    /// Its path, as the job's processes see it.
    workspace: &'a str,
}

impl<'a> TreeHasher<'a> {
    /// The tree at `root`, a folder of this machine, which the job knows as `workspace`.
    pub(super) fn new(root: &Path, workspace: &'a str) -> Self {
        Self { root: Dir::open_ambient_dir(root, ambient_authority()), workspace }
    }

    /// Whether a link leads to a file of the tree. Those that lead out of it are none.
    fn leads_to_a_file(&self, path: &str) -> bool {
        self.root.as_ref().is_ok_and(|root| root.metadata(path).is_ok_and(|meta| meta.is_file()))
    }

    fn root(&self) -> Result<&Dir, String> {
        self.root.as_ref().map_err(|error| format!("the work tree cannot be opened: {error}"))
    }
}

impl FileHasher for TreeHasher<'_> {
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
                } else if kind.is_file() || kind.is_symlink() && self.leads_to_a_file(&path) {
                    found.push(path);
                }
                if found.len() > MOST {
                    return Err(format!("the work tree has more than {MOST} files"));
                }
            }
        }
        Ok(found.into())
    }

    fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String> {
        let words = |error: io::Error| format!("{path} cannot be read: {error}");
        let mut file = self.root()?.open(path).map_err(words)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(words)? {
                0 => return Ok(Some(digest.finalize().into())),
                read => digest.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    fn workspace(&self) -> Option<&str> {
        Some(self.workspace).filter(|workspace| !workspace.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::expression::hash_files;

    #[cfg(unix)]
    #[test]
    fn links_to_files_of_the_tree_count_and_others_do_not() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::NamedTempFile::new().unwrap();
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/a.lock"), "1").unwrap();
        let files = TreeHasher::new(tree.path(), "/builds/p");
        let one = hash_files(["**"], &files).unwrap();
        for (name, to) in [("folder", at("d")), ("out.lock", outside.path().into()), ("broken", "nowhere".into())] {
            symlink(to, at(name)).unwrap();
        }
        assert_eq!(hash_files(["**"], &files).unwrap(), one);
        assert_eq!(hash_files(["/builds/p/d/*.lock"], &files).unwrap(), one);
        symlink("d/a.lock", at("link.lock")).unwrap();
        assert_ne!(hash_files(["**"], &files).unwrap(), one);
    }
}
