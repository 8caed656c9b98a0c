//! Whose an image is: one that needed credentials is used by another project only after the registry has accepted that
//! project's credentials for it. Images that nobody showed credentials for (public or built here) are free.
//!
//! The record is a small file beside the journal. A pull with credentials is noted by its reference before it begins
//! and by the image's id after it, so that a crash in between leaves no private image without a record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::executor::sandbox::docker::error::EngineError;
use crate::pipeline::Owner;

/// Which images were fetched with credentials, and by whom. Cheap to clone.
#[derive(Clone)]
pub struct ImageOwners {
    path: Arc<PathBuf>,
    record: Arc<Mutex<Kept>>,
}

/// The record and how often it was changed since it was read.
#[derive(Default)]
struct Kept {
    record: Record,
    changes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// By image id.
    images: BTreeMap<String, BTreeSet<Owner>>,
    /// References whose pull with credentials has begun; the image that bears the name may be theirs.
    pulling: BTreeMap<String, BTreeSet<Owner>>,
}

/// What the record says about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Anybody may use it.
    Free,
    /// This Owner has shown credentials for it, or reads what one wrote who has.
    Ours,
    /// Others have; the registry must be asked.
    Others,
}

impl ImageOwners {
    /// Reads the record at `path`; none there is an empty one. Blocking.
    ///
    /// # Errors
    /// The file cannot be read or is damaged. Then nothing is known about which images are private, and nothing may be
    /// assumed.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let failed = |message: String| EngineError::State {
            what: format!("reading the record of private images {}", path.display()),
            message,
        };
        let record = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                failed(format!("{error}; remove the file together with the images pulled with credentials"))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let kept = Kept { record, changes: 0 };
        Ok(Self { path: Arc::new(path.to_owned()), record: Arc::new(Mutex::new(kept)) })
    }

    /// What `owner` may do with the image `id` that `reference` names.
    pub fn claim(&self, id: &str, reference: &str, owner: &Owner) -> Claim {
        let kept = self.lock();
        let record = &kept.record;
        let of = |owners: &BTreeSet<Owner>| match owners.iter().any(|other| owner.may_read(other)) {
            true => Claim::Ours,
            false => Claim::Others,
        };
        match (record.images.get(id), record.pulling.get(reference)) {
            (Some(owners), _) => of(owners),
            (None, Some(owners)) => of(owners),
            (None, None) => Claim::Free,
        }
    }

    /// Notes that a pull of `reference` with `owner`'s credentials begins. Durable when it returns.
    pub async fn begin(&self, reference: &str, owner: &Owner) -> Result<(), EngineError> {
        let (reference, owner) = (reference.to_owned(), owner.clone());
        self.change(move |record| record.pulling.entry(reference).or_default().insert(owner)).await
    }

    /// Notes that the registry gave `id` as `reference` to `owner` for credentials. Durable when it returns.
    pub async fn pulled(&self, id: &str, reference: &str, owner: &Owner) -> Result<(), EngineError> {
        let (id, reference, owner) = (id.to_owned(), reference.to_owned(), owner.clone());
        self.change(move |record| {
            let ended = end(record, &reference, &owner);
            record.images.entry(id).or_default().insert(owner) || ended
        })
        .await
    }

    /// Notes that a pull of `reference` that [`ImageOwners::begin`] noted gave nothing.
    pub async fn failed(&self, reference: &str, owner: &Owner) -> Result<(), EngineError> {
        let (reference, owner) = (reference.to_owned(), owner.clone());
        self.change(move |record| end(record, &reference, &owner)).await
    }

    /// Notes that the registry gives `id` to anybody.
    pub async fn is_public(&self, id: &str) -> Result<(), EngineError> {
        let id = id.to_owned();
        self.change(move |record| record.images.remove(&id).is_some()).await
    }

    /// The state of the record before the engine's images are listed for [`ImageOwners::retain`].
    pub fn mark(&self) -> u64 {
        self.lock().changes
    }

    /// Forgets images that are not on the machine any more; `known` are the ids that are, listed after `mark` was taken.
    /// Does nothing where the record has changed since: an image pulled meanwhile is not in the list.
    pub async fn retain(&self, known: BTreeSet<String>, mark: u64) -> Result<(), EngineError> {
        self.change_unless(
            move |kept| kept.changes != mark,
            move |record| {
                let before = record.images.len();
                record.images.retain(|id, _| known.contains(id));
                record.images.len() != before
            },
        )
        .await
    }

    /// Changes the record and, if `change` says that anything changed, writes it.
    async fn change(&self, change: impl FnOnce(&mut Record) -> bool + Send + 'static) -> Result<(), EngineError> {
        self.change_unless(|_| false, change).await
    }

    async fn change_unless(
        &self,
        is_late: impl FnOnce(&Kept) -> bool + Send + 'static,
        change: impl FnOnce(&mut Record) -> bool + Send + 'static,
    ) -> Result<(), EngineError> {
        let this = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            // The lock is held over the write, so that files are replaced in the order of the changes.
            let mut kept = this.lock();
            if is_late(&kept) {
                return Ok(());
            }
            let mut next = kept.record.clone();
            if change(&mut next) {
                write_durably(&this.path, &next)?;
                *kept = Kept { record: next, changes: kept.changes + 1 };
            }
            Ok(())
        });
        let path = self.path.display();
        match written.await {
            Ok(written) => written.map_err(|error: std::io::Error| EngineError::State {
                what: format!("writing the record of private images {path}"),
                message: error.to_string(),
            }),
            Err(error) => Err(EngineError::State {
                what: format!("writing the record of private images {path}"),
                message: error.to_string(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic in another holder leaves the record as it was before its change.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(record: &mut Record, reference: &str, owner: &Owner) -> bool {
    let Some(owners) = record.pulling.get_mut(reference) else { return false };
    let ended = owners.remove(owner);
    if owners.is_empty() {
        record.pulling.remove(reference);
    }
    ended
}

fn write_durably(path: &Path, record: &Record) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, record)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{ForgeInstance, ProjectId, Trust};

    fn owner(project: &str, trust: Trust) -> Owner {
        Owner { forge: ForgeInstance::new("https://f"), project: ProjectId::new(project), trust }
    }

    #[tokio::test]
    async fn an_image_that_needed_credentials_belongs_to_those_who_showed_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.json");
        let owners = ImageOwners::open(&path).unwrap();
        let (ours, theirs) = (owner("1", Trust::Member), owner("2", Trust::Member));
        assert_eq!(owners.claim("sha256:a", "r/x:1", &ours), Claim::Free);
        owners.begin("r/x:1", &ours).await.unwrap();
        owners.pulled("sha256:a", "r/x:1", &ours).await.unwrap();

        let owners = ImageOwners::open(&path).unwrap();
        assert_eq!(owners.claim("sha256:a", "r/x:1", &ours), Claim::Ours);
        assert_eq!(owners.claim("sha256:a", "r/x:1", &owner("1", Trust::Fork)), Claim::Ours);
        assert_eq!(owners.claim("sha256:a", "r/x:1", &theirs), Claim::Others);
        assert_eq!(owners.claim("sha256:b", "r/x:1", &theirs), Claim::Free);
        owners.is_public("sha256:a").await.unwrap();
        assert_eq!(owners.claim("sha256:a", "r/x:1", &theirs), Claim::Free);
    }

    #[tokio::test]
    async fn a_crash_in_the_middle_of_a_pull_leaves_no_private_image_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.json");
        let ours = owner("1", Trust::Member);
        ImageOwners::open(&path).unwrap().begin("r/x:1", &ours).await.unwrap();

        let owners = ImageOwners::open(&path).unwrap();
        assert_eq!(owners.claim("sha256:new", "r/x:1", &owner("2", Trust::Member)), Claim::Others);
        assert_eq!(owners.claim("sha256:new", "r/x:1", &ours), Claim::Ours);
        owners.failed("r/x:1", &ours).await.unwrap();
        assert_eq!(owners.claim("sha256:new", "r/x:1", &owner("2", Trust::Member)), Claim::Free);
    }

    #[test]
    fn a_damaged_record_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.json");
        std::fs::write(&path, "{").unwrap();
        assert!(ImageOwners::open(&path).is_err());
    }
}
