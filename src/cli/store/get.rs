//! `forgehand store get`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::{self, Extent};
use super::{House, folder};
use crate::artifact::store::StoreError;
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store get`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  forgehand store get app-1.2.0 ./out\n  forgehand store get 3f9a1c07 ./out\n\n\
                  Where DEST is absent, it gets its name when all of it is there and proved; in an empty folder everything is moved to its \
                  place then. After a failure DEST is as it was.")]
pub struct GetArgs {
    /// The id, its first 8 digits or more, or the name (of several the newest).
    #[arg(value_name = "ID|NAME")]
    what: String,
    /// The folder to restore into: absent or empty.
    dest: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &GetArgs, house: &House) -> Result<Verdict, StoreError> {
    let found = house.find(&args.what)?;
    let target = Target::take(&args.dest)?;
    let staging = folder(target.staging.path())?;
    let got = progress::shown(house, "restoring", Extent::Bytes(found.info.size), |progress| {
        let (owner, id) = (&found.info.owner, &found.info.content_hash);
        house.store.restore(owner, id, &staging, progress, &house.interrupt)
    })?;
    target.settle()?;
    house.store.used(&found, None)?;
    if args.json {
        let printed = serde_json::json!({
            "id": got.id, "entries": got.entries, "bytes": got.bytes, "path": args.dest.to_string_lossy(),
        });
        return Ok(render::json(&printed));
    }
    Ok(Verdict::Success)
}

/// Where it is restored to, and the folder that it is restored in first.
struct Target {
    dest: PathBuf,
    staging: tempfile::TempDir,
    /// The folder was there, empty: what is restored is moved into it.
    is_there: bool,
}

impl Target {
    fn take(dest: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::File { doing: "making", path: dest.to_owned(), source };
        match fs::read_dir(dest) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(StoreError::Occupied { path: dest.to_owned() });
                }
                // It may be a mount, or be reached through a link: it stays what it is.
                let staging = tempfile::Builder::new().prefix(".forgehand-").tempdir_in(dest).map_err(fail)?;
                return Ok(Self { dest: dest.to_owned(), staging, is_there: true });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(dest).is_err() => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(StoreError::Occupied { path: dest.to_owned() });
            }
            Err(error) => return Err(fail(error)),
        }
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(fail)?;
        let staging = tempfile::Builder::new().prefix(".forgehand-").tempdir_in(parent).map_err(fail)?;
        Ok(Self { dest: dest.to_owned(), staging, is_there: false })
    }

    /// Has everything where it belongs.
    fn settle(self) -> Result<(), StoreError> {
        let fail = |source| StoreError::File { doing: "renaming", path: self.dest.clone(), source };
        if self.is_there {
            return self.move_into().map_err(fail);
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let staging = self.staging.keep();
        let renamed = fs::set_permissions(&staging, mode).and_then(|()| fs::rename(&staging, &self.dest));
        if renamed.is_err() {
            // Nothing is left behind, as before.
            let _ = fs::remove_dir_all(&staging);
        }
        renamed.map_err(fail)
    }

    /// Moves what was restored up into the folder. What cannot be goes back.
    fn move_into(&self) -> io::Result<()> {
        let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
        // All of them are known before the first one goes: a listing may miss some when others leave meanwhile.
        let entries = fs::read_dir(self.staging.path())?.collect::<io::Result<Vec<_>>>()?;
        for entry in entries {
            let (from, to) = (entry.path(), self.dest.join(entry.file_name()));
            let renamed = match fs::symlink_metadata(&to) {
                // Somebody made it meanwhile.
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(&from, &to),
            };
            if let Err(error) = renamed {
                for (from, to) in moved {
                    // It goes with the folder that it came from.
                    let _ = fs::rename(to, from);
                }
                return Err(error);
            }
            moved.push((from, to));
        }
        Ok(())
    }
}
