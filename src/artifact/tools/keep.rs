//! Keeping what a job installed.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cap_std::fs::Dir;

use super::found::{self, Found, Unfit};
use super::lay::JobTools;
use super::lock::{self, How};
use super::view::KIND;
use super::{ToolCache, ToolError, ToolName};
use crate::artifact::retention::{Expiry, Withdrawal};
use crate::artifact::select::Selection;
use crate::artifact::store::{Files, Keep, Kept, Listed, Progress, PutOptions, StoreError, What};
use crate::artifact::{Interrupt, Remark, beneath, fingerprint, in_full};
use crate::pipeline::{JobKey, Owner, Trust};

/// Tools that one job may add.
pub(super) const MAX_NEW: usize = 100;

/// A wish to keep what a job installed. The job has succeeded.
#[derive(Clone, Debug)]
pub struct Keeping<'a> {
    /// On whose behalf.
    pub owner: &'a Owner,
    /// Which job.
    pub job: &'a JobKey,
    /// What it is called.
    pub job_name: &'a str,
    /// The folder that its tools were laid in.
    pub folder: &'a Path,
    /// What it had been given.
    pub tools: &'a JobTools,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

impl ToolCache {
    /// Keeps the tools that are new in a job's folder, each as a whole, for later jobs of its owner and those that may read from it. What a
    /// fork's job installed is not kept: jobs of all forks have one owner, and would run each other's tools.
    ///
    /// A tool that is kept already stays as it is. Returns what the user should read.
    ///
    /// # Errors
    /// Nothing more can be kept: the store cannot be used, or the work was asked to end.
    pub fn keep(&self, keeping: &Keeping<'_>) -> Result<Vec<Remark>, ToolError> {
        let root = keeping.tools.open(keeping.folder)?;
        let is_fork = keeping.owner.trust == Trust::Fork;
        let most = if is_fork { 1 } else { MAX_NEW + 1 };
        let found = found::look(&root, &keeping.tools.given, most, &keeping.interrupt);
        let Found { mut complete, incomplete, is_cut } = found.map_err(|_| ToolError::Interrupted)?;
        if is_fork {
            let words = "Tools are not kept for later jobs: this one is of a fork";
            return Ok(complete.first().map(|_| Remark::note(words)).into_iter().collect());
        }
        let mut remarks = Vec::new();
        for name in incomplete.iter().take(MAX_NEW) {
            let words = format!("The tool {name} is not kept: there is no file {} beside it", name.marker());
            remarks.push(Remark::note(words));
        }
        if complete.len() > MAX_NEW {
            remarks.push(Remark::warning(format!("Only {MAX_NEW} of the new tools are kept: one job may add no more")));
            complete.truncate(MAX_NEW);
        } else if is_cut {
            let words = "Not everything in the folder of the tools was looked at: there is too much in it";
            remarks.push(Remark::warning(words));
        }
        for name in complete {
            let path = name.above().join(name.arch());
            match beneath::folder_nofollow(&root, path.as_os_str().as_bytes()) {
                Ok(folder) => remarks.push(self.keep_one(keeping, &name, &folder)?),
                Err(error) => {
                    remarks
                        .push(Remark::warning(format!("The tool {name} is not kept: it cannot be opened ({error})")));
                }
            }
        }
        Ok(remarks)
    }

    fn keep_one(&self, keeping: &Keeping<'_>, name: &ToolName, folder: &Dir) -> Result<Remark, ToolError> {
        let not_kept = |why: &dyn std::fmt::Display| Remark::warning(format!("The tool {name} is not kept: {why}"));
        let selection = match found::everything(folder, &keeping.interrupt) {
            Ok(selection) => selection,
            Err(Unfit::Interrupted) => return Err(ToolError::Interrupted),
            Err(unfit) => return Ok(not_kept(&unfit)),
        };
        // Of two jobs that install the same tool, one comes second.
        let file = self.root.join("keeping").join(keeping.owner.slug());
        let _held = lock::take(&file, How::Exclusive, &keeping.interrupt)?;
        let there = self.view(keeping.owner)?.tools.remove(name);
        let there = match there {
            Some(there) if self.is_damaged(&there)? => None,
            there => there,
        };
        let what = What::Artifact { name: there.is_none().then(|| name.stored()) };
        let kept = match self.put(keeping, what, folder, &selection) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(not_kept(&"something of the job changed it while it was read")),
            Err(StoreError::Interrupted) => return Err(ToolError::Interrupted),
            Err(error) => return Ok(not_kept(&in_full(&error))),
        };
        let Some(there) = there else {
            let words = "files and folders";
            return Ok(Remark::note(format!("Kept the tool {name} for later jobs: {} {words}", kept.put.entries)));
        };
        // Put without a name, only to know what it is.
        self.store.forget_name(keeping.owner, &kept.key, Withdrawal::Compared)?;
        Ok(compared(name, &there, &kept))
    }

    /// `None`: what would be kept is not what is there.
    fn put(
        &self,
        keeping: &Keeping<'_>,
        what: What,
        root: &Dir,
        selection: &Selection,
    ) -> Result<Option<Kept>, StoreError> {
        let before = fingerprint(root, selection);
        let kept = self.store.put(&Keep {
            owner: keeping.owner,
            what,
            root,
            files: Files::Selected(selection),
            options: PutOptions::default(),
            expires: Expiry::None,
            producer: Some(keeping.job.clone()),
            job: Some(keeping.job_name.to_owned()),
            pipeline: None,
            origin: None,
            metadata: BTreeMap::from([(KIND.0.to_owned(), KIND.1.to_owned())]),
            interrupt: keeping.interrupt.clone(),
            progress: &Progress::default(),
        })?;
        let is_whole = kept.put.entries == selection.entries.len() as u64 && fingerprint(root, selection) == before;
        if !is_whole {
            self.store.forget_name(keeping.owner, &kept.key, Withdrawal::Changed)?;
        }
        Ok(is_whole.then_some(kept))
    }
}

fn compared(name: &ToolName, there: &Listed, kept: &Kept) -> Remark {
    if there.info.content_id == kept.put.content_id {
        return Remark::note(format!("The tool {name} is kept already, with the same content"));
    }
    let by = there.info.job.as_deref().unwrap_or("another job");
    Remark::warning(format!(
        "The tool {name} is not kept: another job ({by}) installed it first, with other content; that one stays"
    ))
}
