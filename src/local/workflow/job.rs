//! One job of a workflow in the words of the model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::steps::WorkflowSteps;
use crate::forge::{Assignment, RunnerFacts};
use crate::local::house::Sandbox;
use crate::parser::github::container::{self, Options};
use crate::parser::github::run::{ContainerSpec, Leg};
use crate::pipeline::definition::{
    Attempts, ImageSpec, JobDirs, JobOptions, LogSpec, MaskWord, PortSpec, RegistryAuth, RegistryCredential,
    ServiceSpec, SourceSpec, Timeouts,
};
use crate::pipeline::{JobFailure, PipelineJob, Variable, Variables};

/// How long the machine may take to make a job's place.
const PREPARE: Duration = Duration::from_secs(30 * 60);

/// A job and the steps that were made for it.
pub struct WorkflowJob {
    /// What it asks for.
    pub leg: Leg,
    /// Its steps.
    pub steps: Arc<Mutex<WorkflowSteps>>,
}

/// What the machine gives its jobs.
pub struct Offer<'a> {
    /// Where they live.
    pub sandbox: Sandbox,
    /// The image of jobs that name none.
    pub image: Option<&'a str>,
    /// The images that stand for labels of `runs-on`.
    pub labels: &'a BTreeMap<String, String>,
    /// The sources.
    pub snapshot: PathBuf,
    /// Where they find and install tools; `None`: in their temporary folder.
    pub tool_cache: Option<String>,
}

/// The job in the words of the model.
///
/// # Errors
/// It asks for what cannot be had here.
pub fn define(
    leg: &Leg,
    assignment: &Assignment,
    facts: &RunnerFacts,
    offer: Offer<'_>,
) -> Result<PipelineJob, JobFailure> {
    let builds = facts.builds_dir.clone();
    let repository = assignment.project_path.rsplit('/').next().unwrap_or("project");
    let project = format!("{builds}/{repository}/{repository}");
    let in_containers = offer.sandbox == Sandbox::Docker;
    let mut warnings = Vec::new();
    let image = if in_containers { Some(image(leg, &offer)?) } else { None };
    let mut auth = RegistryAuth::default();
    let containers = leg.container.iter().chain(leg.services.iter().map(|(_, service)| service));
    auth.job.extend(containers.filter(|_| in_containers).filter_map(credential));
    let asked = leg.container.as_ref().map(Asked::of).transpose()?.unwrap_or_default();
    if in_containers && !asked.ports.is_empty() {
        let image = image.as_ref().map_or("", |image| image.name.as_str());
        warnings.push(format!("{image}: ports of the job's own container are not published"));
    }
    let variables = asked.env.iter().map(|(name, value)| Variable::plain(name.as_str(), value.as_str())).collect();
    let image = image.map(|image| asked.lay_over(image));
    // A job that is a container itself reaches its services by their names alone, as on the forge.
    let is_container = leg.container.is_some();
    let services: Result<Vec<_>, _> = match in_containers {
        true => leg.services.iter().map(|(name, container)| service(name, container, is_container)).collect(),
        false => Ok(Vec::new()),
    };
    Ok(PipelineJob {
        key: assignment.key.clone(),
        id: assignment.id.clone(),
        name: leg.name.clone(),
        stage: String::new(),
        owner: assignment.owner.clone(),
        variables: Variables::new(variables, None),
        dirs: JobDirs { builds, temp: format!("{project}.tmp"), project, also_at: None, tool_cache: offer.tool_cache },
        image,
        services: services?,
        registry_auth: auth,
        // An empty work tree; `actions/checkout` fills it from the snapshot.
        sources: SourceSpec { snapshot: Some(offer.snapshot), open_to_all: in_containers, ..SourceSpec::none() },
        steps: Vec::new(),
        caches: Vec::new(),
        artifacts: Vec::new(),
        dependencies: Vec::new(),
        timeouts: Timeouts {
            job: leg.timeout,
            prepare: Some(PREPARE),
            get_sources: None,
            script: None,
            after_script: Duration::from_secs(300),
            services: Some(Duration::from_secs(30)),
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        // A local run is the user's own: its log is not cut.
        log: LogSpec { mask_word: MaskWord::Stars, ..LogSpec::plain(u64::MAX / 2) },
        options: JobOptions { services_must_be_healthy: true, ..JobOptions::default() },
        warnings,
        labels: Vec::new(),
    })
}

fn image(leg: &Leg, offer: &Offer<'_>) -> Result<ImageSpec, JobFailure> {
    let named = leg.container.as_ref().map(|container| container.image.as_str());
    let named = named.or_else(|| of_labels(&leg.runs_on.labels, offer.labels)).or(offer.image);
    let Some(name) = named else {
        return Err(JobFailure::configuration(format!(
            "no image stands for `runs-on: {}`: name one with --image or in the configuration (`[exec.labels]`), or run with \
             --executor host",
            leg.runs_on.labels.join(", ")
        )));
    };
    Ok(ImageSpec {
        name: name.trim_start_matches("docker://").to_owned(),
        // The forge's own runner starts a container with a program that only waits: its image's entrypoint never runs.
        entrypoint: Some(vec![String::new()]),
        ..ImageSpec::default()
    })
}

/// The image of the first label that has one.
pub fn of_labels<'a>(labels: &[String], images: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let image = |label: &String| images.iter().find(|(known, _)| known.eq_ignore_ascii_case(label));
    labels.iter().find_map(image).map(|(_, image)| image.as_str())
}

/// What a container asks for besides its image, its own lists and its `options` as one.
#[derive(Default)]
struct Asked {
    env: Vec<(String, String)>,
    ports: Vec<PortSpec>,
    options: Options,
}

impl Asked {
    fn of(container: &ContainerSpec) -> Result<Self, JobFailure> {
        let wrong =
            |key: &str, why: String| JobFailure::configuration(format!("`{key}` of {}: {why}", container.image));
        let mut options = container::options(&container.options).map_err(|why| wrong("options", why))?;
        for volume in &container.volumes {
            options.container.volumes.push(container::volume(volume).map_err(|why| wrong("volumes", why))?);
        }
        let mut ports = std::mem::take(&mut options.ports);
        for port in &container.ports {
            ports.extend(container::ports(port).map_err(|why| wrong("ports", why))?);
        }
        // What stands under `env` comes behind the options, and so it counts.
        let env = std::mem::take(&mut options.env).into_iter().chain(container.env.iter().cloned()).collect();
        Ok(Self { env, ports, options })
    }

    fn lay_over(self, image: ImageSpec) -> ImageSpec {
        let Options { user, platform, pull, container, .. } = self.options;
        ImageSpec { user, platform, pull_policies: pull.into_iter().collect(), options: container, ..image }
    }
}

/// The ports that a container's file publishes by number: its own, and the machine's.
pub fn published(container: &ContainerSpec) -> Vec<(u16, u16)> {
    let ports = container.ports.iter().filter_map(|port| container::ports(port).ok()).flatten();
    ports.filter_map(|port| Some((port.port, port.published?))).collect()
}

fn service(name: &str, container: &ContainerSpec, of_container: bool) -> Result<ServiceSpec, JobFailure> {
    let words = |line: &Option<String>| match line {
        Some(line) => container::words(line).map_err(|why| {
            JobFailure::configuration(format!("`command` or `entrypoint` of the service {name}: {why}"))
        }),
        None => Ok(Vec::new()),
    };
    let mut asked = Asked::of(container)?;
    let mut entrypoint = words(&container.entrypoint)?;
    if entrypoint.is_empty() {
        entrypoint.extend(asked.options.entrypoint.take());
    }
    let aliases = std::iter::once(name.to_owned()).chain(std::mem::take(&mut asked.options.aliases)).collect();
    let env = std::mem::take(&mut asked.env);
    let ports = if of_container { Vec::new() } else { std::mem::take(&mut asked.ports) };
    let image = ImageSpec {
        name: container.image.trim_start_matches("docker://").to_owned(),
        entrypoint: (!entrypoint.is_empty()).then_some(entrypoint),
        ..ImageSpec::default()
    };
    Ok(ServiceSpec {
        image: asked.lay_over(image),
        command: words(&container.command)?,
        aliases,
        variables: env.into_iter().map(|(name, value)| Variable::plain(name, value)).collect(),
        ports,
    })
}

fn credential(container: &ContainerSpec) -> Option<RegistryCredential> {
    let credentials = container.credentials.as_ref()?;
    let first = container.image.split('/').next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) && container.image.contains('/');
    Some(RegistryCredential {
        registry: if is_host { first.to_owned() } else { "docker.io".to_owned() },
        username: credentials.username.clone(),
        password: credentials.password.clone(),
    })
}
