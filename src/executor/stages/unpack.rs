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
use crate::artifact::archive::{self, Unpacked, Unpacking};
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
        if let Err(error) = remove(&self.staging) {
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
        let (mut unpacked, archive_size) = self.unpack(&staging, interrupt)?;
        if !unpacked.unnamed.is_complete() {
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
        let unreadable = |error: io::Error| disk("a downloaded archive cannot be read", &error);
        let mut file = File::open(&self.archive).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let unpacking = Unpacking { interrupt: interrupt.clone(), ..Unpacking::default() };
        let unpacked = archive::unpack_with(&mut file, to, &unpacking)
            .map_err(|error| archive_failure("the downloaded archive cannot be unpacked", &error))?;
        Ok((unpacked, size))
    }
}

/// Makes the folder anew. `None`: it lies on another file system than `root`, so that nothing can be moved there.
fn fresh(staging: &Path, root: &Dir) -> io::Result<Option<Dir>> {
    remove(staging)?;
    DirBuilder::new().mode(0o700).create(staging)?;
    let there = rustix::fs::fstat(root)?.st_dev;
    if std::fs::metadata(staging)?.dev() != there {
        return Ok(None);
    }
    Dir::open_ambient_dir(staging, ambient_authority()).map(Some)
}

fn remove(staging: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(staging) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
