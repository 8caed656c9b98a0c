//! That an engine was seen to share our folders, for programs that start often: asking it anew takes a container.
//!
//! It is remembered for an hour, for this engine since the machine's start, and for folders on the same file system as the
//! file that tells it. Where it has become wrong nevertheless, making the first container fails.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long it holds.
const HOLDS: Duration = Duration::from_secs(3600);

/// What was proved, and where that is remembered.
pub(super) struct Proof {
    file: PathBuf,
    words: String,
}

impl Proof {
    /// That the engine `engine` sees `folder`, remembered in `file`. `None`: it cannot be remembered. Blocking.
    pub(super) fn of(file: &Path, folder: &Path, engine: &str, boot_id: &str) -> Option<Self> {
        let (home, folder) = (fs::metadata(file.parent()?).ok()?, fs::metadata(folder).ok()?);
        // An engine without a name of its own is any engine.
        if engine.is_empty() || home.dev() != folder.dev() {
            return None;
        }
        let words = format!("{engine} {boot_id} {}:{}\n", home.dev(), home.ino());
        Some(Self { file: file.to_owned(), words })
    }

    /// Whether it was proved a short while ago. Blocking.
    pub(super) fn holds(&self) -> bool {
        let age = fs::metadata(&self.file).and_then(|file| file.modified()).ok();
        // One of the future is of a clock that was set back.
        let age = age.and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age < HOLDS) && fs::read_to_string(&self.file).is_ok_and(|text| text == self.words)
    }

    /// Remembers it. Only a saving: what goes wrong costs the next start some time. Blocking.
    pub(super) fn remember(&self) {
        let staged = self.file.with_extension(std::process::id().to_string());
        let written = fs::write(&staged, &self.words).and_then(|()| fs::rename(&staged, &self.file));
        if let Err(error) = written {
            tracing::debug!(%error, "it is not remembered that the engine sees our folders");
            let _ = fs::remove_file(&staged);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn it_holds_for_this_engine_this_boot_and_an_hour() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("shared");
        let of = |engine, boot_id| Proof::of(&file, home.path(), engine, boot_id).unwrap();
        assert!(!of("engine", "boot").holds());
        of("engine", "boot").remember();
        assert!(of("engine", "boot").holds());
        assert!(!of("other", "boot").holds() && !of("engine", "later").holds());
        let an_hour_ago = SystemTime::now() - HOLDS - Duration::from_secs(1);
        File::options().write(true).open(&file).unwrap().set_modified(an_hour_ago).unwrap();
        assert!(!of("engine", "boot").holds());
        assert!(Proof::of(&file, home.path(), "", "boot").is_none());
        assert!(Proof::of(&file, Path::new("/proc"), "engine", "boot").is_none(), "another file system");
    }
}
