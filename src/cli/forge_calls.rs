//! The calls at a forge that a registration is made, checked and removed with.

use std::future::Future;

use crate::config::{CredentialRecord, RegistrationConfig};
use crate::pipeline::Secret;

/// What becomes of a registration whose token was shown to its forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// The forge knows it.
    Good,
    /// The forge does not know it (any more), in its own words.
    Refused(String),
    /// The forge knows it, but gives it no jobs, in its own words.
    Idle(String),
    /// The forge did not say; nothing follows from that.
    Unknown(String),
}

/// How much a removal removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// This machine; others with the same token stay.
    ThisMachine,
    /// The runner with all its machines.
    Runner,
}

/// What is told to a forge that makes a runner itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerWishes {
    /// The token that the user gave: a runner's, or one that makes runners.
    pub token: Secret,
    /// The name shown to people.
    pub name: String,
    /// Labels (GitLab: tags) of the jobs to take.
    pub labels: Vec<String>,
    /// What tells this machine from others.
    pub system_id: String,
}

/// The forges, as the command line needs them. Each call has its deadlines; an error is one sentence that says what
/// failed, where, and what to do.
pub trait ForgeCalls {
    /// What is wrong with a wish by itself, before anybody is asked.
    fn objection(&self, token: &Secret, labels: &[String]) -> Option<String>;

    /// Makes a registration; the answer holds the token to keep.
    fn register(
        &self,
        registration: &RegistrationConfig,
        wishes: &RunnerWishes,
    ) -> impl Future<Output = Result<CredentialRecord, String>>;

    /// Shows a token to its forge.
    fn verify(
        &self,
        registration: &RegistrationConfig,
        record: &CredentialRecord,
    ) -> impl Future<Output = TokenVerdict>;

    /// Removes a registration at its forge. What is not there any more counts as removed.
    fn unregister(
        &self,
        registration: &RegistrationConfig,
        record: &CredentialRecord,
        removal: Removal,
    ) -> impl Future<Output = Result<(), String>>;
}

#[cfg(test)]
pub(crate) mod fakes {
    //! Forges that say what the test wants.

    use super::*;

    /// Takes the token `good`, and no other.
    pub struct OneGoodToken;

    impl ForgeCalls for OneGoodToken {
        fn objection(&self, _: &Secret, labels: &[String]) -> Option<String> {
            labels.iter().any(|label| label == "never").then(|| "no such label".to_owned())
        }

        async fn register(
            &self,
            registration: &RegistrationConfig,
            wishes: &RunnerWishes,
        ) -> Result<CredentialRecord, String> {
            if wishes.token.expose() != "good" {
                return Err(format!("{} does not know this token", registration.url));
            }
            Ok(CredentialRecord {
                token: wishes.token.clone(),
                runner_id: Some(7),
                obtained_at: jiff::Timestamp::UNIX_EPOCH,
                expires_at: None,
                system_id: wishes.system_id.clone(),
            })
        }

        async fn verify(&self, _: &RegistrationConfig, record: &CredentialRecord) -> TokenVerdict {
            match record.token.expose() {
                "good" => TokenVerdict::Good,
                "slow" => TokenVerdict::Unknown("no answer".into()),
                _ => TokenVerdict::Refused("403".into()),
            }
        }

        async fn unregister(
            &self,
            _: &RegistrationConfig,
            record: &CredentialRecord,
            _: Removal,
        ) -> Result<(), String> {
            if record.token.expose() == "slow" { Err("no answer".into()) } else { Ok(()) }
        }
    }

    /// A place for a configuration with these registrations and tokens.
    pub fn house(registrations: &[(&str, &str)]) -> (tempfile::TempDir, crate::config::Locations) {
        let folder = tempfile::tempdir().unwrap();
        let locations = crate::config::Locations {
            config_file: folder.path().join("forgehand.toml"),
            state_dir: folder.path().join("state"),
        };
        let mut text = String::from("# mine\nconcurrent = 2\n");
        let credentials = crate::config::Credentials::open(&locations.state_dir).unwrap();
        for (name, token) in registrations {
            text += &format!("\n[[registration]]\nname = \"{name}\"\nurl = \"https://gitlab.example.com\"\n");
            let record = CredentialRecord {
                token: (*token).into(),
                runner_id: None,
                obtained_at: jiff::Timestamp::UNIX_EPOCH,
                expires_at: None,
                system_id: "s_1".into(),
            };
            credentials.put(name, &record).unwrap();
        }
        std::fs::write(&locations.config_file, text).unwrap();
        (folder, locations)
    }
}
