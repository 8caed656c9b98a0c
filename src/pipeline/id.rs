//! Newtypes for the names by which forges, projects and jobs are known.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the name as the forge writes it.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name as the forge writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A job's id as its forge gives it, a number on GitLab. Unique within one [`ForgeInstance`] only.
    JobId
}
text_id! {
    /// A project (GitLab) or repository (the others) within one [`ForgeInstance`], by its numeric id.
    ProjectId
}
text_id! {
    /// One forge: its base URL without trailing slash, credentials, query or fragment.
    ForgeInstance
}
text_id! {
    /// What makes a job unique for this agent for ever, and is safe as a file name and as a label.
    ///
    /// Made of the forge instance, the job id and what tells one run of that id from the next (the job's
    /// token on GitLab, the run attempt on GitHub). The same id with another token is another job.
    JobKey
}

impl JobKey {
    /// The key of `job` at `forge`, told from other runs of the same id by `run` (a token or an attempt).
    ///
    /// `run` cannot be read back from the key.
    pub fn of(forge: &ForgeInstance, job: &JobId, run: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [forge.as_str(), job.as_str(), run] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hex::encode(hash.finalize());
        let id: String = job.as_str().chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        Self(format!("{id}-{}", &digest[..12]))
    }

    /// The job's number at its forge, as far as it is one: letters and digits alone, and no more than 20.
    pub fn forge_id(&self) -> &str {
        self.0.rsplit_once('-').map_or(&*self.0, |(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_with_another_token_is_another_job() {
        let forge = ForgeInstance::new("https://gitlab.example.com");
        let id = JobId::new("42");
        let first = JobKey::of(&forge, &id, "token-1");
        assert_eq!(first, JobKey::of(&forge, &id, "token-1"));
        assert_eq!(first.forge_id(), "42");
        assert_ne!(first, JobKey::of(&forge, &id, "token-2"));
        assert_ne!(first, JobKey::of(&ForgeInstance::new("https://other.example.com"), &id, "token-1"));
    }

    #[test]
    fn a_key_is_a_safe_file_name_whatever_the_forge_sends() {
        let key = JobKey::of(&ForgeInstance::new("x"), &JobId::new("../../etc/passwd\n"), "t");
        assert!(key.as_str().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{key}");
    }
}
