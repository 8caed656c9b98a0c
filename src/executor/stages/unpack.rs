//! Unpacking a downloaded archive into the work tree, and keeping on this machine what it had.
//!
//! It is unpacked in the job's private folder first, which nothing of a job can reach: what is kept is what the forge sent, whatever runs
//! in the job's containers already. From there it is moved into the work tree, all of it or nothing.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::artifacts::{archive_failure, disk, given_up, open_project};
use super::kept_here::Keeper;
use super::sources::remove_tree;
use crate::artifact::archive::{self, ArchiveError, Unpacked, Unpacking};
use crate::artifact::{Interrupt, merge};
use crate::pipeline::JobFailure;
use crate::pipeline::definition::JobDirs;

/// What is needed to unpack one archive.
pub(super) struct Unpack {
    pub(super) archive: PathBuf,
    /// Where it is unpacked first, in the job's private folder.
    pub(super) staging: PathBuf,
    pub(super) workspace: PathBuf,
    pub(super) dirs: JobDirs,
    pub(super) keeper: Keeper,
}

impl Unpack {
    /// Puts what the archive has into the work tree, and removes the archive.
    pub(super) fn run(&self, interrupt: &Interrupt) -> Result<Unpacked, JobFailure> {
        let root = open_project(&self.workspace, &self.dirs)?;
        let staged = self.by_way_of_staging(&root, interrupt);
        // Both best effort: the job's private folder goes with the job.
        if let Err(error) = remove_tree(&self.staging) {
            tracing::warn!(%error, "what was unpacked of an archive stays until the job's end");
        }
        let unpacked = match staged? {
            Some(unpacked) => unpacked,
            None => self.unpack(&root, interrupt)?.0,
        };
        let _ = std::fs::remove_file(&self.archive);
        Ok(unpacked)
    }

    /// `None`: it does not work that way here.
    fn by_way_of_staging(&self, root: &Dir, interrupt: &Interrupt) -> Result<Option<Unpacked>, JobFailure> {
        let staging = match fresh(&self.staging, root) {
            Ok(Some(staging)) => staging,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "an archive is unpacked into the work tree at once, and not kept on this machine");
                return Ok(None);
            }
        };
        let (mut unpacked, archive_size) = match self.try_unpack(&staging, interrupt)? {
            // In place, files that are there already give way to those that come.
            Err(ArchiveError::NoSpace { .. }) => return Ok(None),
            done => done.map_err(|error| unusable(&error))?,
        };
        if !unpacked.unnamed.is_complete() {
            tracing::info!(
                "an archive has too many folders that it does not name: it is unpacked in place, and not kept"
            );
            return Ok(None);
        }
        self.keeper.keep(&staging, archive_size, &unpacked, interrupt);
        if interrupt.is_raised() {
            return Err(given_up());
        }
        match merge::move_into(&staging, root, &unpacked.unnamed) {
            Ok(remarks) => {
                unpacked.remarks.extend(remarks);
                Ok(Some(unpacked))
            }
            // A folder of an earlier job's user, perhaps: what can be unpacked in place is.
            Err(error) => {
                tracing::warn!(%error, "what was unpacked cannot be moved into the work tree; it is unpacked there");
                Ok(None)
            }
        }
    }

    /// Unpacks it into `to`; what it brought, and bytes of the archive.
    fn unpack(&self, to: &Dir, interrupt: &Interrupt) -> Result<(Unpacked, u64), JobFailure> {
        self.try_unpack(to, interrupt)?.map_err(|error| unusable(&error))
    }

    fn try_unpack(&self, to: &Dir, interrupt: &Interrupt) -> Result<Result<(Unpacked, u64), ArchiveError>, JobFailure> {
        let unreadable = |error: io::Error| disk("a downloaded archive cannot be read", &error);
        let mut file = File::open(&self.archive).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let unpacking = Unpacking { interrupt: interrupt.clone(), ..Unpacking::default() };
        Ok(archive::unpack_with(&mut file, to, &unpacking).map(|unpacked| (unpacked, size)))
    }
}

fn unusable(error: &ArchiveError) -> JobFailure {
    archive_failure("the downloaded archive cannot be unpacked", error)
}

/// Makes the folder anew. `None`: it lies on another file system than `root`, so that nothing can be moved there.
fn fresh(staging: &Path, root: &Dir) -> io::Result<Option<Dir>> {
    remove_tree(staging)?;
    DirBuilder::new().mode(0o700).create(staging)?;
    let there = rustix::fs::fstat(root)?.st_dev;
    if std::fs::metadata(staging)?.dev() != there {
        return Ok(None);
    }
    Dir::open_ambient_dir(staging, ambient_authority()).map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::Arc;

    use super::*;
    use crate::artifact::archive::Level;
    use crate::artifact::retention::Expiry;
    use crate::artifact::select;
    use crate::artifact::store::{Limits, Listed, Progress, Store, Wanted};
    use crate::pipeline::definition::{ArtifactFormat, FileSelection};
    use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

    struct Bench {
        temp: tempfile::TempDir,
        store: Arc<Store>,
        /// Entries of the archive.
        entries: u64,
        size: u64,
    }

    fn owner(trust: Trust) -> Owner {
        Owner { forge: ForgeInstance::new("https://forge.example"), project: ProjectId::new("1"), trust }
    }

    fn dir(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).unwrap()
    }

    impl Bench {
        /// An archive, and a work tree that has some of its folders.
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let made = temp.path().join("made");
            fs::create_dir_all(made.join("deep/in")).unwrap();
            fs::create_dir_all(made.join("named")).unwrap();
            fs::write(made.join("deep/in/file"), "content").unwrap();
            fs::write(made.join("named/run"), "run").unwrap();
            symlink("run", made.join("named/link")).unwrap();
            fs::set_permissions(made.join("deep/in/file"), fs::Permissions::from_mode(0o640)).unwrap();
            fs::set_permissions(made.join("named"), fs::Permissions::from_mode(0o750)).unwrap();
            let files = FileSelection { paths: vec!["deep/in/file".into(), "named".into()], ..Default::default() };
            let selection = select::select(&dir(&made), "/p", &files, Vec::new()).unwrap();
            let mut archive = File::create(temp.path().join("archive")).unwrap();
            let (format, level) = (ArtifactFormat::Zip, Level::Default);
            let packed = archive::pack(&dir(&made), &selection, format, level, &mut archive).unwrap();
            for folder in ["private", "builds/p/deep", "builds/p/named"] {
                fs::create_dir_all(temp.path().join(folder)).unwrap();
            }
            fs::set_permissions(temp.path().join("builds/p/deep"), fs::Permissions::from_mode(0o711)).unwrap();
            let limits = Limits { reserve_bytes: 0, ..Limits::default() };
            let store = Store::open(&temp.path().join("store"), limits, None, Arc::new(jiff::Timestamp::now)).unwrap();
            Self { temp, store: Arc::new(store), entries: packed.entries, size: packed.bytes }
        }

        /// Unpacks the archive for a job of this trust, to which the forge says that it has so many bytes.
        fn unpack(&self, trust: Trust, size: u64) -> Result<Unpacked, JobFailure> {
            self.unpack_until(trust, size, &Interrupt::default())
        }

        fn unpack_until(&self, trust: Trust, size: u64, interrupt: &Interrupt) -> Result<Unpacked, JobFailure> {
            let path = |name| self.temp.path().join(name);
            fs::copy(path("archive"), path("private/download")).unwrap();
            let dirs = JobDirs {
                builds: "/builds".into(),
                project: "/builds/p".into(),
                temp: "/builds/p.tmp".into(),
                also_at: None,
                tool_cache: None,
            };
            let unpack = Unpack {
                archive: path("private/download"),
                staging: path("private/unpacked"),
                workspace: path("builds"),
                dirs,
                keeper: Keeper::test(self.store.clone(), owner(trust), size),
            };
            unpack.run(interrupt)
        }

        fn kept_for(&self, trust: Trust) -> Option<Listed> {
            self.store.find(&owner(trust), &Wanted::Named("41/out.zip".into())).unwrap()
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_unpacked_is_kept_as_the_archive_has_it() {
        let bench = Bench::new();
        let unpacked = bench.unpack(Trust::Member, bench.size).unwrap();
        assert_eq!((unpacked.entries, unpacked.remarks.as_slice()), (bench.entries, [].as_slice()));
        let tree = bench.temp.path().join("builds/p");
        assert_eq!(fs::read_to_string(tree.join("deep/in/file")).unwrap(), "content");
        assert_eq!(mode(&tree.join("deep")), 0o711, "the archive does not name it");
        assert_eq!(mode(&tree.join("named")), 0o750);
        assert_eq!(fs::read_dir(bench.temp.path().join("private")).unwrap().count(), 0, "nothing is left there");

        let kept = bench.kept_for(Trust::Member).unwrap();
        assert_eq!(kept.info.entries, bench.entries, "folders that the archive does not name are not kept");
        assert_eq!((kept.info.job.as_deref(), kept.info.producer.as_ref()), (Some("make"), None));
        assert_eq!((kept.info.expires, kept.consumers.len()), (Expiry::None, 1));
        let into = tempfile::tempdir().unwrap();
        let (progress, interrupt) = (Progress::default(), Interrupt::default());
        bench
            .store
            .restore(&kept.info.owner, &kept.info.content_hash, &dir(into.path()), &progress, &interrupt)
            .unwrap();
        for name in ["deep/in/file", "named", "named/run", "named/link"] {
            let (one, other) = (tree.join(name), into.path().join(name));
            let (one, other) = (one.symlink_metadata().unwrap(), other.symlink_metadata().unwrap());
            assert_eq!((one.mode(), one.mtime(), one.uid()), (other.mode(), other.mtime(), other.uid()), "{name}");
        }
        assert_eq!(fs::read_link(into.path().join("named/link")).unwrap(), Path::new("run"));

        bench.unpack(Trust::Member, bench.size).unwrap();
        assert_eq!(bench.store.list(None).unwrap().len(), 1, "the same again is the same");
    }

    #[test]
    fn only_those_that_may_see_what_the_downloading_job_sees_find_it() {
        for (trust, sees) in [
            (Trust::Fork, [true, false, false]),
            (Trust::Member, [true, true, false]),
            (Trust::Protected, [true, true, true]),
        ] {
            let bench = Bench::new();
            bench.unpack(trust, bench.size).unwrap();
            let found = [Trust::Fork, Trust::Member, Trust::Protected].map(|reader| bench.kept_for(reader).is_some());
            assert_eq!(found, sees, "{trust}");
        }
    }

    #[test]
    fn what_is_not_what_the_forge_says_is_not_kept() {
        let bench = Bench::new();
        bench.unpack(Trust::Member, bench.size + 1).unwrap();
        assert!(bench.temp.path().join("builds/p/named/run").exists(), "the job gets it all the same");
        assert!(bench.kept_for(Trust::Member).is_none());
    }

    #[test]
    fn a_damaged_archive_leaves_the_work_tree_as_it_was() {
        let bench = Bench::new();
        let path = bench.temp.path().join("archive");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(9).rposition(|window| window == b"named/run").unwrap();
        // The checksum in the directory, 30 bytes before the name.
        bytes[at - 30] ^= 1;
        fs::write(&path, bytes).unwrap();
        bench.unpack(Trust::Member, bench.size).unwrap_err();
        assert!(!bench.temp.path().join("builds/p/deep/in").exists());
        assert!(bench.kept_for(Trust::Member).is_none());
        assert!(!bench.temp.path().join("private/unpacked").exists());
    }

    #[test]
    fn a_job_that_is_told_to_stop_keeps_nothing() {
        let bench = Bench::new();
        let interrupt = Interrupt::default();
        interrupt.raise();
        bench.unpack_until(Trust::Member, bench.size, &interrupt).unwrap_err();
        assert!(!bench.temp.path().join("builds/p/deep/in").exists());
        assert!(bench.kept_for(Trust::Member).is_none());
        assert!(!bench.temp.path().join("private/unpacked").exists());
    }
}
