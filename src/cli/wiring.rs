//! Where the rooms meet: the one file of the command line that names the forges, sandboxes and executors there are.

use super::forge_calls::{ForgeCalls, Removal, RunnerWishes, TokenVerdict};
use super::run::Premises;
use super::{Verdict, render};
use crate::config::{CredentialRecord, RegistrationConfig};

/// The forges of this build.
pub struct Forges;

/// What a build without any forge says.
const NONE: &str = "this build of forgehand speaks to no forge";

impl ForgeCalls for Forges {
    async fn register(&self, _: &RegistrationConfig, _: &RunnerWishes) -> Result<CredentialRecord, String> {
        Err(NONE.to_owned())
    }

    async fn verify(&self, _: &RegistrationConfig, _: &CredentialRecord) -> TokenVerdict {
        TokenVerdict::Unknown(NONE.to_owned())
    }

    async fn unregister(&self, _: &RegistrationConfig, _: &CredentialRecord, _: Removal) -> Result<(), String> {
        Err(NONE.to_owned())
    }
}

/// Runs an agent that serves the forges of this build, by handing [`super::run::serve`] its parts.
pub async fn serve(_premises: Premises) -> Verdict {
    render::failed(&NONE, Verdict::Environment)
}

/// The checks of `doctor` that need a forge or the engine's own room.
pub fn checks(
    _config: &crate::config::Config,
    _locations: &crate::config::Locations,
) -> Vec<Box<dyn super::doctor::Check>> {
    Vec::new()
}
