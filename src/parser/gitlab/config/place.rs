//! Where a check is, for messages.

use std::fmt;

/// A key in the keys above it, up to the job or the top of the file.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    key: &'a str,
    is_job: bool,
}

impl<'a> At<'a> {
    /// A key at the top of the file.
    pub fn top(key: &'a str) -> Self {
        Self { parent: None, key, is_job: false }
    }

    /// A job.
    pub fn job(name: &'a str) -> Self {
        Self { parent: None, key: name, is_job: true }
    }

    /// A key below this.
    pub fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At { parent: Some(self), key, is_job: false }
    }

    fn path(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent.filter(|parent| !parent.is_job) {
            parent.path(out)?;
            out.write_str(":")?;
        }
        out.write_str(self.key)
    }

    fn owner(&self) -> Option<&str> {
        match self.parent {
            _ if self.is_job => Some(self.key),
            Some(parent) => parent.owner(),
            None => None,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(job) = self.owner() {
            write!(out, "job `{job}`")?;
            if self.is_job {
                return Ok(());
            }
            out.write_str(": ")?;
        }
        out.write_str("`")?;
        self.path(out)?;
        out.write_str("`")
    }
}
