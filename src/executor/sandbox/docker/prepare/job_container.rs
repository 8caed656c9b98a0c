//! The job's own container: what the job, the operator and the image say about it.

use bollard::models::ContainerCreateBody;

use super::super::container::isolation::{is_privileged, security_options};
use super::super::container::mounts::Mounts;
use super::super::container::{self, Parts, Role};
use super::super::image::pull::{Wanted, policies};
use super::super::image::{LocalImage, allow};
use super::super::network::{BUILD_ALIAS, Connection};
use super::super::service::plan::is_environment_name;
use super::super::{labels, names};
use super::attempt::Preparation;
use super::{Attempt, SandboxSpec};
use crate::executor::log::Tone;
use crate::pipeline::JobFailure;
use crate::pipeline::definition::ContainerOptions;

impl Preparation<'_> {
    pub(super) async fn job_image(&self) -> Result<LocalImage, Attempt> {
        let (name, settings) = (self.image_name()?, self.spec.settings);
        let image = self.spec.job.image.clone().unwrap_or_default();
        if !allow::is_allowed(&settings.allowed_images, self.configured_image().as_deref(), &name) {
            return Err(JobFailure::configuration(format!(
                "the image \"{name}\" is not allowed on this runner (`docker.allowed_images`: {})",
                settings.allowed_images.join(", ")
            ))
            .into());
        }
        let policies =
            policies(&image.pull_policies, &settings.pull_policies, settings.allowed_pull_policies.as_deref())?;
        let platform = image.platform.as_deref().or(settings.platform.as_deref());
        Ok(self.images.obtain(&Wanted { name: &name, policies: &policies, platform }).await?)
    }

    pub(super) async fn job_container(
        &self,
        connection: &Connection,
        mounts: &Mounts,
        hosts: Vec<String>,
    ) -> Result<(String, LocalImage), Attempt> {
        let user = user_of(self.spec)?;
        let image = self.job_image().await?;
        let body = self.body(&image, user, connection, mounts, hosts).await?;
        let name = match self.beside {
            Some(number) => names::beside_container(self.docker.agent(), &self.spec.job.key, number),
            None => names::job_container(self.docker.agent(), &self.spec.job.key),
        };
        Ok((self.changes.create(name, body).await?, image))
    }

    async fn body(
        &self,
        image: &LocalImage,
        user: Option<String>,
        connection: &Connection,
        mounts: &Mounts,
        hosts: Vec<String>,
    ) -> Result<ContainerCreateBody, Attempt> {
        let (job, settings) = (self.spec.job, self.spec.settings);
        let image_name = self.image_name()?;
        if settings.privileged && !is_privileged(settings, Role::Job, &image_name) {
            let words = format!("{image_name} is not among `docker.allowed_privileged_images`: it runs unprivileged");
            self.log.say(Tone::Plain, &words);
        }
        let mut labels = labels::of_job(self.docker.agent(), job, "job");
        labels::add_configured(&mut labels, &settings.container_labels, job, false);
        let env = self.spec.env.iter().filter(|(name, _)| is_environment_name(name));
        let nothing = ContainerOptions::default();
        let options = job.image.as_ref().map_or(&nothing, |image| &image.options);
        Ok(container::body(Parts {
            role: Role::Job,
            settings,
            image_name: &image_name,
            image,
            labels,
            env: env.map(|(name, value)| format!("{name}={}", value.expose())).collect(),
            hostname: self.hostname(),
            entrypoint: self.entrypoint_override(),
            command: Some(self.spec.command.clone()),
            working_dir: None,
            user,
            attachment: connection.attach(vec![BUILD_ALIAS.to_owned()], hosts),
            mounts: mounts.shared.iter().chain(&mounts.job).chain(mounts.of(&options.volumes)).cloned().collect(),
            binds: mounts.shared_binds.clone(),
            security_opt: security_options(settings, Role::Job).await?,
            options,
        })?)
    }

    fn configured_image(&self) -> Option<String> {
        let configured = self.spec.settings.image.as_deref()?;
        Some(self.spec.job.variables.expand(configured)).filter(|name| !name.is_empty())
    }

    fn image_name(&self) -> Result<String, JobFailure> {
        let of_job = self.spec.job.image.as_ref().map(|image| image.name.trim().to_owned());
        of_job.filter(|name| !name.is_empty()).or_else(|| self.configured_image()).ok_or_else(|| {
            JobFailure::configuration(
                "the job names no image and this runner has no default: add `image:` to the job, or `docker.image` to \
                 the runner's configuration",
            )
        })
    }

    pub(super) fn hostname(&self) -> Option<String> {
        Some(self.spec.settings.hostname.clone().unwrap_or_else(|| names::host_name(&self.spec.job.key)))
    }

    /// The job's word about the entrypoint, where it has one and may have it (protocols: GitLab 9.7).
    fn entrypoint_override(&self) -> Option<Vec<String>> {
        let entrypoint = self.spec.job.image.as_ref()?.entrypoint.clone().filter(|list| !list.is_empty())?;
        if self.spec.settings.disable_entrypoint_overwrite {
            self.log.say(Tone::Warning, "Entrypoint override disabled");
            return None;
        }
        Some(entrypoint)
    }

    pub(super) fn entrypoint_of(&self, image: &LocalImage) -> Vec<String> {
        let overridden = self.spec.job.image.as_ref().and_then(|image| image.entrypoint.clone());
        let may = !self.spec.settings.disable_entrypoint_overwrite;
        let entrypoint = overridden.filter(|list| may && !list.is_empty()).unwrap_or_else(|| image.entrypoint.clone());
        if entrypoint == [""] { Vec::new() } else { entrypoint }
    }
}

/// The user the job's container starts as: the operator's, else the job's where it is allowed, else the image's
/// (protocols: GitLab 9.7).
fn user_of(spec: &SandboxSpec<'_>) -> Result<Option<String>, JobFailure> {
    let settings = spec.settings;
    let filled = |user: Option<&String>| user.filter(|user| !user.is_empty()).cloned();
    let of_job = filled(spec.job.image.as_ref().and_then(|image| image.user.as_ref()));
    let of_operator = filled(settings.user.as_ref());
    let Some(user) = of_operator.or(of_job) else { return Ok(None) };
    // With no list there is nothing to check: the operator's user comes first, and without one any may be asked for.
    if settings.allowed_users.is_empty() || settings.allowed_users.contains(&user) {
        return Ok(Some(user));
    }
    Err(JobFailure::configuration(format!(
        "the user \"{user}\" is not allowed on this runner (`docker.allowed_users`: {})",
        settings.allowed_users.join(", ")
    )))
}
