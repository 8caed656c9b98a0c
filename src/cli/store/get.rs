//! `forgehand store get`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{House, folder, progress};
use crate::artifact::store::StoreError;
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store get`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  forgehand store get app-1.2.0 ./out\n  forgehand store get 3f9a1c07 ./out\n\n\
                  Restored beside DEST and renamed when all of it is there and proved; after a failure DEST is as it was.")]
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
    let got = progress::shown(house, "restoring", Some(found.info.size), |progress| {
        let (owner, id) = (&found.info.owner, &found.info.content_hash);
        house.store.restore(owner, id, &staging, progress, &house.interrupt)
    })?;
    target.settle()?;
    house.store.used(&found, None)?;
    if args.json {
        let printed = serde_json::json!({
            "id": got.id, "entries": got.entries, "bytes": got.bytes, "path": args.dest,
        });
        return Ok(render::json(&printed));
    }
    Ok(Verdict::Success)
}

/// Where it is restored to, and the folder beside it that becomes it.
struct Target {
    dest: PathBuf,
    staging: tempfile::TempDir,
}

impl Target {
    fn take(dest: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::File { doing: "making", path: dest.to_owned(), source };
        match fs::read_dir(dest) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(StoreError::Occupied { path: dest.to_owned() });
                }
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
        Ok(Self { dest: dest.to_owned(), staging })
    }

    /// Gives the folder its name. One that is there and empty gives way, and leaves its mode.
    fn settle(self) -> Result<(), StoreError> {
        let fail = |source| StoreError::File { doing: "renaming", path: self.dest.clone(), source };
        let mode = match fs::metadata(&self.dest) {
            Ok(there) => there.permissions(),
            Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o755),
        };
        let staging = self.staging.keep();
        let renamed = fs::set_permissions(&staging, mode).and_then(|()| fs::rename(&staging, &self.dest));
        if renamed.is_err() {
            // Nothing is left behind, as before.
            let _ = fs::remove_dir_all(&staging);
        }
        renamed.map_err(fail)
    }
}
