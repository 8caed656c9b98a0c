//! Gets an image onto the machine: policies in order, attempts, and whose fault a failure is (protocols: GitLab 5.3, 9.6).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use rand::RngExt;
use tokio::sync::{Mutex, OnceCell};

use super::LocalImage;
use super::auth::{self, MachineAuth, RegistryLogin};
use super::owner::{Claim, ImageOwners};
use super::reference::{ImageName, ImageReference};
use super::size::PullSize;
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::docker::engine::{Engine, LOOK};
use crate::executor::sandbox::docker::error::EngineError;
use crate::pipeline::definition::{PullPolicy, RegistryAuth};
use crate::pipeline::{FailureReason, JobFailure, Owner};

/// How often a pull is tried where the network is at fault.
const ATTEMPTS: u32 = 3;
/// The longest pause between two signs of life of a pull. A large layer is unpacked in silence.
const SILENCE: Duration = Duration::from_secs(600);

/// An image that a job wants.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its name, expanded.
    pub name: &'a str,
    /// What may be done to get it, in order; not empty.
    pub policies: &'a [PullPolicy],
    /// The platform to pull.
    pub platform: Option<&'a str>,
}

/// On whose behalf images are fetched, and with what.
#[derive(Clone, Copy)]
pub struct OnBehalf<'a> {
    /// Whose job it is.
    pub owner: &'a Owner,
    /// The job's credentials.
    pub auth: &'a RegistryAuth,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The engine is at fault; the attempt may be repeated.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A reason that the job's report names.
    #[error(transparent)]
    Failure(#[from] JobFailure),
}

/// Fetches the images of one job, each once.
pub struct JobImages<'a> {
    engine: &'a Engine,
    owners: &'a ImageOwners,
    machine: &'a MachineAuth,
    behalf: OnBehalf<'a>,
    log: &'a dyn StageLog,
    got: Mutex<HashMap<Key, Arc<OnceCell<LocalImage>>>>,
}

/// Name, platform, policies: the same name under another policy may be another image.
type Key = (String, Option<String>, Vec<PullPolicy>);

impl<'a> JobImages<'a> {
    /// Images of one job.
    pub fn new(
        engine: &'a Engine,
        owners: &'a ImageOwners,
        machine: &'a MachineAuth,
        behalf: OnBehalf<'a>,
        log: &'a dyn StageLog,
    ) -> Self {
        Self { engine, owners, machine, behalf, log, got: Mutex::default() }
    }

    /// The image `wanted`, from the machine or a registry. Asked again, it answers at once. Cancel-safe.
    pub async fn obtain(&self, wanted: &Wanted<'_>) -> Result<LocalImage, ImageError> {
        let reference =
            ImageReference::parse(wanted.name).map_err(|error| JobFailure::configuration(error.to_string()))?;
        let key = (reference.to_string(), wanted.platform.map(str::to_owned), wanted.policies.to_vec());
        let cell = Arc::clone(self.got.lock().await.entry(key).or_default());
        cell.get_or_try_init(|| self.by_policies(&reference, wanted)).await.cloned()
    }

    async fn by_policies(&self, reference: &ImageReference, wanted: &Wanted<'_>) -> Result<LocalImage, ImageError> {
        let mut last: Option<ImageError> = None;
        for (tried, policy) in wanted.policies.iter().enumerate() {
            if let Some(error) = &last {
                self.log.say(Tone::Warning, &error.to_string());
                let line = format!("Attempt #{}: Trying \"{}\" pull policy", tried + 1, policy_word(*policy));
                self.log.say(Tone::Plain, &line);
            }
            match self.by_policy(*policy, reference, wanted).await {
                Ok(image) => {
                    self.say_using(&image, wanted.name);
                    return Ok(image);
                }
                Err(ImageError::Engine(error)) if error.is_engine_gone() => return Err(error.into()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| JobFailure::configuration("no pull policy is left for the image").into()))
    }

    async fn by_policy(
        &self,
        policy: PullPolicy,
        reference: &ImageReference,
        wanted: &Wanted<'_>,
    ) -> Result<LocalImage, ImageError> {
        let name = match reference {
            ImageReference::Named(name) => name,
            // An id says exactly which image; no registry can be asked for it.
            ImageReference::Id(_) => return self.local_only(reference, wanted).await,
        };
        match policy {
            PullPolicy::Never => self.local_only(reference, wanted).await,
            PullPolicy::Always => self.pull(name, reference, wanted).await,
            PullPolicy::IfNotPresent => match self.usable_local(reference, wanted).await? {
                Local::Usable(image) => {
                    self.log
                        .say(Tone::Plain, "Using locally found image version due to \"if-not-present\" pull policy");
                    Ok(image)
                }
                Local::Absent | Local::OfOthers => self.pull(name, reference, wanted).await,
            },
        }
    }

    async fn local_only(&self, reference: &ImageReference, wanted: &Wanted<'_>) -> Result<LocalImage, ImageError> {
        let why = match self.usable_local(reference, wanted).await? {
            Local::Usable(image) => return Ok(image),
            Local::Absent => "it is not on this machine, and its pull policy forbids to fetch it",
            Local::OfOthers => {
                "it is on this machine, but was fetched with another project's credentials, and its registry does not \
                 accept this job's"
            }
        };
        let words = format!("image \"{}\" cannot be used: {why} (policy `never` or an image id)", wanted.name);
        Err(JobFailure::configuration(words).into())
    }

    async fn usable_local(&self, reference: &ImageReference, wanted: &Wanted<'_>) -> Result<Local, ImageError> {
        let Some(image) = inspect(self.engine, &reference.to_string()).await? else { return Ok(Local::Absent) };
        if wanted.platform.is_some_and(|platform| !image.is_for(platform)) {
            return Ok(Local::Absent);
        }
        let claim = self.owners.claim(&image.id, &reference.to_string(), self.behalf.owner);
        match claim {
            Claim::Free | Claim::Ours => Ok(Local::Usable(image)),
            Claim::Others if self.registry_accepts(reference, &image).await? => Ok(Local::Usable(image)),
            Claim::Others => Ok(Local::OfOthers),
        }
    }

    /// Asks the registry whether this job may have what another project's credentials brought here.
    async fn registry_accepts(&self, reference: &ImageReference, image: &LocalImage) -> Result<bool, ImageError> {
        let Some(path) = reference.registry_path() else { return Ok(false) };
        let login = self.login(&path).await;
        let name = reference.to_string();
        let credentials = login.as_ref().map(RegistryLogin::to_engine);
        let asked = self.engine.api().inspect_registry_image(&name, credentials);
        let what = format!("asking the registry for \"{name}\"");
        match self.engine.call(&what, LOOK, asked).await {
            Ok(_) if login.is_some() => self.owners.pulled(&image.id, &name, self.behalf.owner).await?,
            Ok(_) => self.owners.is_public(&image.id).await?,
            Err(error) if error.is_engine_gone() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(image = %name, %error, "the registry does not accept this job's credentials");
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn login(&self, registry_path: &str) -> Option<RegistryLogin> {
        let (login, remarks) = auth::find(registry_path, self.behalf.auth, self.machine).await;
        for remark in remarks {
            self.log.say(Tone::Warning, &remark);
        }
        login
    }

    async fn pull(
        &self,
        name: &ImageName,
        reference: &ImageReference,
        wanted: &Wanted<'_>,
    ) -> Result<LocalImage, ImageError> {
        let login = match reference.registry_path() {
            Some(path) => self.login(&path).await,
            None => None,
        };
        if let Some(login) = &login {
            self.log.say(Tone::Plain, &format!("Authenticating with credentials from {}", login.source.as_str()));
            self.owners.begin(&reference.to_string(), self.behalf.owner).await?;
        }
        self.log.say(Tone::Plain, &format!("Pulling docker image {} ...", wanted.name));
        if let Err(error) = self.pull_with_attempts(name, wanted, login.as_ref()).await {
            if login.is_some() && matches!(error, ImageError::Failure(_)) {
                self.owners.failed(&reference.to_string(), self.behalf.owner).await?;
            }
            return Err(error);
        }
        let image = inspect(self.engine, &reference.to_string()).await?.ok_or_else(|| {
            JobFailure::new(
                FailureReason::ImagePullFailure,
                format!(
                    "image \"{}\" was pulled, but the engine does not have it; another program removed it",
                    wanted.name
                ),
            )
        })?;
        match &login {
            Some(_) => self.owners.pulled(&image.id, &reference.to_string(), self.behalf.owner).await?,
            None => self.owners.is_public(&image.id).await?,
        }
        Ok(image)
    }

    async fn pull_with_attempts(
        &self,
        name: &ImageName,
        wanted: &Wanted<'_>,
        login: Option<&RegistryLogin>,
    ) -> Result<(), ImageError> {
        let mut attempt = 1;
        loop {
            let error = match self.pull_once(name, wanted, login).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_engine_gone() => return Err(error.into()),
                Err(error) => error,
            };
            let reason = reason_of(&error);
            if reason != FailureReason::RunnerExternalDependencyFailure || attempt == ATTEMPTS {
                return Err(failure(wanted.name, reason, &error).into());
            }
            let pause = Duration::from_millis(rand::rng().random_range(2_000..10_000));
            let words = format!(
                "Pulling \"{}\" failed ({}); trying again in {} s",
                wanted.name,
                error.words(),
                pause.as_secs().max(1)
            );
            self.log.say(Tone::Warning, &words);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn pull_once(
        &self,
        name: &ImageName,
        wanted: &Wanted<'_>,
        login: Option<&RegistryLogin>,
    ) -> Result<(), EngineError> {
        let options = CreateImageOptions {
            from_image: Some(name.familiar()),
            tag: name.digest.clone().or_else(|| name.tag.clone()),
            platform: wanted.platform.unwrap_or_default().to_owned(),
            ..CreateImageOptions::default()
        };
        let mut size = PullSize::default();
        let stream = self.engine.api().create_image(Some(options), None, login.map(RegistryLogin::to_engine));
        self.engine
            .drain(&format!("pulling image \"{}\"", wanted.name), SILENCE, stream, |progress| {
                self.tell(&mut size, wanted, progress)
            })
            .await
    }

    fn tell(&self, size: &mut PullSize, wanted: &Wanted<'_>, progress: CreateImageInfo) {
        if let Some(size) = size.take(progress) {
            self.log.say(Tone::Plain, &format!("Image {} brings {size}", wanted.name));
        }
    }

    fn say_using(&self, image: &LocalImage, name: &str) {
        let digest = image.digest.as_deref().map(|digest| format!(" with digest {digest}")).unwrap_or_default();
        self.log.say(Tone::Plain, &format!("Using docker image {} for {name}{digest} ...", image.id));
    }
}

enum Local {
    Usable(LocalImage),
    Absent,
    OfOthers,
}

/// What the engine knows of the image `name`; `None`: it is not there.
pub(in crate::executor::sandbox::docker) async fn inspect(
    engine: &Engine,
    name: &str,
) -> Result<Option<LocalImage>, EngineError> {
    let what = format!("inspecting image \"{name}\"");
    match engine.call(&what, LOOK, engine.api().inspect_image(name)).await {
        Ok(image) => LocalImage::from_inspect(image)
            .map(Some)
            .ok_or_else(|| EngineError::Protocol { what, message: "an image without an id".into() }),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Which policies apply: the job's, else the configured ones, less what the operator does not allow.
pub fn policies(
    of_job: &[PullPolicy],
    configured: &[PullPolicy],
    allowed: Option<&[PullPolicy]>,
) -> Result<Vec<PullPolicy>, JobFailure> {
    let wanted = if !of_job.is_empty() {
        of_job
    } else if !configured.is_empty() {
        configured
    } else {
        &[PullPolicy::IfNotPresent]
    };
    let Some(allowed) = allowed else { return Ok(wanted.to_vec()) };
    let kept: Vec<PullPolicy> = wanted.iter().copied().filter(|policy| allowed.contains(policy)).collect();
    if kept.is_empty() {
        return Err(JobFailure::configuration(format!(
            "the pull policies {} are not allowed on this runner (`docker.allowed_pull_policies`: {})",
            policy_words(wanted),
            policy_words(allowed)
        )));
    }
    Ok(kept)
}

fn policy_words(policies: &[PullPolicy]) -> String {
    let words: Vec<&str> = policies.iter().map(|policy| policy_word(*policy)).collect();
    format!("[{}]", words.join(", "))
}

fn policy_word(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "always",
        PullPolicy::IfNotPresent => "if-not-present",
        PullPolicy::Never => "never",
    }
}

fn failure(name: &str, reason: FailureReason, error: &EngineError) -> JobFailure {
    let remedy = match reason {
        FailureReason::RunnerExternalDependencyFailure => "the registry could not be reached from this machine",
        FailureReason::RunnerConfigurationError => {
            "check the image's name, and the credentials for its registry (DOCKER_AUTH_CONFIG)"
        }
        _ => "the engine's log on this machine may say more",
    };
    JobFailure::new(reason, format!("failed to pull image \"{name}\": {}; {remedy}", error.words()))
}

/// Whose fault a failed pull is. The engine passes the registry's answer on as text only, so that the text decides, as in
/// protocols: GitLab 5.3.
fn reason_of(error: &EngineError) -> FailureReason {
    const NETWORK: [&str; 8] = [
        "dial tcp",
        "connection refused",
        "no such host",
        "i/o timeout",
        "tls handshake",
        "client.timeout exceeded",
        "request canceled",
        "connection reset",
    ];
    const CONFIGURATION: [&str; 8] = [
        "not found",
        "manifest unknown",
        "pull access denied",
        "access to the resource is denied",
        "no basic auth credentials",
        "repository does not exist or may require",
        "unauthorized",
        "authentication required",
    ];
    if matches!(error, EngineError::Timeout { .. }) {
        return FailureReason::RunnerExternalDependencyFailure;
    }
    let words = error.words().to_lowercase();
    if NETWORK.iter().any(|sign| words.contains(sign)) {
        FailureReason::RunnerExternalDependencyFailure
    } else if error.is_not_found() || CONFIGURATION.iter().any(|sign| words.contains(sign)) {
        FailureReason::RunnerConfigurationError
    } else {
        FailureReason::ImagePullFailure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_laid_at_the_right_door() {
        let failed = |words: &str| EngineError::Failed { what: "pulling".into(), message: words.into() };
        for (words, reason) in [
            ("Get \"https://r/v2/\": dial tcp: lookup r: no such host", FailureReason::RunnerExternalDependencyFailure),
            ("net/http: TLS handshake timeout", FailureReason::RunnerExternalDependencyFailure),
            ("manifest for x:1 not found: manifest unknown", FailureReason::RunnerConfigurationError),
            ("Head \"https://r/v2/x\": no basic auth credentials", FailureReason::RunnerConfigurationError),
            ("unauthorized: incorrect username or password", FailureReason::RunnerConfigurationError),
            ("write /var/lib/docker: no space left on device", FailureReason::ImagePullFailure),
        ] {
            assert_eq!(reason_of(&failed(words)), reason, "{words}");
        }
    }

    #[test]
    fn a_job_s_policies_are_taken_unless_the_operator_restricts_them() {
        use PullPolicy::{Always, IfNotPresent, Never};
        assert_eq!(policies(&[Never], &[Always], None).unwrap(), [Never]);
        assert_eq!(policies(&[], &[Always, IfNotPresent], None).unwrap(), [Always, IfNotPresent]);
        assert_eq!(policies(&[Never, Always], &[Always], Some(&[IfNotPresent, Always])).unwrap(), [Always]);
        let refused = policies(&[Never], &[Always], Some(&[Always])).unwrap_err();
        assert_eq!(refused.reason, FailureReason::RunnerConfigurationError);
        assert!(refused.message.contains("[never]") && refused.message.contains("[always]"), "{refused}");
    }
}
