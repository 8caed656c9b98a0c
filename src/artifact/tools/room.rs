//! How much of the disk tools may take. The store's quotas count what it wrote, compressed; unpacked a tool may be a thousand times
//! that, so that it has bounds of its own.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::PoisonError;

use super::view::View;
use super::{ToolCache, ToolError};
use crate::artifact::Remark;
use crate::artifact::store::Listed;

/// Bytes that one file or folder takes beside its content: what is left of its last block, and its place in the tree and in layers.
const ENTRY: u64 = 8192;

/// How much may be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of the disk that are left alone.
    pub(super) reserve: u64,
    /// Bytes of all tools that one owner's jobs are shown.
    pub(super) most: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { reserve: 1 << 30, most: 32 << 30 }
    }
}

/// Bytes that a tool takes when it is unpacked, rather too many than too few.
pub(super) fn bytes(found: &Listed) -> u64 {
    found.info.size.saturating_add(found.info.entries.saturating_mul(ENTRY))
}

/// Room on the disk that somebody is about to fill; as long as this lives nobody else is promised the same.
pub(super) struct Room<'a> {
    cache: &'a ToolCache,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut promised = self.cache.promised.lock().unwrap_or_else(PoisonError::into_inner);
        *promised = promised.saturating_sub(self.bytes);
    }
}

impl ToolCache {
    /// Room for so many bytes on the disk that `folder` is on. What other processes are about to write is not known.
    pub(super) fn room(&self, folder: &Path, bytes: u64) -> Result<Room<'_>, ToolError> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = rustix::fs::statvfs(folder);
        let disk = disk.map_err(|error| ToolError::file("looking at the disk of", folder, error))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(*promised);
        if free.saturating_sub(self.bounds.reserve) < bytes {
            let path = folder.to_owned();
            return Err(ToolError::NoRoom { needed: bytes, free, reserve: self.bounds.reserve, path });
        }
        *promised = promised.saturating_add(bytes);
        Ok(Room { cache: self, bytes })
    }

    /// What of a view lies here or can come to lie here, with words on the rest: tools that are known to be damaged, and those that were not
    /// used for longest where all are too many. It hangs on nothing that changes from job to job, so that these share a layer.
    pub(super) fn presentable(&self, view: &View) -> Result<(View, Vec<Remark>), ToolError> {
        let (mut shown, mut remarks, mut taken) = (View::default(), Vec::new(), 0u64);
        for (name, found) in view.by_use() {
            let left_out = |why: &str| Remark::warning(format!("the tool {name} is left out: {why}"));
            if !self.tree(found).is_dir() && self.is_damaged(found)? {
                remarks.push(left_out("what is kept of it is damaged; it is kept again when a job installs it"));
                continue;
            }
            let with_it = taken.saturating_add(bytes(found));
            if with_it > self.bounds.most {
                let most = mib(self.bounds.most);
                remarks.push(left_out(&format!("the tools of this job would take more than {most} MiB with it")));
                continue;
            }
            taken = with_it;
            shown.tools.insert(name.clone(), found.clone());
        }
        Ok((shown, remarks))
    }
}

impl View {
    /// Its tools, those that were used last first.
    pub(super) fn by_use(&self) -> Vec<(&super::ToolName, &Listed)> {
        let mut tools: Vec<_> = self.tools.iter().collect();
        tools.sort_by_key(|(name, found)| (Reverse(found.last_accessed), *name));
        tools
    }

    /// Bytes that all of them take when they are unpacked.
    pub(super) fn bytes(&self) -> u64 {
        self.tools.values().fold(0, |sum, found| sum.saturating_add(bytes(found)))
    }
}

/// For people.
pub(super) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
