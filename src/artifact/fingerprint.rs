//! Whether files are as they were a moment ago.

use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::beneath;
use super::select::Selection;

/// A hash over what the file system says of files without opening them: names, kinds, modes, sizes, times of change and of status
/// change. Two that are equal, one taken before and one after something read the files, mean that it read what they are, unless
/// somebody writes several times within a tick of the clock.
pub fn fingerprint(root: &Dir, selection: &Selection) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut near: Option<(&[u8], std::io::Result<Dir>)> = None;
    for entry in &selection.entries {
        let path = entry.path.as_os_str().as_bytes();
        let (folder, name) = beneath::split(path);
        if near.as_ref().is_none_or(|(known, _)| *known != folder) {
            near = Some((folder, beneath::folder_within(root, folder)));
        }
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        let stat = near.as_ref().and_then(|(_, dir)| beneath::stat(dir.as_ref().ok()?, name).ok());
        // What is gone again hashes as such.
        let facts = stat.map_or([0; 8], |s| {
            let (mode, ino) = (i64::from(s.st_mode), s.st_ino as i64);
            [mode, ino, s.st_size, s.st_mtime, s.st_mtime_nsec as i64, s.st_ctime, s.st_ctime_nsec as i64, 1]
        });
        hash.update(facts.map(i64::to_le_bytes).concat());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::select;
    use crate::pipeline::definition::FileSelection;

    #[test]
    fn a_change_shows_even_where_size_and_time_are_the_same() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "one").unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let files = FileSelection { paths: vec!["**".into()], ..FileSelection::default() };
        let selection = select::select(&root, "/p", &files, Vec::new()).unwrap();
        let before = fingerprint(&root, &selection);
        assert_eq!(fingerprint(&root, &selection), before);
        let time = std::fs::metadata(temp.path().join("a")).unwrap().modified().unwrap();
        std::fs::write(temp.path().join("b"), "two").unwrap();
        std::fs::rename(temp.path().join("b"), temp.path().join("a")).unwrap();
        std::fs::File::open(temp.path().join("a")).unwrap().set_modified(time).unwrap();
        assert_ne!(fingerprint(&root, &selection), before);
    }
}
