//! Starts one service: image, container, running.

use std::time::Duration;

use bollard::models::ContainerCreateBody;

use super::plan::PlannedService;
use crate::executor::sandbox::docker::changes::Changes;
use crate::executor::sandbox::docker::container::isolation::security_options;
use crate::executor::sandbox::docker::container::mounts::Mounts;
use crate::executor::sandbox::docker::container::{self, Parts, Role};
use crate::executor::sandbox::docker::image::LocalImage;
use crate::executor::sandbox::docker::image::pull::{JobImages, Wanted, policies};
use crate::executor::sandbox::docker::network::Connection;
use crate::executor::sandbox::docker::prepare::{Attempt, SandboxSpec};
use crate::executor::sandbox::docker::{labels, names};

/// A service whose container runs, or ran.
#[derive(Clone, Debug)]
pub(in crate::executor::sandbox::docker) struct StartedService {
    /// Its container.
    pub container: String,
    /// The names it is found by.
    pub aliases: Vec<String>,
    /// Its image's name, for messages.
    pub image_name: String,
    /// What its image says about itself.
    pub image: LocalImage,
    /// The port to check in place of those the image exposes.
    pub health_port: Option<u16>,
    /// How long to wait for it; `None`: not at all.
    pub patience: Option<Duration>,
    /// Whether the engine checks its health.
    pub is_checked: bool,
    /// Whether the job fails where that check does; it is waited for as long as the check goes on.
    pub must_be_healthy: bool,
}

/// What services of one job are started with.
pub(in crate::executor::sandbox::docker) struct Surroundings<'a> {
    pub changes: &'a Changes,
    pub spec: &'a SandboxSpec<'a>,
    pub images: &'a JobImages<'a>,
    pub connection: &'a Connection,
    pub mounts: &'a Mounts,
}

impl Surroundings<'_> {
    /// Gets the image, makes the container and starts it.
    pub(in crate::executor::sandbox::docker) async fn start(
        &self,
        index: usize,
        service: &PlannedService,
    ) -> Result<StartedService, Attempt> {
        let settings = self.spec.settings;
        let image_spec = &service.spec.image;
        let policies =
            policies(&image_spec.pull_policies, &settings.pull_policies, settings.allowed_pull_policies.as_deref())?;
        let wanted = Wanted {
            name: &image_spec.name,
            policies: &policies,
            platform: image_spec.platform.as_deref().or(settings.platform.as_deref()),
        };
        let image = self.images.obtain(&wanted).await?;
        let body = self.body(service, &image).await?;
        let is_checked = match &image_spec.options.health {
            Some(health) if health.disabled => false,
            Some(health) => health.command.is_some() || image.has_healthcheck,
            None => image.has_healthcheck,
        };
        let agent = self.changes.docker().agent();
        let name = names::service_container(agent, &self.spec.job.key, index);
        let container = self.changes.create(name, body).await?;
        self.changes.start(container.clone()).await?;
        Ok(StartedService {
            container,
            aliases: service.aliases.clone(),
            image_name: image_spec.name.clone(),
            image,
            health_port: service.health_port,
            is_checked,
            must_be_healthy: self.spec.job.options.services_must_be_healthy,
            patience: self.spec.job.timeouts.services,
        })
    }

    async fn body(&self, service: &PlannedService, image: &LocalImage) -> Result<ContainerCreateBody, Attempt> {
        let (job, settings) = (self.spec.job, self.spec.settings);
        let mut labels = labels::of_job(self.changes.docker().agent(), job, "service");
        labels.insert(labels::SERVICE.into(), service.aliases.join(","));
        labels::add_configured(&mut labels, &settings.container_labels, job, true);
        let spec = &service.spec;
        Ok(container::body(Parts {
            role: Role::Service,
            settings,
            image_name: &spec.image.name,
            image,
            labels,
            env: service.env.clone(),
            hostname: None,
            entrypoint: spec.image.entrypoint.clone().filter(|entrypoint| !entrypoint.is_empty()),
            command: (!spec.command.is_empty()).then(|| spec.command.clone()),
            working_dir: None,
            user: spec.image.user.clone().filter(|user| !user.is_empty()),
            attachment: self.connection.attach(service.aliases.clone(), Vec::new()),
            mounts: self.mounts.shared.iter().chain(self.mounts.of(&spec.image.options.volumes)).cloned().collect(),
            binds: self.mounts.shared_binds.clone(),
            security_opt: security_options(settings, Role::Service).await?,
            options: &spec.image.options,
        })?)
    }
}
