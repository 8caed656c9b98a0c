//! What is to be kept, and as what.

use std::collections::BTreeMap;

use cap_std::fs::Dir;

use crate::artifact::Interrupt;
use crate::artifact::retention::Expiry;
use crate::artifact::store::{Files, Keep, Kept, Origin, Progress, PutOptions, Store, StoreError, What};
use crate::pipeline::{JobKey, Owner, PipelineJob};

/// What is to be known of something that is kept.
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) expires: Expiry,
    pub(super) producer: Option<JobKey>,
    /// The name of the job that made it.
    pub(super) job: String,
    pub(super) pipeline: Option<String>,
    pub(super) origin: Origin,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Wish {
    /// Keeps these files of `root` on this machine, all of them or none: another job takes them for all that there were.
    pub(super) fn put(
        self,
        store: &Store,
        owner: &Owner,
        root: &Dir,
        files: Files<'_>,
        interrupt: Interrupt,
    ) -> Result<Kept, StoreError> {
        store.put(&Keep {
            owner,
            what: What::Artifact { name: Some(self.name) },
            root,
            files,
            options: PutOptions { owners: true, xattrs: false, whole: true },
            expires: self.expires,
            producer: self.producer,
            job: Some(self.job),
            pipeline: self.pipeline,
            origin: Some(self.origin),
            metadata: self.metadata,
            interrupt,
            progress: &Progress::default(),
        })
    }
}

/// What the job's pipeline runs for: the same, run after run.
pub(super) fn runs_for(job: &PipelineJob) -> String {
    let variable = |name| Some(job.variables.value(name)).filter(|value| !value.is_empty());
    match (variable("CI_MERGE_REQUEST_IID"), variable("CI_COMMIT_TAG")) {
        (Some(number), _) => format!("merge request {number}"),
        (None, Some(tag)) => format!("tag {tag}"),
        (None, None) => format!("branch {}", job.sources.ref_name),
    }
}
