//! Where the rooms meet: the one file of the command line that names the forges, sandboxes and executors there are.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::forge_calls::{ForgeCalls, Removal, RunnerWishes, TokenVerdict};
use super::run::Premises;
use super::{Verdict, render};
use crate::agent::engines::Engines;
use crate::agent::registrar::{self, ConfiguredRegistrar};
use crate::agent::slot::ExecutorRunner;
use crate::config::{CredentialRecord, Credentials, RegistrationConfig};
use crate::executor::sandbox::shim::ShimBinary;
use crate::executor::stages::sources::{GitProgram, Mirrors};
use crate::forge::detect;
use crate::forge::gitlab::register::{self, RegisterOptions, Unregister, Verified};
use crate::outbound::Outbound;
use crate::state::StateDir;

/// Where programs are looked for when the environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A pace nobody polls at: these calls do not poll.
const NO_POLL: Duration = Duration::from_secs(3);

/// The forges of this build.
pub struct Forges<'a> {
    /// The state directory, for what the network needs there.
    pub state_dir: &'a Path,
}

impl ForgeCalls for Forges<'_> {
    async fn register(
        &self,
        registration: &RegistrationConfig,
        wishes: &RunnerWishes,
    ) -> Result<CredentialRecord, String> {
        let outbound = self.outbound(registration)?;
        let known = detect::by_token(wishes.token.expose());
        match known {
            Some(forge) => detect::supported(forge, &registration.url).map_err(|error| error.to_string())?,
            None => {
                detect::detect(&outbound, &registration.url, &wishes.token).await.map_err(|error| error.to_string())?
            }
        };
        let record = CredentialRecord {
            token: wishes.token.clone(),
            runner_id: None,
            obtained_at: jiff::Timestamp::now(),
            expires_at: None,
            system_id: wishes.system_id.clone(),
        };
        let settings = registrar::gitlab_settings(registration, &record, &outbound, NO_POLL);
        let options = RegisterOptions { description: wishes.name.clone(), tags: wishes.labels.clone() };
        let registered = register::register(&outbound, &settings, &options).await.map_err(|error| error.to_string())?;
        Ok(CredentialRecord {
            token: registered.token.token,
            runner_id: registered.runner_id,
            obtained_at: registered.token.obtained_at,
            expires_at: registered.token.expires_at,
            ..record
        })
    }

    async fn verify(&self, registration: &RegistrationConfig, record: &CredentialRecord) -> TokenVerdict {
        let outbound = match self.outbound(registration) {
            Ok(outbound) => outbound,
            Err(error) => return TokenVerdict::Unknown(error),
        };
        let settings = registrar::gitlab_settings(registration, record, &outbound, NO_POLL);
        match register::verify(&outbound, &settings).await {
            Ok(Verified::Valid(_)) => TokenVerdict::Good,
            Ok(Verified::Refused(why)) => TokenVerdict::Refused(why),
            Ok(Verified::Orphaned(why)) => TokenVerdict::Idle(why),
            Err(error) => TokenVerdict::Unknown(error.to_string()),
        }
    }

    async fn unregister(
        &self,
        registration: &RegistrationConfig,
        record: &CredentialRecord,
        removal: Removal,
    ) -> Result<(), String> {
        let outbound = self.outbound(registration)?;
        let settings = registrar::gitlab_settings(registration, record, &outbound, NO_POLL);
        let what = match removal {
            Removal::ThisMachine => Unregister::ThisMachine,
            Removal::Runner => Unregister::Runner,
        };
        register::unregister(&outbound, &settings, what).await.map_err(|error| error.to_string())
    }
}

impl Forges<'_> {
    fn outbound(&self, registration: &RegistrationConfig) -> Result<Outbound, String> {
        registrar::outbound(registration, &StateDir::at(self.state_dir))
    }
}

/// Runs an agent that serves the forges of this build, by handing [`super::run::serve`] its parts.
pub async fn serve(premises: Premises) -> Verdict {
    let dir = premises.journal.dir().clone();
    let made = async {
        let shim = ShimBinary::install(&dir.shim()).await.map_err(|error| error.to_string())?;
        let engines =
            Engines::new(dir.clone(), shim).map_err(|error| format!("the agent's id cannot be kept: {error}"))?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
        Ok::<_, String>(ConfiguredRegistrar {
            locations: premises.locations.clone(),
            overrides: premises.overrides.clone(),
            credentials: Credentials::open(&premises.locations.state_dir).map_err(|error| error.to_string())?,
            engines,
            git: GitProgram::find(&path).map_err(|error| error.to_string())?,
            mirrors: Arc::new(Mirrors::new(dir.mirrors())),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            dir,
        })
    };
    let registrar = match made.await {
        Ok(registrar) => registrar,
        Err(message) => return render::failed(&message, Verdict::Environment),
    };
    let engines = registrar.engines.clone();
    let verdict = super::run::serve(premises, Arc::new(registrar), ExecutorRunner, Arc::new(engines.clone())).await;
    engines.close().await;
    verdict
}
