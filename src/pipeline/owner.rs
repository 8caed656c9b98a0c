//! On whose behalf a job runs.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::{ForgeInstance, ProjectId};

/// How far a project trusts the ref that a job was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// A change from outside the project: a fork's merge or pull request.
    Fork,
    /// A ref of the project itself that any member may push to.
    Member,
    /// A protected ref: who may push to it is restricted, and protected secrets are given to it.
    Protected,
}

/// Whom a job belongs to. Computed once from the assignment.
///
/// Everything shared between jobs (images, git mirror, workspace, store references, caches, networks) takes an
/// `Owner`: what a job leaves is kept under its own, and [`Owner::may_read`] is asked before another's is handed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The forge that handed out the job.
    pub forge: ForgeInstance,
    /// The project the job runs in.
    pub project: ProjectId,
    /// How far the project trusts the ref.
    pub trust: Trust,
}

impl Owner {
    /// Whether a job of `self` may see what a job of `writer` left behind.
    ///
    /// Never across projects or forges. Inside a project trust flows down only: a fork's job reads what the base
    /// wrote, the base never reads what a fork wrote; protected reads only protected.
    pub fn may_read(&self, writer: &Owner) -> bool {
        self.same_project(writer) && writer.trust >= self.trust
    }

    /// Whether both are of one project at one forge, whatever their trust.
    pub fn same_project(&self, other: &Owner) -> bool {
        self.forge == other.forge && self.project == other.project
    }

    /// A name for this owner that is safe in file names and labels: 16 hex digits, different for each owner.
    pub fn slug(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.forge.as_str(), self.project.as_str(), &self.trust.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex::encode(&hash.finalize()[..8])
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::Fork => "fork",
            Trust::Member => "member",
            Trust::Protected => "protected",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(project: &str, trust: Trust) -> Owner {
        Owner { forge: ForgeInstance::new("https://f"), project: ProjectId::new(project), trust }
    }

    #[test]
    fn trust_flows_down_only() {
        let (fork, member, protected) =
            (owner("1", Trust::Fork), owner("1", Trust::Member), owner("1", Trust::Protected));
        assert!(fork.may_read(&member) && fork.may_read(&protected) && fork.may_read(&fork));
        assert!(member.may_read(&protected) && !member.may_read(&fork));
        assert!(!protected.may_read(&member) && !protected.may_read(&fork));
    }

    #[test]
    fn projects_and_forges_are_strangers() {
        let here = owner("1", Trust::Member);
        assert!(!here.may_read(&owner("2", Trust::Protected)));
        let elsewhere = Owner { forge: ForgeInstance::new("https://g"), ..here.clone() };
        assert!(!here.may_read(&elsewhere));
        assert_ne!(here.slug(), elsewhere.slug());
    }
}
